//! The forward model: point-spread function and correlated noise in the likelihood, against sums and
//! matrices written out here.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{SIDE, elements, geometry, random_batch, random_parameters, tensor, tiny_preset};
use galgen_core::models::{FlowVae, FlowVaePreset, Forward};
use galgen_core::stamp::window;
use galgen_tests::tensors::random_values;
use galgen_train::models::flow_vae::{Batch, Blur, Learner};
use galgen_train::ops::Filter;
use galgen_train::params::Parameters;
use std::f64::consts::PI;

const PIXELS: usize = SIDE * SIDE;
/// Side of the point-spread functions.
const P: usize = 5;

fn model(forward: Forward) -> FlowVae {
    let preset = FlowVaePreset {
        forward,
        noise_relative: 0.3,
        ..tiny_preset()
    };
    preset.build(&geometry(), 0).expect("a consistent preset")
}

/// Point-spread functions of sum 1 that differ from stamp to stamp and have no symmetry.
fn kernels(b: usize) -> Vec<f32> {
    let one = |i: usize| -> Vec<f32> {
        let values = random_values(P * P, 40 + i as u64);
        let sum: f64 = values.iter().map(|v| v * v).sum();
        values.iter().map(|v| (v * v / sum) as f32).collect()
    };
    (0..b).flat_map(one).collect()
}

fn blurred_batch(b: usize, seed: u64) -> Batch {
    let plane = tensor(
        &random_values(b * PIXELS, 3),
        &[b, 1, SIDE, SIDE],
        DType::F64,
    );
    Batch {
        psf: Some(Blur {
            filter: Filter::convolution(&kernels(b), P, SIDE).expect("kernels"),
            plane,
        }),
        ..random_batch(b, 0, seed, DType::F64)
    }
}

fn likelihood(model: &FlowVae, batch: &Batch, decoded: &Tensor) -> Vec<f64> {
    let parameters: Parameters = random_parameters(model, 1, DType::F64);
    let learner = Learner::new(model, &geometry(), &parameters, DType::F64, &Device::Cpu);
    let value = learner.and_then(|l| l.log_likelihood(batch, decoded));
    elements(&value.expect("a value"))
}

/// Decoder-like stamps: positive, of sum 1.
fn drawn(b: usize) -> Tensor {
    let mut values: Vec<f64> = random_values(b * PIXELS, 8).iter().map(|v| v * v).collect();
    for stamp in values.chunks_mut(PIXELS) {
        let sum: f64 = stamp.iter().sum();
        stamp.iter_mut().for_each(|v| *v /= sum);
    }
    tensor(&values, &[b, 1, SIDE, SIDE], DType::F64)
}

#[test]
fn the_likelihood_compares_the_stamp_with_the_blurred_model() {
    let b = 3;
    let batch = blurred_batch(b, 2);
    let decoded = drawn(b);
    let (values, psf) = (elements(&decoded), kernels(b));
    let mut blurred = vec![0.0; b * PIXELS];
    for (i, out) in blurred.iter_mut().enumerate() {
        let (item, y, x) = (i / PIXELS, i % PIXELS / SIDE, i % SIDE);
        for (v, u) in (0..SIDE).flat_map(|v| (0..SIDE).map(move |u| (v, u))) {
            let (dy, dx) = (y + P / 2, x + P / 2);
            if (v..v + P).contains(&dy) && (u..u + P).contains(&dx) {
                let weight = psf[item * P * P + (dy - v) * P + dx - u];
                *out += values[item * PIXELS + v * SIDE + u] * f64::from(weight);
            }
        }
    }
    let blurred = tensor(&blurred, &[b, 1, SIDE, SIDE], DType::F64);
    let direct = likelihood(&model(Forward::Direct), &batch, &blurred);
    let inside = likelihood(&model(Forward::Psf), &batch, &decoded);
    for (a, b) in direct.iter().zip(&inside) {
        assert!((a - b).abs() < 1e-9 * a.abs(), "{a} {b}");
    }
    // The law has teeth: without the blur the value differs.
    let without = likelihood(&model(Forward::Direct), &batch, &decoded);
    assert!((without[0] - inside[0]).abs() > 1.0);
}

#[test]
fn a_model_with_a_blur_needs_one() {
    let batch = random_batch(1, 0, 2, DType::F64);
    let model = model(Forward::Psf);
    let parameters = random_parameters(&model, 1, DType::F64);
    let learner = Learner::new(&model, &geometry(), &parameters, DType::F64, &Device::Cpu)
        .expect("a learner");
    for refused in [
        learner.encode(&batch).err(),
        learner.observe(&batch, &drawn(1)).err(),
    ] {
        assert!(
            refused
                .expect("a refusal")
                .to_string()
                .contains("point-spread")
        );
    }
}

