//! Calls of many items give for each what a call of that item alone gives, bit for bit, and refuse bad ones where they
//! stand: every family, sessions of several sizes.

use galgen_hashes::cases;
use galgen_infer::{DrawError, Model, Pixels, Scoring, Session};

const ITEMS: usize = 11;
const SEED: u64 = 7;
/// The item that is spoilt.
const BAD: usize = 6;
const BATCHES: [usize; 3] = [1, 4, 64];

/// A result whose error is text, and whose number is bits.
fn plain<T>(result: Result<T, DrawError>, bits: impl Fn(T) -> u64) -> Result<u64, String> {
    result.map(bits).map_err(|e| e.to_string())
}

/// Conditions of all items across the trained range, those of one not a number.
fn conditions(model: &Model) -> Vec<f32> {
    let list = &model.card().conditions.list;
    let one = |i: usize| {
        list.iter().map(move |c| match c.classes.len() {
            _ if i == BAD => f32::NAN,
            0 => (c.range[0] + (c.range[1] - c.range[0]) * i as f64 / ITEMS as f64) as f32,
            classes => (i % classes) as f32,
        })
    };
    (0..ITEMS).flat_map(one).collect()
}

fn part<T>(values: &[T], i: usize) -> &[T] {
    let each = values.len() / ITEMS;
    &values[i * each..(i + 1) * each]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_batch_is_its_items() {
    for case in cases().into_iter().filter(|case| !case.large) {
        let model = Model::from_bytes(&case.bytes()).expect("a model");
        let name = case.name;
        let conditions = conditions(&model);
        let (latent, stamp) = (model.latent(), model.stamp_len());
        let mut z: Vec<f32> = (0..ITEMS * latent)
            .map(|k| ((k * 7 % 23) as f32 + 1.0) / 24.0)
            .collect();
        z.iter_mut()
            .skip(BAD * latent)
            .take(1)
            .for_each(|z| *z = f32::NAN);
        let mut alone = Session::new(model.clone());

        let mut images = vec![0.0; ITEMS * stamp];
        let mut decoded = images.clone();
        let (mut drawn, mut made, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..ITEMS {
            let (c, id) = (part(&conditions, i), 50 + i as u64);
            let out = &mut images[i * stamp..(i + 1) * stamp];
            let found = alone.sample_image(SEED, id, c, Pixels::Drawn, out);
            if found.is_err() {
                out.fill(0.0);
            }
            drawn.push(plain(found, |flags| u64::from(flags.0)));
            let out = &mut decoded[i * stamp..(i + 1) * stamp];
            let found = alone.decode(part(&z, i), c, out);
            if found.is_err() {
                out.fill(0.0);
            }
            made.push(plain(found, |flags| u64::from(flags.0)));
        }
        let mut scored = images.clone();
        // No galaxies, and without conditions nothing else is wrong.
        scored[BAD * stamp] = f32::NAN;
        for i in 0..ITEMS {
            let (c, id) = (part(&conditions, i), i as u64);
            let found = alone.log_likelihood(part(&scored, i), c, None, 2, SEED, id);
            scores.push(plain(found, f64::to_bits));
        }

        for batch in BATCHES {
            let mut session = Session::with_batch(model.clone(), batch);
            let mut out = vec![f32::NAN; images.len()];
            let mut found = Vec::new();
            let mut note = |i: usize, result| {
                assert_eq!(i, found.len(), "{name}: in order");
                found.push(plain(result, |flags: galgen_core::condition::Flags| {
                    u64::from(flags.0)
                }));
            };
            let id = |i: usize| 50 + i as u64;
            let drawn_or_not = Pixels::Drawn;
            session.sample_images(
                ITEMS,
                SEED,
                id,
                &conditions,
                drawn_or_not,
                &mut out,
                &mut note,
            );
            assert!(
                bits(&out) == bits(&images),
                "{name}: images in batches of {batch}"
            );
            assert_eq!(found, drawn, "{name}");

            let (mut out, mut found) = (vec![f32::NAN; images.len()], Vec::new());
            session.decode_batch(ITEMS, &z, &conditions, &mut out, |_, result| {
                found.push(plain(result, |flags| u64::from(flags.0)));
            });
            assert!(
                bits(&out) == bits(&decoded),
                "{name}: decoded in batches of {batch}"
            );
            assert_eq!(found, made, "{name}");

            let mut found = Vec::new();
            let scoring = Scoring {
                sky: None,
                samples: 2,
                seed: SEED,
                ids: None,
            };
            session.log_likelihoods(ITEMS, &scored, &conditions, scoring, |_, result| {
                found.push(plain(result, f64::to_bits));
            });
            assert_eq!(found, scores, "{name}: ln p in batches of {batch}");
        }
    }
}
