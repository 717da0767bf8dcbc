//! Whole model files with random weights: what the engine, its C interface and the programs are
//! tested with, where no trained model is needed.

use crate::tensors::{Tensors, random_weights, write_safetensors};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::condition::{Condition, Conditions};
use galgen_core::math::act::Act;
use galgen_core::models::{
    Family, FlowModel, FlowVaePreset, Forward, Likelihood, Network, PixelCnn, PixelCnnPreset,
    Posterior, TexturePreset, Vae, VaePreset,
};
use galgen_core::stamp::Geometry;
use serde_json::Value;

/// The bytes of a model file: a flow-VAE of one band with the conditions `axis_ratio` and
/// `concentration` on stamps of `side` pixels, a power of 2. The preset's full size at 64, smaller
/// networks otherwise. Its galaxies are blobs without meaning, the same for the same `seed`.
pub fn random_model(side: usize, seed: u64) -> Vec<u8> {
    from_card(&card(side), seed)
}

/// The same with the point-spread function inside the model.
pub fn random_model_with_psf(side: usize, seed: u64) -> Vec<u8> {
    let preset = FlowVaePreset {
        forward: Forward::Psf,
        ..preset(side)
    };
    from_card(&card_of(side, &preset), seed)
}

/// The same with a texture besides.
pub fn random_model_with_texture(side: usize, seed: u64) -> Vec<u8> {
    let preset = FlowVaePreset {
        forward: Forward::Psf,
        texture: Some(TexturePreset {
            channels: vec![6, 5],
            neighbour: 0.3,
        }),
        ..preset(side)
    };
    from_card(&card_of(side, &preset), seed)
}

fn from_card(card: &Card, seed: u64) -> Vec<u8> {
    let specs = card.check().expect("the preset fits the card");
    let tensors = random_weights(&specs, seed);
    write_safetensors(&tensors, &[(METADATA_KEY, &card.to_json())])
}

/// The card of [`random_model`].
pub fn card(side: usize) -> Card {
    card_of(side, &preset(side))
}

fn card_of(side: usize, preset: &FlowVaePreset) -> Card {
    let geometry = Geometry {
        side,
        bands: vec!["r".into()],
        half_light_radius: Some(side as f64 / 8.0),
    };
    let conditions = conditions();
    let model = preset
        .build(&geometry, conditions.len())
        .expect("a power of 2 as the side");
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: format!("random-{side}"),
        description: "Random weights, for tests.".into(),
        fingerprint: String::new(),
        geometry,
        psf: "intrinsic".into(),
        conditions,
        model: Family::FlowVae(model),
        training: Value::Null,
        evaluation: Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    card
}

/// The card of an autoencoder of plain images (or of galaxies, with a half-light radius) of one band.
pub fn vae_card(
    model: Vae,
    side: usize,
    half_light_radius: Option<f64>,
    conditions: Conditions,
) -> Card {
    let mut card = Card {
        name: format!("images-{side}"),
        geometry: Geometry {
            side,
            bands: vec!["grey".into()],
            half_light_radius,
        },
        psf: "none".into(),
        conditions,
        model: Family::Vae(model),
        ..card(16)
    };
    card.fingerprint = card.compute_fingerprint();
    card
}

/// The card of a flow on plain images, or on rows of numbers (side 1).
pub fn flow_card(model: FlowModel, geometry: Geometry, conditions: Conditions) -> Card {
    let mut card = Card {
        name: "flow".into(),
        geometry,
        psf: "none".into(),
        conditions,
        model: Family::Flow(model),
        ..card(16)
    };
    card.fingerprint = card.compute_fingerprint();
    card
}

/// The card of an autoregressive model of plain images of one band.
pub fn pixel_cnn_card(model: PixelCnn, side: usize, conditions: Conditions) -> Card {
    let mut card = Card {
        name: format!("pixels-{side}"),
        geometry: grey(side),
        psf: "none".into(),
        conditions,
        model: Family::PixelCnn(model),
        ..card(16)
    };
    card.fingerprint = card.compute_fingerprint();
    card
}

