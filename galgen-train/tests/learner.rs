//! The flow-VAE's losses against formulas written out here, with plain loops and numeric integrals.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{
    HALF_LIGHT, SIDE, elements, geometry, random_batch, random_parameters, tensor, tiny_model,
    tiny_preset,
};
use galgen_core::models::{
    FlowVae, FlowVaePreset, Forward, LOG_VARIANCE, TexturePreset, place_psf,
};
use galgen_core::spec::Transform;
use galgen_core::stamp::centre;
use galgen_tests::tensors::random_values;
use galgen_train::lower::normalise;
use galgen_train::models::flow_vae::{
    Batch, Blur, Learner, Prior, posterior_sample, standardise_flow,
};
use galgen_train::ops::Filter;
use galgen_train::params::Parameters;
use std::f64::consts::PI;

fn learner<'a>(model: &'a FlowVae, parameters: &'a Parameters) -> Learner<'a> {
    Learner::new(model, &geometry(), parameters, DType::F64, &Device::Cpu).expect("a learner")
}

/// Pixel centres nearer to the stamp's centre than half a side: where the likelihood is defined.
fn inside(pixel: usize) -> bool {
    let (x, y) = (
        (pixel % SIDE) as f64 - centre(SIDE),
        (pixel / SIDE) as f64 - centre(SIDE),
    );
    x.hypot(y) < SIDE as f64 / 2.0
}

#[test]
fn the_likelihood_is_a_gaussian_for_every_observed_pixel_of_the_circle() {
    let mut model = tiny_model(2);
    model.noise.relative = 0.3;
    let parameters = random_parameters(&model, 1, DType::F64);
    let learner = learner(&model, &parameters);
    let batch = random_batch(5, 2, 2, DType::F64);
    let z = tensor(
        &random_values(5 * model.latent, 3),
        &[5, model.latent],
        DType::F64,
    );
    let decoded = learner.decode(&z, batch.context.as_ref()).expect("stamps");
    let found = elements(&learner.log_likelihood(&batch, &decoded).expect("a value"));
    let (x, m) = (elements(&batch.stamps), elements(&decoded));
    let (observed, sky) = (elements(&batch.observed), elements(&batch.sky));
    // A round galaxy's mean within its half-light radius is half its light over pi r^2.
    let intensity = 1.0 / (0.5 / (PI * HALF_LIGHT * HALF_LIGHT));
    for item in 0..5 {
        let mut sum = 0.0;
        for pixel in 0..SIDE * SIDE {
            let k = item * SIDE * SIDE + pixel;
            if observed[k] == 0.0 || !inside(pixel) {
                continue;
            }
            let mean = m[k] * intensity;
            let deviation = ((sky[item] * intensity).powi(2)
                + model.noise.floor.powi(2)
                + (model.noise.relative * mean).powi(2))
            .sqrt();
            let t = (x[k] * intensity - mean) / deviation;
            sum += -0.5 * t * t - deviation.ln() - 0.5 * (2.0 * PI).ln();
        }
        assert!(
            (found[item] / sum - 1.0).abs() < 1e-12,
            "{} {sum}",
            found[item]
        );
    }
}

/// A model with a texture of one strength everywhere, whose encoder gives 0 and whose decoder an even disk.
fn textured(forward: Forward) -> (FlowVae, Parameters) {
    let preset = FlowVaePreset {
        forward,
        texture: Some(TexturePreset {
            channels: vec![5],
            neighbour: NEIGHBOUR,
        }),
        ..tiny_preset()
    };
    let mut model = preset.build(&geometry(), 2).expect("a model");
    model.noise.floor = 1e-4;
    let parameters = random_parameters(&model, 1, DType::F64);
    let names: Vec<String> = parameters
        .iter(&["encoder.", "decoder.", "texture."])
        .map(|(name, _)| name.into())
        .collect();
    for name in names {
        parameters.scale(&name, 0.0).expect("a tensor");
    }
    (model, parameters)
}

const NEIGHBOUR: f64 = 0.3;

/// A pixel less the mean of its neighbours.
fn detail(of: &dyn Fn(isize, isize) -> f64, y: isize, x: isize) -> f64 {
    of(y, x) - 0.25 * (of(y - 1, x) + of(y + 1, x) + of(y, x - 1) + of(y, x + 1))
}

/// The kernel that shares white noise between neighbours.
fn kernel(y: isize, x: isize) -> f64 {
    let along = |d: isize| match d {
        0 => 1.0,
        -1 | 1 => NEIGHBOUR,
        _ => 0.0,
    };
    along(y) * along(x) / (1.0 + 2.0 * NEIGHBOUR * NEIGHBOUR)
}

