//! Autoencoders of images and galaxies: against exact values by quadrature, laws of what is drawn, and
//! what is refused.

mod programs;

use galgen_core::models::{Likelihood, Posterior};
use galgen_core::object::Object;
use galgen_infer::{DrawError, LoadError, Model, Pixels, Session, Simd};
use galgen_tests::compare::relative_error;
use galgen_tests::goldens::{VaeGolden, VaeItem, vaes};
use galgen_tests::model::{classes, file, random_vae, vae_card};
use galgen_tests::tensors::{read_safetensors, write_safetensors};
use programs::{Link, compile, compiler, folder, succeed};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

/// The engine computes in f32 (rounding 6e-8) through two layers of up to 67 terms; 2e-7 is seen.
const TOLERANCE: f64 = 2e-6;
const GAUSSIAN: Likelihood = Likelihood::Gaussian { deviation: 0.2 };

fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn open(golden: &VaeGolden) -> (Arc<Model>, usize) {
    let conditional = golden.model.encoder.context > 0;
    let conditions = if conditional {
        classes()
    } else {
        Default::default()
    };
    let card = vae_card(golden.model.clone(), 8, None, conditions);
    let model = Model::from_bytes(&file(&card, &golden.tensors)).expect("a golden model");
    (model, usize::from(conditional))
}

fn for_each_item(mut judge: impl FnMut(&mut Session, &str, &VaeItem, &[f32])) {
    for golden in vaes() {
        let (model, conditions) = open(&golden);
        let mut session = Session::new(model);
        for item in &golden.items {
            let label = [item.label as f32];
            judge(&mut session, &golden.name, item, &label[..conditions]);
        }
    }
}

#[test]
fn encoder_and_decoder_agree_with_torch() {
    for_each_item(|session, name, item, label| {
        let (mut mean, mut log_variance) = ([0.0; 2], [0.0; 2]);
        let mut decoded = vec![0.0; 64];
        session
            .encode(&f32s(&item.x), label, &mut mean, &mut log_variance)
            .unwrap();
        session.decode(&f32s(&item.z), label, &mut decoded).unwrap();
        for (found, expected) in [
            (&mean[..], &item.mean),
            (&log_variance[..], &item.log_variance),
            (&decoded[..], &item.decoded),
        ] {
            let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
            let error = relative_error(&found, expected);
            assert!(error < TOLERANCE, "{name}: {error:e}");
        }
    });
}

/// Mean of `n` estimates and its standard error.
fn mean_and_error(n: u64, mut estimate: impl FnMut(u64) -> f64) -> (f64, f64) {
    let values: Vec<f64> = (0..n).map(&mut estimate).collect();
    let mean = values.iter().sum::<f64>() / n as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    (mean, (variance / n as f64).sqrt())
}

/// With one draw the bound is an unbiased estimate of the evidence lower bound; with thousands it has closed
/// on ln p(x), which it underestimates by half its variance. Both are judged by their own scatter, which must be
/// small enough to tell them apart.
#[test]
fn the_bounds_agree_with_quadrature() {
    for_each_item(|session, name, item, label| {
        let x = f32s(&item.x);
        let mut bound = |samples, id| {
            session
                .log_likelihood(&x, label, None, samples, 7, id)
                .unwrap()
        };
        let (elbo, error) = mean_and_error(4000, |id| bound(1, id));
        let gap = item.log_likelihood - item.elbo;
        assert!(error < 0.1 * gap, "{name}: {error} of {gap}");
        assert!(
            (elbo - item.elbo).abs() < 5.0 * error,
            "{name}: {elbo} +- {error}, quadrature {}",
            item.elbo
        );
        let (tight, error) = mean_and_error(12, |id| bound(6000, id));
        let bias = 0.5 * 12.0 * error * error;
        assert!(error < 0.1 * gap, "{name}: {error} of {gap}");
        assert!(
            (tight - item.log_likelihood).abs() < 5.0 * error + bias,
            "{name}: {tight} +- {error}, quadrature {}",
            item.log_likelihood
        );
    });
}

fn session(posterior: Posterior, likelihood: Likelihood, galaxies: bool) -> Session {
    let bytes = random_vae(posterior, likelihood, galaxies, 3);
    Session::new(Model::from_bytes(&bytes).expect("a random model"))
}

