//! A model with the point-spread function inside: what the engine makes of the function of a scored stamp.

use galgen_core::models::Family;
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::window;
use galgen_infer::{DrawError, Model, Session};
use galgen_tests::model::{random_model, random_model_with_psf, random_model_with_texture};
use std::sync::Arc;

const SIDE: usize = 16;
const CONDITIONS: [f32; 2] = [0.5, 3.0];
const SKY: f64 = 2e-4;

fn session() -> Session {
    of(&random_model_with_psf(SIDE, 4))
}

fn of(bytes: &[u8]) -> Session {
    Session::new(Model::from_bytes(bytes).expect("a good file"))
}

/// Positive numbers without symmetry.
fn light(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Philox::new(seed, 0, Stream::Noise);
    (0..count).map(|_| (0.1 + rng.uniform()) as f32).collect()
}

fn bound(session: &mut Session, stamp: &[f32], seed: u64) -> f64 {
    session
        .log_likelihood(stamp, &CONDITIONS, Some(SKY), 1, seed, 7)
        .expect("a bound")
}

fn encoded(session: &mut Session, stamp: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let latent = session.model().latent();
    let (mut mean, mut log_variance) = (vec![0.0; latent], vec![0.0; latent]);
    session
        .encode(stamp, &CONDITIONS, &mut mean, &mut log_variance)
        .expect("a code");
    (mean, log_variance)
}

/// One draw of the bound, put together from codes, stamps and densities, with the convolution as a sum.
#[test]
fn the_bound_compares_the_stamp_with_the_blurred_decoder() {
    compare(session());
    compare(of(&random_model_with_texture(SIDE, 4)));
}

fn compare(mut session: Session) {
    let model: Arc<Model> = session.model().clone();
    let config = match &model.card().model {
        Family::FlowVae(config) => config.clone(),
        Family::Vae(_) | Family::Flow(_) | Family::Made(_) | Family::PixelCnn(_) => {
            unreachable!("a flow-VAE")
        }
    };
    let stamp = light(SIDE * SIDE, 1);
    let sum: f64 = stamp.iter().map(|&v| f64::from(v)).sum();
    for p in [1, 3, 7, 15] {
        let psf = light(p * p, 2 + p as u64);
        let psf_sum: f64 = psf.iter().map(|&v| f64::from(v)).sum();
        session.set_psf(&psf, p).expect("a good function");
        let found = bound(&mut session, &stamp, 3);

        let (mean, log_variance) = encoded(&mut session, &stamp);
        let mut rng = Philox::new(3, 7, Stream::Posterior);
        let mut log_posterior = 0.0;
        let z: Vec<f32> = mean
            .iter()
            .zip(&log_variance)
            .map(|(&m, &v)| {
                let (v, e) = (f64::from(v), rng.normal());
                log_posterior -= 0.5 * (e * e + v + (2.0 * std::f64::consts::PI).ln());
                (f64::from(m) + (0.5 * v).exp() * e) as f32
            })
            .collect();
        let z64: Vec<f64> = z.iter().map(|&v| f64::from(v)).collect();
        let log_prior = session
            .log_prob_latent(&z64, &CONDITIONS)
            .expect("a density");
        let mut decoded = vec![0.0; SIDE * SIDE];
        session
            .decode(&z, &CONDITIONS, &mut decoded)
            .expect("a stamp");
        let mut strength = vec![0.0; SIDE * SIDE];
        session
            .texture_strength(&z, &CONDITIONS, &mut strength)
            .expect("a map");
        let textured = config.texture.as_ref();
        assert_eq!(strength.iter().any(|&s| s > 0.05), textured.is_some());
        let share = textured.map_or(0.0, |t| {
            let unit: Vec<f32> = psf
                .iter()
                .map(|&v| (f64::from(v) / psf_sum) as f32)
                .collect();
            t.share(&unit, p)
        });
        let mut log_pixels = 0.0;
        for (k, &w) in window(SIDE).iter().enumerate().filter(|(_, w)| **w > 0.0) {
            assert!(w > 0.0);
            let (y, x) = (k / SIDE, k % SIDE);
            let (mut light, mut rough) = (0.0, 0.0);
            for (i, &value) in psf.iter().enumerate() {
                let (from_y, from_x) = (y + p / 2, x + p / 2);
                let (dy, dx) = (i / p, i % p);
                if (dy..SIDE + dy).contains(&from_y) && (dx..SIDE + dx).contains(&from_x) {
                    let from = (from_y - dy) * SIDE + from_x - dx;
                    let pixel = f64::from(decoded[from]) * f64::from(value) / psf_sum;
                    light += pixel;
                    rough += pixel * f64::from(strength[from]);
                }
            }
            let variance = config
                .noise
                .variance(light * config.intensity, SKY / sum * config.intensity)
                + share * (rough * config.intensity).powi(2);
            let residual = (f64::from(stamp[k]) / sum - light) * config.intensity;
            log_pixels -= 0.5
                * (residual * residual / variance
                    + variance.ln()
                    + (2.0 * std::f64::consts::PI).ln());
        }
        let expected = log_pixels + log_prior - log_posterior;
        // f32 stamps on both sides.
        assert!(
            (found / expected - 1.0).abs() < 1e-5,
            "{found} {expected}, side {p}"
        );
    }
}