#[test]
fn the_loss_of_a_texture_is_a_gaussian_of_the_detail() {
    judge_texture_loss(
        Forward::Direct,
        &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    );
    // A blur without symmetry.
    judge_texture_loss(
        Forward::Psf,
        &[0.0, 0.1, 0.05, 0.1, 0.4, 0.25, 0.0, 0.1, 0.0],
    );
}

/// With stamps behind `psf`, 3 x 3 pixels.
fn judge_texture_loss(forward: Forward, psf: &[f32]) {
    let (model, parameters) = textured(forward);
    let learner = learner(&model, &parameters);
    let mut plane = vec![0.0; SIDE * SIDE];
    place_psf(psf, 3, &mut plane, SIDE);
    let plane: Vec<f64> = plane.iter().map(|&v| f64::from(v)).collect();
    let batch = Batch {
        psf: Some(Blur {
            filter: Filter::convolution(&psf.repeat(3), 3, SIDE).expect("kernels"),
            plane: tensor(&plane.repeat(3), &[3, 1, SIDE, SIDE], DType::F64),
        }),
        ..random_batch(3, 2, 2, DType::F64)
    };
    let behind = |of: &dyn Fn(isize, isize) -> f64, y: isize, x: isize| -> f64 {
        let taps = psf.iter().enumerate();
        taps.map(|(i, &v)| f64::from(v) * of(y + 1 - i as isize / 3, x + 1 - i as isize % 3))
            .sum()
    };
    let loss = learner.texture_loss(&batch).expect("a loss");
    let found = loss.to_scalar::<f64>().expect("a number");
    let z = tensor(&vec![0.0; 3 * model.latent], &[3, model.latent], DType::F64);
    let decoded = learner.decode(&z, batch.context.as_ref()).expect("stamps");
    let (stamps, decoded) = (elements(&batch.stamps), elements(&decoded));
    let (observed, sky) = (elements(&batch.observed), elements(&batch.sky));
    let intensity = 2.0 * PI * HALF_LIGHT * HALF_LIGHT;
    // The softplus of 0.
    let strength = 2f64.ln();
    let taps = (-3..=3).flat_map(|y| (-3..=3).map(move |x| (y, x)));
    let blurred = |y: isize, x: isize| behind(&kernel, y, x);
    let share: f64 = taps.map(|(y, x)| detail(&blurred, y, x).powi(2)).sum();
    let mut sum = 0.0;
    for (item, sky) in sky.iter().enumerate() {
        let place = |y: isize, x: isize| y as usize * SIDE + x as usize;
        let at = |y: isize, x: isize| item * SIDE * SIDE + place(y, x);
        let light = |y: isize, x: isize| match (0..SIDE as isize).contains(&y) {
            true if (0..SIDE as isize).contains(&x) => decoded[at(y, x)],
            _ => 0.0,
        };
        let expected = |y: isize, x: isize| behind(&light, y, x);
        let residual = |y: isize, x: isize| (stamps[at(y, x)] - expected(y, x)) * intensity;
        let seen = |(y, x): (isize, isize)| observed[at(y, x)] > 0.0 && inside(place(y, x));
        let last = SIDE as isize - 1;
        for (y, x) in (1..last).flat_map(|y| (1..last).map(move |x| (y, x))) {
            if ![(y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                .into_iter()
                .all(seen)
            {
                continue;
            }
            let variance = share * (strength * expected(y, x) * intensity).powi(2)
                + 1.25 * ((sky * intensity).powi(2) + (0.5 * model.noise.floor).powi(2));
            let found = detail(&residual, y, x);
            sum += 0.5 * (found * found / variance + variance.ln() + (2.0 * PI).ln());
        }
    }
    // The filtered function is rounded to f32.
    let expected = sum / 3.0;
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
}

/// Stamps with a texture teach its strength.
#[test]
fn the_loss_of_a_texture_is_lowest_at_the_strength_that_was_drawn() {
    let (model, parameters) = textured(Forward::Direct);
    let learner = learner(&model, &parameters);
    let b = 96;
    let mut batch = random_batch(b, 2, 2, DType::F64);
    let z = tensor(&vec![0.0; b * model.latent], &[b, model.latent], DType::F64);
    let light = learner.decode(&z, batch.context.as_ref()).expect("stamps");
    let white = random_values(b * SIDE * SIDE, 9);
    let drawn = 0.15;
    let n = SIDE as isize;
    let factors: Vec<f64> = (0..b * SIDE * SIDE)
        .map(|i| {
            let item = i / (SIDE * SIDE) * SIDE * SIDE;
            let (y, x) = ((i - item) as isize / n, (i - item) as isize % n);
            let near = |dy: isize, dx: isize| {
                let (y, x) = ((y + dy).rem_euclid(n), (x + dx).rem_euclid(n));
                white[item + (y * n + x) as usize] * kernel(dy, dx)
            };
            let taps = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx)));
            1.0 + drawn * taps.map(|(dy, dx)| near(dy, dx)).sum::<f64>()
        })
        .collect();
    let factors = tensor(&factors, &[b, 1, SIDE, SIDE], DType::F64);
    batch.stamps = (light * factors).expect("stamps");
    batch.sky = (batch.sky * 0.01).expect("a quiet sky");
    // Away from the border window, where the light is even.
    let central = |i: usize| {
        let c = centre(SIDE);
        let (y, x) = ((i / SIDE % SIDE) as f64 - c, (i % SIDE) as f64 - c);
        f64::from(u8::from(x.hypot(y) < 0.3 * SIDE as f64))
    };
    let observed: Vec<f64> = (0..b * SIDE * SIDE).map(central).collect();
    batch.observed = tensor(&observed, &[b, 1, SIDE, SIDE], DType::F64);
    let bias = parameters
        .iter(&["texture."])
        .filter(|(name, _)| name.ends_with(".bias"))
        .last();
    let bias = bias.expect("a last layer").0.to_string();
    let loss = |strength: f64| {
        let value = tensor(&[strength.exp_m1().ln()], &[1], DType::F64);
        parameters.set(&bias, &value).expect("a bias");
        let loss = learner.texture_loss(&batch).expect("a loss");
        loss.to_scalar::<f64>().expect("a number")
    };
    let lowest = loss(drawn);
    for other in [0.8, 0.9, 1.1, 1.25] {
        assert!(loss(other * drawn) > lowest, "{other}");
    }
}