/// The tensors of `card` at random, calm enough that densities of few dimensions can be integrated on a grid.
pub fn calm_tensors(card: &Card, seed: u64) -> Tensors {
    let mut tensors = random_weights(&card.check().expect("a consistent card"), seed);
    for (name, (_, values)) in &mut tensors {
        let calm = if name.contains(".net.") { 0.7 } else { 0.3 };
        values
            .iter_mut()
            .for_each(|v| *v = f64::from((calm * *v) as f32));
    }
    tensors
}

/// The bytes of a PixelCNN with random weights on images of `side` pixels.
pub fn random_pixel_cnn(
    preset: PixelCnnPreset,
    side: usize,
    conditions: Conditions,
    seed: u64,
) -> Vec<u8> {
    let model = preset.build(&grey(side), conditions.width());
    let card = pixel_cnn_card(model.expect("a consistent preset"), side, conditions);
    from_card(&card, seed)
}

/// The geometry of plain images of one band.
pub fn grey(side: usize) -> Geometry {
    Geometry {
        side,
        bands: vec!["grey".into()],
        half_light_radius: None,
    }
}

/// A condition of three classes.
pub fn classes() -> Conditions {
    let names = ["E", "S0", "Sb"].map(String::from).to_vec();
    Conditions {
        list: vec![Condition::of_classes("type", "Kind.", names)],
        precision: Vec::new(),
        distance_limit: 0.0,
    }
}

/// The bytes of a model file with `tensors` and `card`.
pub fn file(card: &Card, tensors: &Tensors) -> Vec<u8> {
    write_safetensors(tensors, &[(METADATA_KEY, &card.to_json())])
}

/// The bytes of an autoencoder with random weights and three classes on images of 12 x 12 (galaxies with a
/// half-light radius of 1.5 pixels if `galaxies`), convolutional.
pub fn random_vae(
    posterior: Posterior,
    likelihood: Likelihood,
    galaxies: bool,
    seed: u64,
) -> Vec<u8> {
    let preset = VaePreset {
        latent: 6,
        likelihood,
        network: Network::Convolutional {
            channels: vec![4, 6, 8],
            activation: Act::Silu,
        },
    };
    let geometry = Geometry {
        side: 12,
        bands: vec!["grey".into()],
        half_light_radius: galaxies.then_some(1.5),
    };
    let model = preset.build(&geometry, posterior, 3);
    let model = model.expect("a side that halves twice");
    let card = vae_card(model, 12, geometry.half_light_radius, classes());
    let specs = card.check().expect("the preset fits the card");
    let mut tensors = random_weights(&specs, seed);
    if let Some((shape, values)) = tensors.get_mut("prior.cholesky") {
        let n = shape[0];
        for (i, v) in values.iter_mut().enumerate() {
            *v = match (i / n).cmp(&(i % n)) {
                core::cmp::Ordering::Less => 0.0,
                core::cmp::Ordering::Equal => f64::from((0.5 + v.abs()) as f32),
                core::cmp::Ordering::Greater => *v,
            };
        }
    }
    file(&card, &tensors)
}

fn preset(side: usize) -> FlowVaePreset {
    let full = FlowVaePreset::default();
    if side == 64 {
        return full;
    }
    let stages = (side / 4).ilog2() as usize + 1;
    FlowVaePreset {
        latent: 6,
        channels: [12, 8, 6, 4, 4].into_iter().cycle().take(stages).collect(),
        flow_blocks: 3,
        flow_hidden: 16,
        flow_bins: 5,
        ..full
    }
}

fn conditions() -> Conditions {
    let one = |name: &str, description: &str, mean, deviation, range| Condition {
        name: name.into(),
        unit: String::new(),
        description: description.into(),
        mean,
        deviation,
        range,
        classes: Vec::new(),
    };
    Conditions {
        list: vec![
            one("axis_ratio", "Minor over major axis.", 0.6, 0.2, [0.2, 1.0]),
            one("concentration", "5 log10(r80 / r20).", 3.1, 0.5, [2.0, 4.5]),
        ],
        precision: vec![1.0, 0.0, 0.0, 1.0],
        distance_limit: 13.8, // 99.9 % of two independent Gaussians
    }
}
