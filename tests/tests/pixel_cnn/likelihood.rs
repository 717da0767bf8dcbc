//! The density of whole images.

use super::{BODIES, HEADS, preset};
use galgen_core::condition::Conditions;
use galgen_core::models::{Body, Head};
use galgen_core::spec::Shape;
use galgen_infer::{Model, Pixels, Session};
use galgen_tests::compare::relative_error;
use galgen_tests::model::{classes, grey, random_pixel_cnn};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{random_values, random_weights, read_safetensors};

fn session(body: Body, blocks: usize, head: Head, side: usize) -> (Session, Vec<u8>) {
    let bytes = random_pixel_cnn(preset(body, blocks, 6, head), side, classes(), 21);
    (Session::new(Model::from_bytes(&bytes).unwrap()), bytes)
}

fn image(session: &mut Session) -> Vec<f32> {
    let mut image = vec![0.0; session.model().stamp_len()];
    session
        .sample_image(3, 4, &[2.0], Pixels::Drawn, &mut image)
        .unwrap();
    image
}

/// All binary images of 3 x 3 pixels, through the definition: a net in f64, and its head.
#[test]
fn all_small_images_sum_to_one() {
    const PIXELS: usize = 9;
    for (body, blocks) in BODIES {
        let mut net = preset(body, blocks, 3, Head::Bernoulli)
            .build(&grey(8), 0)
            .unwrap()
            .net;
        net.input = Shape::square(1, 3);
        let referee = Referee::new(random_weights(&net.tensors("net").unwrap(), 5));
        let mut sum = 0.0;
        for code in 0..1 << PIXELS {
            let x: Vec<f64> = (0..PIXELS).map(|i| f64::from(code >> i & 1)).collect();
            let logits = referee.run(&net, "net", &x, &[]);
            let log_p: f64 = logits
                .iter()
                .zip(&x)
                .map(|(&l, &x)| Head::Bernoulli.log_prob(&[l], x))
                .sum();
            sum += log_p.exp();
        }
        assert!((sum - 1.0).abs() < 1e-12, "{body:?}: {sum}");
    }
}

/// The engine, given the pixels before: all completions of the last 8 pixels have probability 1 together. The
/// logits of the net are rounded to f32, but each is the same for both values of its pixel.
#[test]
fn all_completions_sum_to_one() {
    const FREE: usize = 8;
    for (body, blocks) in BODIES {
        let (mut session, _) = session(body, blocks, Head::Bernoulli, 8);
        let mut x = image(&mut session);
        let first = x.len() - FREE;
        let mut map = vec![0.0; x.len()];
        let mut sum = 0.0;
        for code in 0..1 << FREE {
            for (i, pixel) in x[first..].iter_mut().enumerate() {
                *pixel = (code >> i & 1) as f32;
            }
            session.pixel_log_likelihoods(&x, &[2.0], &mut map).unwrap();
            sum += map[first..].iter().sum::<f64>().exp();
        }
        assert!((sum - 1.0).abs() < 1e-12, "{body:?}: {sum}");
    }
}

/// Map and sum agree, and a pixel's ln p does not change with pixels after it.
#[test]
fn the_map_is_the_sum_pixel_by_pixel() {
    for (body, blocks) in BODIES {
        for head in HEADS {
            let (mut session, _) = session(body, blocks, head, 9);
            let x = image(&mut session);
            let mut map = vec![0.0; x.len()];
            session.pixel_log_likelihoods(&x, &[1.0], &mut map).unwrap();
            let whole = session.log_likelihood(&x, &[1.0], None, 1, 0, 0).unwrap();
            assert_eq!(map.iter().sum::<f64>(), whole);
            let mut other = x.clone();
            other[40] = if head == Head::Gaussian {
                0.123
            } else {
                1.0 - x[40].round()
            };
            let mut changed = map.clone();
            session
                .pixel_log_likelihoods(&other, &[1.0], &mut changed)
                .unwrap();
            assert_eq!(map[..40], changed[..40], "{body:?} {head:?}");
            assert_ne!(map[40], changed[40], "{body:?} {head:?}");
        }
    }
}

/// The engine's parameters against a plain-loop evaluation in f64. The engine rounds to f32 (6e-8) in some ten layers of
/// up to 80 terms.
#[test]
fn parameters_agree_with_the_referee() {
    for (body, blocks) in BODIES {
        for head in HEADS {
            let (mut session, bytes) = session(body, blocks, head, 9);
            let x = image(&mut session);
            let mut found = vec![0.0; head.parameters() * x.len()];
            session
                .pixel_parameters(&x, &[2.0], true, &mut found)
                .unwrap();
            let (tensors, _) = read_safetensors(&bytes);
            let net = preset(body, blocks, 6, head)
                .build(&grey(9), 3)
                .unwrap()
                .net;
            let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            let expected = Referee::new(tensors).run(&net, "net", &x, &[0.0, 0.0, 1.0]);
            let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
            let error = relative_error(&found, &expected);
            assert!(error < 3e-6, "{body:?} {head:?}: {error:e}");
        }
    }
}

/// Finite pixels of any size give a number or minus infinity, never NaN.
#[test]
fn no_finite_image_gives_nan() {
    for head in [Head::Gaussian, Head::GaussianMixture { components: 2 }] {
        let bytes = random_pixel_cnn(
            preset(Body::PlusPlus, 1, 4, head),
            8,
            Conditions::default(),
            2,
        );
        let mut session = Session::new(Model::from_bytes(&bytes).unwrap());
        for scale in [1.0, 1e10, 1e30, 3e38] {
            let x: Vec<f32> = random_values(64, 1)
                .iter()
                .map(|&v| (v.clamp(-1.0, 1.0) * scale) as f32)
                .collect();
            let found = session.log_likelihood(&x, &[], None, 1, 0, 0).unwrap();
            assert!(!found.is_nan(), "{head:?} {scale}");
        }
    }
}