#[test]
fn unobserved_pixels_do_not_matter() {
    let model = tiny_model(0);
    let parameters = random_parameters(&model, 1, DType::F64);
    let learner = learner(&model, &parameters);
    let mut batch = random_batch(2, 0, 4, DType::F64);
    let decoded = (&batch.stamps * 0.9).expect("stamps");
    let before = elements(&learner.log_likelihood(&batch, &decoded).expect("a value"));
    let hidden = batch.observed.affine(-1.0, 1.0).expect("a mask");
    batch.stamps = (&batch.stamps + (hidden * 0.1).expect("light")).expect("stamps");
    assert_eq!(
        before,
        elements(&learner.log_likelihood(&batch, &decoded).expect("a value"))
    );
}

#[test]
fn decoded_stamps_are_light_of_sum_one_inside_the_circle() {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 2e-6)] {
        let model = tiny_model(2);
        let parameters = random_parameters(&model, 5, dtype);
        let learner =
            Learner::new(&model, &geometry(), &parameters, dtype, &Device::Cpu).expect("a learner");
        // Far out in the latent space as well.
        let z: Vec<f64> = random_values(8 * model.latent, 6)
            .iter()
            .map(|v| 6.0 * v)
            .collect();
        let z = tensor(&z, &[8, model.latent], dtype);
        let context = tensor(&random_values(16, 7), &[8, 2], dtype);
        let stamps = elements(&learner.decode(&z, Some(&context)).expect("stamps"));
        for stamp in stamps.chunks(SIDE * SIDE) {
            assert!((stamp.iter().sum::<f64>() - 1.0).abs() < tolerance);
            assert!(
                stamp
                    .iter()
                    .enumerate()
                    .all(|(k, v)| *v >= 0.0 && (inside(k) || *v == 0.0))
            );
        }
    }
}

/// Makes the encoder ignore its input: the posterior has this mean and ln variance.
fn fixed_posterior(model: &FlowVae, parameters: &Parameters, mean: &[f64], log_variance: &[f64]) {
    let last = model.encoder.layers.len() - 1;
    parameters
        .scale(&format!("encoder.{last}.weight"), 0.0)
        .expect("the last layer");
    let code = [mean, log_variance].concat();
    let code = tensor(&code, &[2 * model.latent], DType::F64);
    parameters
        .set(&format!("encoder.{last}.bias"), &code)
        .expect("the last layer");
}

