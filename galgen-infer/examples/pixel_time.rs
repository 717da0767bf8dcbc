//! Time of one image of an autoregressive model on one thread: drawn with caches, and scored with one evaluation of the
//! net, of which a sampler without caches needs one for every pixel:
//! `cargo run --release -p galgen-infer --example pixel_time [BODY [SIDE CHANNELS BLOCKS]]`, by default
//! `gated 64 64 5`; BODY is masked, gated or plus-plus. Weights are random, one Gaussian is a pixel.
//!
//! Fastest calls are reported, because other programs may share the machine. The drawn image is compared bit for bit with
//! the naive sampler's at its last pixels.

use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::condition::Conditions;
use galgen_core::models::{Body, Family, Head, PixelCnnPreset};
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::Role;
use galgen_core::stamp::Geometry;
use galgen_infer::{Model, Pixels, Session};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::error::Error;
use std::time::Instant;

/// Pixels that the naive sampler draws for the comparison.
const COMPARED: usize = 3;

/// Seconds of the fastest of `times` calls.
fn fastest(times: usize, mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(time).fold(f64::INFINITY, f64::min)
}

/// The bytes of a model file with random weights.
fn random_model(preset: PixelCnnPreset, side: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let geometry = Geometry {
        side,
        bands: vec!["grey".into()],
        half_light_radius: None,
    };
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: "random".into(),
        description: String::new(),
        fingerprint: String::new(),
        psf: "none".into(),
        conditions: Conditions::default(),
        model: Family::PixelCnn(preset.build(&geometry, 0)?),
        geometry,
        training: Value::Null,
        evaluation: Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    let mut rng = Philox::new(1, 0, Stream::Training);
    let specs = card.check()?;
    let values = specs.iter().map(|spec| {
        let deviation = match spec.role {
            Role::Weight { fan_in } => 1.0 / (fan_in as f64).sqrt(),
            Role::Bias | Role::Gain => 0.2,
        };
        let count: usize = spec.shape.iter().product();
        let numbers = (0..count).map(|_| ((deviation * rng.normal()) as f32).to_le_bytes());
        numbers.flatten().collect::<Vec<u8>>()
    });
    let values: Vec<Vec<u8>> = values.collect();
    let views = specs.iter().zip(&values).map(|(spec, values)| {
        let view = TensorView::new(Dtype::F32, spec.shape.clone(), values)?;
        Ok((spec.name.clone(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
    let metadata = [(METADATA_KEY.to_string(), card.to_json())];
    Ok(safetensors::serialize(
        views,
        Some(metadata.into_iter().collect()),
    )?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let body = match arguments.first().map_or("gated", String::as_str) {
        "masked" => Body::Masked,
        "gated" => Body::Gated,
        "plus-plus" => Body::PlusPlus,
        other => {
            return Err(format!("BODY is {other}, expected masked, gated or plus-plus").into());
        }
    };
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |n| n.parse());
    let (side, channels, blocks) = (number(1, 64)?, number(2, 64)?, number(3, 5)?);
    let preset = PixelCnnPreset {
        body,
        channels,
        blocks,
        head: Head::Gaussian,
    };
    let model = Model::from_bytes(&random_model(preset, side)?)?;
    let mut session = Session::new(model.clone());
    let n = model.stamp_len();
    let (mut image, mut parameters) = (vec![0.0; n], vec![0.0; 2 * n]);

    let drawn = fastest(5, || {
        let result = session.sample_image(1, 2, &[], Pixels::Drawn, &mut image);
        result.expect("random weights draw numbers");
    });
    let scored = fastest(5, || {
        let result = session.log_likelihood(&image, &[], None, 1, 0, 0);
        std::hint::black_box(result.expect("a drawn image"));
    });
    let mut naive = image.clone();
    naive[n - COMPARED..].fill(0.0);
    let mut rng = Philox::new(1, 2, Stream::Pixel);
    for i in n - COMPARED..n {
        session.pixel_parameters(&naive, &[], true, &mut parameters)?;
        let of_pixel = [parameters[i], parameters[n + i]].map(f64::from);
        rng.skip_to(2 * i as u32);
        naive[i] = Head::Gaussian.draw(&of_pixel, &mut rng);
    }
    assert_eq!(naive, image, "caches change what is drawn");
    println!(
        "{body:?}, {side} x {side}, {channels} channels, {blocks} blocks, {}: drawn in {:.1} ms, one evaluation {:.1} ms, \
         naive {n} evaluations = {:.1} s, {:.0} times as long",
        model.simd().name(),
        1e3 * drawn,
        1e3 * scored,
        scored * n as f64,
        scored * n as f64 / drawn
    );
    Ok(())
}