#[test]
fn every_level_gives_the_same_bits() {
    for (posterior, likelihood, galaxies) in [
        (Posterior::Gaussian, Likelihood::Bernoulli, false),
        (Posterior::Point, GAUSSIAN, false),
        (Posterior::Gaussian, GAUSSIAN, true),
    ] {
        let bytes = random_vae(posterior, likelihood, galaxies, 3);
        let mut all = Vec::new();
        for simd in Simd::available() {
            let model = Model::from_bytes_on(&bytes, simd).unwrap();
            let mut s = Session::new(model.clone());
            let mut stamp = vec![0.0; model.stamp_len()];
            if galaxies {
                s.sample_galaxy_frame(1, &Object::new(9, &[2.0]), &mut stamp)
                    .unwrap();
            } else {
                s.sample_image(1, 9, &[2.0], Pixels::Drawn, &mut stamp)
                    .unwrap();
            }
            let mut out = stamp.clone();
            s.reconstruct(&stamp, &[1.0], &mut out).unwrap();
            stamp.extend(out);
            let score = match posterior {
                Posterior::Gaussian => {
                    s.log_likelihood(&stamp[..model.stamp_len()], &[1.0], None, 3, 1, 2)
                }
                Posterior::Point => s.log_prob_latent(&[0.3; 6], &[1.0]),
            };
            let bits: Vec<u32> = stamp.iter().map(|v| v.to_bits()).collect();
            all.push((bits, score.unwrap().to_bits()));
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// The codes that a plain autoencoder decodes follow its Gaussian: u = L^-1 (z - m) is a standard normal, and the
/// density of z is that of u over the determinant of L.
#[test]
fn the_fitted_prior_is_a_gaussian() {
    let bytes = random_vae(Posterior::Point, GAUSSIAN, false, 3);
    let (tensors, _) = read_safetensors(&bytes);
    let (mean, factor) = (&tensors["prior.mean"].1, &tensors["prior.cholesky"].1);
    let mut session = Session::new(Model::from_bytes(&bytes).unwrap());
    let u = [0.5, -1.0, 2.0, 0.0, 0.25, -0.75];
    let z: Vec<f64> = (0..6)
        .map(|i| mean[i] + (0..=i).map(|j| factor[6 * i + j] * u[j]).sum::<f64>())
        .collect();
    let square: f64 = u.iter().map(|v| v * v).sum();
    let log_det: f64 = (0..6).map(|i| factor[7 * i].ln()).sum();
    let expected = -0.5 * square - 3.0 * (2.0 * std::f64::consts::PI).ln() - log_det;
    let found = session.log_prob_latent(&z, &[0.0]).unwrap();
    assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
}

#[test]
fn drawn_pixels_follow_their_mean() {
    const DRAWS: u64 = 4000;
    for likelihood in [Likelihood::Bernoulli, GAUSSIAN] {
        let mut s = session(Posterior::Gaussian, likelihood, false);
        let (mut mean, mut pixel) = (vec![0.0; 144], vec![0.0; 144]);
        let (mut first, mut second) = (0.0, 0.0);
        for id in 0..DRAWS {
            s.sample_image(5, id, &[0.0], Pixels::Mean, &mut mean)
                .unwrap();
            s.sample_image(5, id, &[0.0], Pixels::Drawn, &mut pixel)
                .unwrap();
            let p = f64::from(mean[77]);
            let variance = match likelihood {
                Likelihood::Bernoulli => {
                    assert!(pixel.iter().all(|&v| v == 0.0 || v == 1.0));
                    p * (1.0 - p)
                }
                Likelihood::Gaussian { deviation } => deviation * deviation,
            };
            let standard = (f64::from(pixel[77]) - p) / variance.sqrt();
            first += standard;
            second += standard * standard;
        }
        let n = DRAWS as f64;
        // Five standard errors; the square's deviation is at most 2 for a Gaussian, less for these bits.
        assert!((first / n).abs() < 5.0 / n.sqrt());
        assert!((second / n - 1.0).abs() < 10.0 / n.sqrt(), "{second}");
    }
}

#[test]
fn galaxies_of_an_autoencoder_are_drawn_as_any_others() {
    let mut s = session(Posterior::Gaussian, GAUSSIAN, true);
    let mut stamp = vec![0.0; 144];
    let object = Object {
        flux: 50.0,
        ..Object::new(4, &[1.0])
    };
    s.sample_native(1, &object, &mut stamp).unwrap();
    let sum: f64 = stamp.iter().map(|&p| f64::from(p)).sum();
    assert!((sum - 50.0).abs() < 5e-5);
    // The score does not depend on the flux.
    let dim: Vec<f32> = stamp.iter().map(|p| p * 0.25).collect();
    let mut score = |stamp: &[f32]| s.log_likelihood(stamp, &[1.0], None, 2, 1, 1).unwrap();
    assert!((score(&stamp) - score(&dim)).abs() < 1e-3);
    // A reconstruction keeps it.
    let mut out = stamp.clone();
    s.reconstruct(&stamp, &[1.0], &mut out).unwrap();
    let sum: f64 = out.iter().map(|&p| f64::from(p)).sum();
    assert!((sum - 50.0).abs() < 5e-5);
}

#[test]
fn what_a_model_cannot_do_is_said() {
    let mut images = session(Posterior::Gaussian, Likelihood::Bernoulli, false);
    let mut galaxies = session(Posterior::Gaussian, GAUSSIAN, true);
    let mut plain = session(Posterior::Point, GAUSSIAN, false);
    let mut stamp = vec![0.0; 144];
    let object = Object::new(1, &[1.0]);
    assert_eq!(
        images.sample_native(1, &object, &mut stamp),
        Err(DrawError::NotGalaxies)
    );
    assert_eq!(
        galaxies.sample_image(1, 1, &[1.0], Pixels::Mean, &mut stamp),
        Err(DrawError::NotImages)
    );
    let score = |s: &mut Session, stamp: &[f32], sky, label| {
        s.log_likelihood(stamp, &[label], sky, 1, 1, 1)
            .unwrap_err()
            .to_string()
    };
    assert!(score(&mut plain, &stamp, None, 1.0).contains("no likelihood"));
    // The noise of its pixels is what it has learned.
    let mut point = [0.0; 144];
    point[70] = 1.0;
    let sky = score(&mut galaxies, &point, Some(0.1), 1.0);
    assert!(sky.contains("sky is 0.1, expected none"), "{sky}");
    for (pixel, sky, label, expected) in [
        (0.5, None, 1.0, "pixel is 0.5, expected 0 or 1: binarise"),
        (f32::NAN, None, 1.0, "pixel is NaN, expected finite"),
        (1.0, Some(0.1), 1.0, "sky is 0.1, expected none"),
        (
            1.0,
            None,
            3.0,
            "condition 0 (counted from 0) is 3, expected a class: a whole number from 0 to 2",
        ),
    ] {
        let found = score(&mut images, &[pixel; 144], sky, label);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_damaged_prior_is_refused() {
    for (index, value) in [(1, 0.5), (7, 0.0), (7, -1.0)] {
        let bytes = random_vae(Posterior::Point, GAUSSIAN, false, 3);
        let (mut tensors, metadata) = read_safetensors(&bytes);
        tensors.get_mut("prior.cholesky").expect("a prior").1[index] = value;
        let metadata: Vec<_> = metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let error = Model::from_bytes(&write_safetensors(&tensors, &metadata)).unwrap_err();
        assert!(matches!(error, LoadError::Tensor { .. }), "{error}");
    }
}

/// 64-bit FNV-1a of the bytes, as in `tests/c/images.c`.
fn hash(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn c_and_rust_agree() {
    const SEED: u64 = 7;
    let Some(cc) = compiler("CC", "cc") else {
        return;
    };
    let folder = folder("images");
    let bytes = random_vae(Posterior::Gaussian, Likelihood::Bernoulli, false, 3);
    let path = folder.join("images.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let program = compile(&cc, "-std=c99", "c/images.c", Link::Static, &folder);
    let found = succeed(Command::new(program).arg(&path));

    let model = Model::from_bytes(&bytes).unwrap();
    let mut s = Session::new(model.clone());
    let mut expected = model.card().conditions.list[0].classes.join("\n") + "\n";
    let [mut drawn, mut encoded, mut decoded, mut made] = [(); 4].map(|()| Vec::new());
    let mut scores = String::new();
    for id in 0..6 {
        let kind = [(id % 3) as f32];
        let mut image = vec![0.0; model.stamp_len()];
        let (mut mean, mut spread) = (vec![0.0; 6], vec![0.0; 6]);
        s.sample_image(SEED, id, &kind, Pixels::Drawn, &mut image)
            .unwrap();
        drawn.extend_from_slice(&image);
        s.encode(&image, &kind, &mut mean, &mut spread).unwrap();
        encoded.extend_from_slice(&mean);
        let score = s.log_likelihood(&image, &kind, None, 3, SEED, id).unwrap();
        writeln!(scores, "{score:e}").unwrap();
        let mut out = image.clone();
        s.decode(&mean, &kind, &mut out).unwrap();
        decoded.extend_from_slice(&out);
        s.reconstruct(&image, &kind, &mut out).unwrap();
        made.extend_from_slice(&out);
    }
    for (name, values) in [
        ("drawn", &drawn),
        ("encoded", &encoded),
        ("decoded", &decoded),
        ("reconstructed", &made),
    ] {
        writeln!(expected, "{name} {:016x}", hash(values)).unwrap();
    }
    let (start, end) = found.split_at(expected.len());
    assert_eq!(start, expected);
    let numbers = |text: &str| -> Vec<f64> { text.lines().map(|l| l.parse().unwrap()).collect() };
    assert_eq!(numbers(end), numbers(&scores));
}