#[test]
fn the_divergence_is_the_integral_of_q_ln_q_over_p() {
    let model = tiny_model(0);
    let parameters = random_parameters(&model, 1, DType::F64);
    let (mean, log_variance) = ([0.7, -1.9, 0.0, 3.1], [0.0, -2.3, 1.1, -0.4]);
    fixed_posterior(&model, &parameters, &mean, &log_variance);
    let batch = random_batch(3, 0, 2, DType::F64);
    let normals = tensor(&[0.0; 12], &[3, 4], DType::F64);
    let elbo = learner(&model, &parameters)
        .elbo(&batch, &normals, Prior::Normal)
        .expect("a value");
    let log_normal =
        |x: f64, m: f64, s: f64| -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.5 * (2.0 * PI).ln();
    let integral = |m: f64, s: f64| -> f64 {
        let (n, low, high) = (20_000, m - 12.0 * s, m + 12.0 * s);
        let step = (high - low) / n as f64;
        let term = |i: usize| {
            let x = low + (i as f64 + 0.5) * step;
            let q = log_normal(x, m, s);
            q.exp() * (q - log_normal(x, 0.0, 1.0)) * step
        };
        (0..n).map(term).sum()
    };
    let expected: f64 = mean
        .iter()
        .zip(log_variance)
        .map(|(m, v)| integral(*m, (0.5 * v).exp()))
        .sum();
    let found: f64 = elbo.divergence.to_scalar().expect("one number");
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

/// Under the flow the divergence is ln q - ln p of the draw, but that E_q ln q is exact: its own terms are Gaussian entropies.
#[test]
fn the_divergence_under_the_flow_is_that_of_the_draw() {
    let model = tiny_model(2);
    let parameters = random_parameters(&model, 1, DType::F64);
    let (mean, log_variance) = ([0.7, -1.9, 0.0, 3.1], [0.0, -2.3, 1.1, -0.4]);
    fixed_posterior(&model, &parameters, &mean, &log_variance);
    let batch = random_batch(3, 2, 2, DType::F64);
    let normals = random_values(12, 9);
    let learner = learner(&model, &parameters);
    let elbo = learner
        .elbo(&batch, &tensor(&normals, &[3, 4], DType::F64), Prior::Flow)
        .expect("a value");
    let draw = |k: usize| mean[k % 4] + (0.5 * log_variance[k % 4]).exp() * normals[k];
    let z: Vec<f64> = (0..12).map(draw).collect();
    let minus_log_p: f64 = learner
        .flow_loss(&tensor(&z, &[3, 4], DType::F64), batch.context.as_ref())
        .and_then(|loss| loss.to_scalar())
        .expect("a value");
    // ln(2 pi e v) / 2 for each dimension.
    let entropy = |v: &f64| 0.5 * (2.0 * PI).ln() + 0.5 * (1.0 + v);
    let entropy: f64 = log_variance.iter().map(entropy).sum();
    let found: f64 = elbo.divergence.to_scalar().expect("one number");
    assert!(
        (found - (minus_log_p - entropy)).abs() < 1e-9,
        "{found} {minus_log_p} {entropy}"
    );
}

/// The bound is: code, one draw of the posterior, stamp, likelihood.
#[test]
fn the_reconstruction_is_the_likelihood_of_the_decoded_draw() {
    let model = tiny_model(0);
    let parameters = random_parameters(&model, 1, DType::F64);
    // The last ln variance is above its largest value and is cut there.
    let (mean, log_variance) = ([0.7, -1.9, 0.0, 3.1], [0.0, -2.3, 1.1, 7.0]);
    fixed_posterior(&model, &parameters, &mean, &log_variance);
    let batch = random_batch(2, 0, 2, DType::F64);
    let normals = random_values(8, 9);
    let learner = learner(&model, &parameters);
    let elbo = learner
        .elbo(
            &batch,
            &tensor(&normals, &[2, 4], DType::F64),
            Prior::Normal,
        )
        .expect("a value");
    let draw = |k: usize| {
        let variance = log_variance[k % 4].min(f64::from(LOG_VARIANCE[1])).exp();
        mean[k % 4] + variance.sqrt() * normals[k]
    };
    let z: Vec<f64> = (0..8).map(draw).collect();
    let decoded = learner
        .decode(&tensor(&z, &[2, 4], DType::F64), None)
        .expect("stamps");
    let likelihood = elements(&learner.log_likelihood(&batch, &decoded).expect("a value"));
    let expected = -(likelihood[0] + likelihood[1]) / 2.0;
    let found: f64 = elbo.reconstruction.to_scalar().expect("one number");
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn posterior_draws_have_the_mean_and_deviation_asked_for() {
    let n = 20_000;
    let normals = tensor(&random_values(n, 1), &[n, 1], DType::F64);
    let mean = tensor(&vec![1.5; n], &[n, 1], DType::F64);
    let log_variance = tensor(&vec![-1.0; n], &[n, 1], DType::F64);
    let z = elements(&posterior_sample(&mean, &log_variance, &normals).expect("draws"));
    let average = z.iter().sum::<f64>() / n as f64;
    let variance = z.iter().map(|v| (v - average).powi(2)).sum::<f64>() / n as f64;
    // Four standard errors.
    assert!(
        (average - 1.5).abs() < 4.0 * (-0.5f64).exp() / (n as f64).sqrt(),
        "{average}"
    );
    assert!(
        (variance / (-1.0f64).exp() - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(),
        "{variance}"
    );
}

/// The loss is the mean of -ln p, and p integrates to 1 under every context.
#[test]
fn the_density_of_a_flow_in_two_dimensions_integrates_to_one() {
    let preset = FlowVaePreset {
        latent: 2,
        ..tiny_preset()
    };
    let model = preset.build(&geometry(), 2).expect("a consistent preset");
    let parameters = random_parameters(&model, 21, DType::F64);
    // Calm splines, which the grid resolves.
    for (i, transform) in model.flow.transforms.iter().enumerate() {
        if let Transform::Coupling { net, .. } = transform {
            let last = net.layers.len() - 1;
            parameters
                .scale(&format!("flow.{i}.net.{last}.weight"), 0.4)
                .expect("a layer");
        }
    }
    let learner = learner(&model, &parameters);
    let (reach, step) = (9.0, 0.05);
    let n = (2.0 * reach / step) as usize;
    let at = |i: usize| -reach + (i as f64 + 0.5) * step;
    for context in [[0.0, 0.0], [1.3, -0.8]] {
        let mut integral = 0.0;
        for rows in (0..n).collect::<Vec<_>>().chunks(40) {
            let points: Vec<f64> = rows
                .iter()
                .flat_map(|&i| (0..n).flat_map(move |j| [at(i), at(j)]))
                .collect();
            let b = points.len() / 2;
            let z = tensor(&points, &[b, 2], DType::F64);
            let c = tensor(&context.repeat(b), &[b, 2], DType::F64);
            let (u, log_det) =
                normalise(&model.flow, "flow", &parameters, &z, Some(&c)).expect("a value");
            let (u, log_det) = (elements(&u), elements(&log_det));
            let log_density: Vec<f64> = (0..b)
                .map(|i| {
                    let square = u[2 * i].powi(2) + u[2 * i + 1].powi(2);
                    log_det[i] - 0.5 * square - (2.0 * PI).ln()
                })
                .collect();
            integral += log_density.iter().map(|l| l.exp()).sum::<f64>() * step * step;
            let loss: f64 = learner
                .flow_loss(&z, Some(&c))
                .and_then(|l| l.to_scalar())
                .expect("a value");
            let expected = -log_density.iter().sum::<f64>() / b as f64;
            assert!((loss / expected - 1.0).abs() < 1e-12, "{loss} {expected}");
        }
        assert!((integral - 1.0).abs() < 1e-3, "{integral}");
    }
}

#[test]
fn a_standardised_flow_starts_with_latents_of_mean_zero_and_deviation_one() {
    let model = tiny_model(0);
    let parameters = random_parameters(&model, 1, DType::F64);
    let latents: Vec<f64> = random_values(400, 2)
        .iter()
        .enumerate()
        .map(|(k, v)| (k % 4) as f64 - 2.0 + v * 0.5 * (1 + k % 4) as f64)
        .collect();
    let latents = tensor(&latents, &[100, 4], DType::F64);
    // Posteriors of standard deviation 0.5 about these means.
    let log_variances = tensor(&[0.25f64.ln(); 400], &[100, 4], DType::F64);
    standardise_flow(&model, &parameters, &latents, &log_variances)
        .expect("a flow with a diagonal");
    let mut first = model.flow.clone();
    first.transforms.truncate(1);
    let (z, log_det) = normalise(&first, "flow", &parameters, &latents, None).expect("a value");
    let moments = |t: &Tensor| elements(&t.mean(0).expect("a mean"));
    let square = |t: &Tensor| moments(&t.sqr().expect("squares"));
    assert!(moments(&z).iter().all(|m| m.abs() < 1e-9));
    // What the means lack of a variance of 1 is the posteriors' own, mapped alike.
    let mean = latents.mean_keepdim(0).expect("a mean");
    let between = square(&latents.broadcast_sub(&mean).expect("differences"));
    for (found, between) in square(&z).iter().zip(between) {
        let expected = between / (between + 0.25);
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert!(elements(&log_det).iter().all(|l| l.is_finite()));
}