#[test]
fn the_encoder_sees_the_function_and_drawing_does_not() {
    let mut session = session();
    let stamp = light(SIDE * SIDE, 1);
    let object = galgen_core::object::Object::new(1, &CONDITIONS);
    let draw = |session: &mut Session| {
        let mut out = vec![0.0; SIDE * SIDE];
        session
            .sample_galaxy_frame(1, &object, &mut out)
            .expect("a stamp");
        out
    };
    let (fresh, drawn) = (encoded(&mut session, &stamp), draw(&mut session));
    session.set_psf(&light(25, 3), 5).expect("a good function");
    assert_ne!(encoded(&mut session, &stamp), fresh);
    assert_eq!(draw(&mut session), drawn);
    // Only its shape matters.
    let blurred = encoded(&mut session, &stamp);
    let scaled: Vec<f32> = light(25, 3).iter().map(|v| 4.0 * v).collect();
    session.set_psf(&scaled, 5).expect("a good function");
    assert_eq!(encoded(&mut session, &stamp), blurred);
    // A single pixel is none.
    session.set_psf(&[1.0], 1).expect("none");
    assert_eq!(encoded(&mut session, &stamp), fresh);
}

#[test]
fn bad_functions_are_refused_and_change_nothing() {
    let mut session = session();
    let stamp = light(SIDE * SIDE, 1);
    session.set_psf(&light(9, 3), 3).expect("a good function");
    let before = bound(&mut session, &stamp, 1);
    let refused = |session: &mut Session, psf: &[f32], side: usize, text: &str| {
        let error: DrawError = session.set_psf(psf, side).expect_err("a refusal");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(bound(session, &stamp, 1), before);
    };
    refused(
        &mut session,
        &light(16, 1),
        4,
        "is 4, expected an odd number",
    );
    refused(
        &mut session,
        &light(17 * 17, 1),
        17,
        "at most the stamp's side",
    );
    refused(
        &mut session,
        &[0.0; 9],
        3,
        "sum of the point-spread function is 0",
    );
    refused(&mut session, &[-1.0], 1, "expected a positive number");
    let mut holed = light(9, 1);
    holed[4] = f32::NAN;
    refused(&mut session, &holed, 3, "point-spread function is NaN");
    // A model of observed stamps has no place for one.
    let mut direct = Session::new(Model::from_bytes(&random_model(SIDE, 4)).expect("a good file"));
    let error = direct.set_psf(&light(9, 3), 3).expect_err("a refusal");
    assert!(error.to_string().contains("blur inside"), "{error}");
    direct.set_psf(&[1.0], 1).expect("none");
}
