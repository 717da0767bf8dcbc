//! Drawing with caches against a full evaluation for every pixel.

use super::{BODIES, HEADS, nets, preset};
use galgen_core::condition::Conditions;
use galgen_core::models::{Body, Head, PixelCnn};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{DrawError, Model, Pixels, Session, Simd};
use galgen_tests::model::{classes, file, pixel_cnn_card, random_pixel_cnn};
use galgen_tests::tensors::random_weights;
use std::sync::Arc;

/// The image of (seed, id) with the whole net evaluated for every pixel; `given` pixels are kept.
fn naive(
    session: &mut Session,
    [seed, id]: [u64; 2],
    conditions: &[f32],
    given: &dyn Fn(usize) -> Option<f32>,
) -> Vec<f32> {
    let head = session.model().head().expect("an autoregressive model");
    let n = session.model().stamp_len();
    let mut image = vec![0.0; n];
    let mut parameters = vec![0.0; head.parameters() * n];
    let mut rng = Philox::new(seed, id, Stream::Pixel);
    for i in 0..n {
        image[i] = given(i).unwrap_or_else(|| {
            session
                .pixel_parameters(&image, conditions, true, &mut parameters)
                .unwrap();
            let of_pixel = parameters[i..].iter().step_by(n);
            let of_pixel: Vec<f64> = of_pixel.map(|&p| f64::from(p)).collect();
            rng.skip_to(2 * i as u32);
            head.draw(&of_pixel, &mut rng)
        });
    }
    image
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn drawn(session: &mut Session, seed: u64, id: u64, conditions: &[f32]) -> Vec<f32> {
    let mut image = vec![0.0; session.model().stamp_len()];
    session
        .sample_image(seed, id, conditions, Pixels::Drawn, &mut image)
        .unwrap();
    image
}

/// Every body with every head, on every level of instructions.
#[test]
fn cached_and_naive_sampler_give_the_same_bits() {
    for (body, blocks) in BODIES {
        for head in HEADS {
            let bytes = random_pixel_cnn(preset(body, blocks, 5, head), 9, classes(), 7);
            let mut session = Session::new(Model::from_bytes(&bytes).unwrap());
            let expected = bits(&naive(&mut session, [3, 11], &[1.0], &|_| None));
            for simd in Simd::available() {
                let model = Model::from_bytes_on(&bytes, simd).unwrap();
                let cached = drawn(&mut Session::new(model), 3, 11, &[1.0]);
                assert_eq!(bits(&cached), expected, "{body:?} {head:?}");
            }
        }
    }
}

/// Nets with convolutions and shifts in all directions.
#[test]
fn random_architectures_too() {
    const SIDE: usize = 8;
    let mut judged = 0;
    for seed in 0..50 {
        let conditions = classes();
        let head = HEADS[seed as usize % HEADS.len()];
        let Some(net) = nets::causal(SIDE, conditions.width(), head.parameters(), seed) else {
            continue;
        };
        let tensors = random_weights(&net.tensors("net").unwrap(), seed);
        let card = pixel_cnn_card(PixelCnn { net, head }, SIDE, conditions);
        let model = match Model::from_bytes(&file(&card, &tensors)) {
            Ok(model) => model,
            Err(e) => {
                assert!(
                    e.to_string().contains("constant planes"),
                    "seed {seed}: {e}"
                );
                continue;
            }
        };
        let mut session = Session::new(model);
        let cached = drawn(&mut session, 1, seed, &[2.0]);
        let expected = naive(&mut session, [1, seed], &[2.0], &|_| None);
        assert_eq!(bits(&cached), bits(&expected), "seed {seed}");
        judged += 1;
    }
    assert!(judged >= 40, "{judged} of 50");
}

fn gated(head: Head) -> Arc<Model> {
    let bytes = random_pixel_cnn(
        preset(Body::Gated, 2, 6, head),
        10,
        Conditions::default(),
        5,
    );
    Model::from_bytes(&bytes).unwrap()
}

/// Given pixels stay, the others are as the naive sampler draws them; a mask without holes gives the image back, and
/// one without given pixels the drawn image.
#[test]
fn completions_keep_what_is_given() {
    for head in [HEADS[1], HEADS[3]] {
        let mut session = Session::new(gated(head));
        let image = drawn(&mut session, 9, 1, &[]);
        let mut out = vec![0.0; 100];
        let rows: Vec<bool> = (0..100).map(|i| i < 50).collect();
        let holes: Vec<bool> = (0..100).map(|i| i % 7 < 3).collect();
        for given in [&rows, &holes] {
            session
                .complete(4, 2, &[], &image, given, &mut out)
                .unwrap();
            let known = |i: usize| given[i].then_some(image[i]);
            let expected = naive(&mut session, [4, 2], &[], &known);
            assert_eq!(bits(&out), bits(&expected), "{head:?}");
        }
        session
            .complete(4, 2, &[], &image, &[true; 100], &mut out)
            .unwrap();
        assert_eq!(bits(&out), bits(&image));
        session
            .complete(9, 1, &[], &[0.0; 100], &[false; 100], &mut out)
            .unwrap();
        assert_eq!(bits(&out), bits(&image));
    }
}

/// An image depends on (file, seed, id, conditions) only: not on what the session did before.
#[test]
fn batch_mates_do_not_change_an_image() {
    let mut session = Session::new(gated(HEADS[2]));
    let alone = drawn(&mut Session::new(session.model().clone()), 2, 5, &[]);
    for id in 3..5 {
        let other = drawn(&mut session, 2, id, &[]);
        assert_ne!(other, alone);
        session.log_likelihood(&other, &[], None, 1, 0, 0).unwrap();
    }
    assert_eq!(bits(&drawn(&mut session, 2, 5, &[])), bits(&alone));
    assert_ne!(drawn(&mut session, 3, 5, &[]), alone);
}

/// The mean image is the mean of every pixel given the drawn ones before it: the reconstruction of the drawn image.
#[test]
fn mean_pixels_are_the_reconstruction_of_drawn_ones() {
    for head in HEADS {
        let mut session = Session::new(gated(head));
        let image = drawn(&mut session, 1, 1, &[]);
        let (mut mean, mut made) = (vec![0.0; 100], vec![0.0; 100]);
        session
            .sample_image(1, 1, &[], Pixels::Mean, &mut mean)
            .unwrap();
        session.reconstruct(&image, &[], &mut made).unwrap();
        assert_eq!(bits(&mean), bits(&made), "{head:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_said() {
    let mut session = Session::new(gated(Head::Bernoulli));
    let mut out = vec![0.0; 100];
    assert_eq!(session.decode(&[], &[], &mut out), Err(DrawError::NoLatent));
    assert_eq!(
        session.encode(&out.clone(), &[], &mut [], &mut []),
        Err(DrawError::NoLatent)
    );
    assert_eq!(session.log_prob_latent(&[], &[]), Err(DrawError::NoLatent));
    assert_eq!(
        session.sample_latent(1, 1, &[], &mut []),
        Err(DrawError::NoLatent)
    );
    let grey = session.complete(1, 1, &[], &[0.5; 100], &[true; 100], &mut out);
    assert!(
        grey.unwrap_err()
            .to_string()
            .contains("pixel is 0.5, expected 0 or 1: binarise")
    );
    // Not given, so not judged.
    session
        .complete(1, 1, &[], &[0.5; 100], &[false; 100], &mut out)
        .unwrap();
    let sky = session.log_likelihood(&out, &[], Some(1.0), 1, 0, 0);
    assert!(
        sky.unwrap_err()
            .to_string()
            .contains("sky is 1, expected none")
    );
}