/// With white noise the Fourier likelihood is the pixel likelihood, whatever mask and deviations.
#[test]
fn for_white_noise_both_likelihoods_agree() {
    let b = 4;
    let decoded = drawn(b);
    let mut batch = blurred_batch(b, 5);
    let map = tensor(
        &random_values(b * PIXELS, 6)
            .iter()
            .map(|v| 1e-4 * (1.0 + v * v))
            .collect::<Vec<_>>(),
        &[b, 1, SIDE, SIDE],
        DType::F64,
    );
    for sky in [batch.sky.clone(), map] {
        batch.sky = sky;
        batch.noise = None;
        let pixel = likelihood(&model(Forward::Psf), &batch, &decoded);
        let white = Filter::noise_power(&vec![1.0; b], 1, SIDE, 1e-3).expect("spectra");
        batch.noise = Some(white);
        let fourier = likelihood(&model(Forward::Psf), &batch, &decoded);
        for (a, b) in pixel.iter().zip(&fourier) {
            assert!((a - b).abs() < 1e-10 * a.abs(), "{a} {b}");
        }
    }
}

/// Cholesky factor of a symmetric positive definite matrix, row-major.
fn cholesky(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for j in 0..n {
        for i in j..n {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let value = a[i * n + j] - dot;
            a[i * n + j] = if i == j {
                value.sqrt()
            } else {
                value / a[j * n + j]
            };
        }
    }
    a
}

/// The correlated likelihood against a Gaussian with the dense covariance matrix of all pixels.
#[test]
fn correlated_noise_is_a_gaussian_with_that_covariance() {
    let mut model = model(Forward::Direct);
    // The sky has a share of the variance that is the same in every pixel.
    model.noise.relative = 0.0;
    let b = 2;
    let q = 5;
    let decoded = drawn(b);
    let mut batch = random_batch(b, 0, 7, DType::F64);
    batch.observed = batch.observed.ones_like().expect("a mask");
    let lag = |i: usize| (i as f64 - 2.0).powi(2);
    let acf: Vec<f32> = (0..b * q * q)
        .map(|i| (-(lag(i / q % q) + lag(i % q)) * (0.5 + (i / (q * q)) as f64)).exp() as f32)
        .collect();
    batch.noise = Some(Filter::noise_power(&acf, q, SIDE, 1e-9).expect("spectra"));
    let found = likelihood(&model, &batch, &decoded);

    let intensity = model.intensity;
    let (x, m, sky) = (
        elements(&batch.stamps),
        elements(&decoded),
        elements(&batch.sky),
    );
    let window = window(SIDE);
    for item in 0..b {
        let sky = (sky[item] * intensity).powi(2);
        let variance = sky + model.noise.floor.powi(2);
        let share = sky / variance;
        let mut correlation = vec![0.0; PIXELS * PIXELS];
        for i in 0..PIXELS {
            for j in 0..PIXELS {
                // Differences on the torus, within the function's reach.
                let d = |a: usize, b: usize| (a + SIDE + q / 2 - b) % SIDE;
                let (dy, dx) = (d(i / SIDE, j / SIDE), d(i % SIDE, j % SIDE));
                if dy < q && dx < q {
                    correlation[i * PIXELS + j] = share * f64::from(acf[(item * q + dy) * q + dx]);
                }
            }
            correlation[i * PIXELS + i] += 1.0 - share;
        }
        let factor = cholesky(correlation, PIXELS);
        let log_det: f64 = (0..PIXELS).map(|i| 2.0 * factor[i * PIXELS + i].ln()).sum();
        let residual: Vec<f64> = (0..PIXELS)
            .map(|k| {
                let seen = f64::from(u8::from(window[k] > 0.0));
                seen * (x[item * PIXELS + k] - m[item * PIXELS + k]) * intensity / variance.sqrt()
            })
            .collect();
        let mut solved = residual;
        for i in 0..PIXELS {
            let dot: f64 = (0..i).map(|k| factor[i * PIXELS + k] * solved[k]).sum();
            solved[i] = (solved[i] - dot) / factor[i * PIXELS + i];
        }
        let counted = window.iter().filter(|w| **w > 0.0).count() as f64;
        let squares: f64 = solved.iter().map(|v| v * v).sum();
        let expected = -0.5
            * (squares + counted * (2.0 * PI * variance).ln() + log_det * counted / PIXELS as f64);
        // The autocorrelation is stored in f32.
        let difference = (found[item] - expected).abs();
        assert!(
            difference < 1e-5 * expected.abs(),
            "{} {expected}",
            found[item]
        );
    }
}
