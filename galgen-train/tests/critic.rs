//! The critic: what it is paid for, and how its slope is held.

mod common;

use candle_core::{DType, Tensor};
use common::{SIDE, elements, geometry, parameters, random_batch, tensor};
use galgen_tests::tensors::{random_values, random_weights};
use galgen_train::models::critic::Critic;
use galgen_train::models::flow_vae::Batch;
use galgen_train::params::Parameters;

const INTENSITY: f64 = 25.0;
const B: usize = 4;
/// Stamps that are not moved.
const STILL: [isize; 2] = [0, 0];

fn critic() -> (Critic, Parameters) {
    let critic = Critic::new(&[4, 6], &geometry(), INTENSITY, 2).expect("a consistent critic");
    let specs = critic.tensors().expect("tensors");
    (critic, parameters(&random_weights(&specs, 3), DType::F64))
}

fn batch() -> Batch {
    random_batch(B, 2, 5, DType::F64)
}

fn drawn(seed: u64) -> Tensor {
    let values: Vec<f64> = random_values(B * SIDE * SIDE, seed)
        .iter()
        .map(|v| v * v / (SIDE * SIDE) as f64)
        .collect();
    tensor(&values, &[B, 1, SIDE, SIDE], DType::F64)
}

fn number(loss: candle_core::Result<Tensor>) -> f64 {
    elements(&loss.expect("a loss"))[0]
}

#[test]
fn indifference_costs_ln_2_and_both_players_want_the_opposite() {
    let (critic, parameters) = critic();
    let batch = batch();
    // Real against itself: every pair is a draw.
    let same = number(critic.critic_loss(&parameters, &batch, &batch.stamps, STILL, None));
    assert!((same - 2f64.ln()).abs() < 1e-12, "{same}");
    let decoder = number(critic.decoder_loss(&parameters, &batch, &batch.stamps, STILL));
    assert!((decoder - 2f64.ln()).abs() < 1e-12, "{decoder}");
    // softplus(x) - softplus(-x) = x: what one gains the other loses.
    let fake = drawn(7);
    let loss = number(critic.critic_loss(&parameters, &batch, &fake, STILL, None));
    let swapped = Batch {
        stamps: fake.clone(),
        ..self::batch()
    };
    let reversed = number(critic.decoder_loss(&parameters, &swapped, &batch.stamps, STILL));
    assert!((loss - reversed).abs() < 1e-12, "{loss} {reversed}");
    assert!((loss - 2f64.ln()).abs() > 1e-6);
}

#[test]
fn unobserved_pixels_are_not_judged() {
    let (critic, parameters) = critic();
    let batch = batch();
    let fake = drawn(7);
    let before = number(critic.decoder_loss(&parameters, &batch, &fake, STILL));
    let hidden = batch.observed.affine(-1.0, 1.0).expect("a mask");
    let changed = (&fake + (hidden * 0.3).expect("light")).expect("stamps");
    assert_eq!(
        before,
        number(critic.decoder_loss(&parameters, &batch, &changed, STILL))
    );
}

/// The critic sees moved stamps as it sees stamps whose light, point-spread function and mask lie there already.
#[test]
fn moved_stamps_are_judged_where_they_are() {
    let (critic, parameters) = critic();
    let batch = batch();
    let fake = drawn(7);
    let (down, right) = (1, -2);
    let moved = |t: &Tensor| {
        let (b, _, n, _) = t.dims4().expect("maps");
        let values = elements(t);
        let mut out = vec![0.0; values.len()];
        for (i, out) in out.iter_mut().enumerate() {
            let (y, x) = ((i / n % n) as isize - down, (i % n) as isize - right);
            let inside = (0..n as isize).contains(&y) && (0..n as isize).contains(&x);
            if inside {
                *out = values[i / (n * n) * n * n + y as usize * n + x as usize];
            }
        }
        tensor(&out, &[b, 1, n, n], DType::F64)
    };
    let there = Batch {
        stamps: moved(&batch.stamps),
        observed: moved(&batch.observed),
        ..self::batch()
    };
    let found = number(critic.critic_loss(&parameters, &batch, &fake, [down, right], None));
    let expected = number(critic.critic_loss(&parameters, &there, &moved(&fake), STILL, None));
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    let unmoved = number(critic.critic_loss(&parameters, &batch, &fake, STILL, None));
    assert!((found - unmoved).abs() > 1e-6);
}

/// The penalty's mean over the random steps is |grad D|^2, the gradient taken by central differences over
/// the compressed stamps.
#[test]
fn the_penalty_is_the_squared_slope() {
    let (critic, parameters) = critic();
    let batch = batch();
    let pixels = SIDE * SIDE;
    let draws = 400;
    // With real and drawn stamps alike, both slopes are the same.
    let zeros = batch.stamps.zeros_like().expect("zeros");
    let base = number(critic.critic_loss(
        &parameters,
        &batch,
        &batch.stamps,
        STILL,
        Some((1.0, [&zeros, &zeros])),
    ));
    let (mut mean, mut square) = (0.0, 0.0);
    for draw in 0..draws {
        let e = tensor(
            &random_values(B * pixels, 1000 + draw),
            &[B, 1, SIDE, SIDE],
            DType::F64,
        );
        let with = number(critic.critic_loss(
            &parameters,
            &batch,
            &batch.stamps,
            STILL,
            Some((1.0, [&e, &zeros])),
        ));
        let half_square = with - base;
        mean += half_square / draws as f64;
        square += half_square * half_square / draws as f64;
    }
    let error = ((square - mean * mean) / draws as f64).sqrt();

    // y = asinh(4 intensity x); D(x(y)) differentiated in y, pixel by pixel, on both sides of the pair: the
    // loss of a pair against a fixed partner has slope -sigmoid(..) D'; at a draw of equals sigmoid = 1/2.
    let gain = 4.0 * INTENSITY;
    let x = elements(&batch.stamps);
    let observed = elements(&batch.observed);
    let mut expected = 0.0;
    let h = 1e-4;
    for pixel in 0..pixels {
        let moved = |sign: f64| {
            let mut values = x.clone();
            for item in 0..B {
                let k = item * pixels + pixel;
                let y = (gain * x[k]).asinh() + sign * h;
                values[k] = y.sinh() / gain;
            }
            tensor(&values, &[B, 1, SIDE, SIDE], DType::F64)
        };
        // Judged one stamp at a time, so that each slope is squared alone.
        for item in 0..B {
            let one = |t: &Tensor| {
                t.narrow(0, item, 1)
                    .and_then(|t| t.contiguous())
                    .expect("an item")
            };
            let single = Batch {
                stamps: one(&batch.stamps),
                observed: one(&batch.observed),
                sky: one(&batch.sky),
                psf: None,
                noise: None,
                context: batch.context.as_ref().map(one),
            };
            let loss = |sign| {
                number(critic.critic_loss(&parameters, &single, &one(&moved(sign)), STILL, None))
            };
            let slope = 2.0 * (loss(1.0) - loss(-1.0)) / (2.0 * h);
            assert!(observed[item * pixels + pixel] != 0.0 || slope == 0.0);
            expected += 0.5 * slope * slope / B as f64;
        }
    }
    // Finite steps of 0.05 bend a little: 5 % beside the statistical error.
    let allowed = 4.0 * error + 0.05 * expected;
    assert!(
        (mean - expected).abs() < allowed,
        "{mean} {expected} {error}"
    );
    assert!(expected > 0.0);
}
