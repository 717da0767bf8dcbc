//! Whole model files with random weights: what the engine, its C interface and the programs are
//! tested with, where no trained model is needed.

use crate::tensors::{random_weights, write_safetensors};
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::condition::{Condition, Conditions};
use galgen_core::models::{Family, FlowVaePreset, Forward};
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
        half_light_radius: side as f64 / 8.0,
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
