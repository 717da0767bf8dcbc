//! A complete model file with random weights: the right form without any training, for tests and
//! for measurements of speed, which do not depend on the values.

use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::condition::{Condition, Conditions};
use galgen_core::math::act::Act;
use galgen_core::models::{
    Body, Family, FlowNetwork, FlowPreset, FlowVaePreset, Head, Likelihood, Network,
    PixelCnnPreset, Posterior, VaePreset,
};
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Base, Role, TensorSpec};
use galgen_core::stamp::Geometry;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};

/// Bytes of a flow-VAE of the sizes of `preset`, stored in f16, with the conditions axis_ratio and
/// concentration.
pub fn random_model(preset: &FlowVaePreset, seed: u64) -> Vec<u8> {
    let (card, tensors) = card(preset);
    let mut rng = Philox::new(seed, 0, Stream::Training);
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|t| {
            let bytes = values(&t, &mut rng);
            (t.name, t.shape, bytes)
        })
        .collect();
    let views = stored.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F16, shape.clone(), bytes).expect("as many as the shape");
        (name.as_str(), view)
    });
    let metadata = [(METADATA_KEY.to_string(), card.to_json())];
    serialize(views, Some(metadata.into_iter().collect())).expect("a valid file")
}

/// Bytes of an autoencoder of images of 12 x 12 in the classes E, S0, Sb.
pub fn random_vae(posterior: Posterior, likelihood: Likelihood) -> Vec<u8> {
    let preset = VaePreset {
        latent: 6,
        likelihood,
        network: Network::Convolutional {
            channels: vec![4, 6, 8],
            activation: Act::Silu,
        },
    };
    let model = preset.build(&images(), posterior, 3);
    random_images(Family::Vae(model.expect("a good preset")))
}

/// Bytes of an autoregressive model of the same images in 9 levels.
pub fn random_pixel_cnn() -> Vec<u8> {
    let preset = PixelCnnPreset {
        body: Body::Gated,
        channels: 5,
        blocks: 2,
        head: Head::Categorical { levels: 9 },
    };
    let model = preset.build(&images(), 3);
    random_images(Family::PixelCnn(model.expect("a good preset")))
}

fn images() -> Geometry {
    Geometry {
        side: 12,
        bands: vec!["grey".into()],
        half_light_radius: None,
    }
}

fn random_images(model: Family) -> Vec<u8> {
    let names = ["E", "S0", "Sb"].map(String::from).to_vec();
    let mut card = Card {
        conditions: Conditions {
            list: vec![Condition::of_classes("type", "kind", names)],
            ..Conditions::default()
        },
        model,
        geometry: images(),
        ..card(&FlowVaePreset {
            latent: 2,
            channels: vec![2, 2, 2],
            flow_blocks: 1,
            ..FlowVaePreset::default()
        })
        .0
    };
    card.fingerprint = card.compute_fingerprint();
    let tensors = card.check().expect("a consistent card");
    let mut rng = Philox::new(4, 0, Stream::Training);
    let mut stored: Vec<_> = tensors
        .into_iter()
        .map(|t| (values(&t, &mut rng), t))
        .collect();
    if let Some((bytes, _)) = stored.iter_mut().find(|(_, t)| t.name == "prior.cholesky") {
        let unit = |i| half::f16::from_f32(f32::from(u8::from(i / 6 == i % 6))).to_le_bytes();
        *bytes = (0..36).flat_map(unit).collect();
    }
    let views = stored.iter().map(|(bytes, t)| {
        let view = TensorView::new(Dtype::F16, t.shape.clone(), bytes);
        (t.name.as_str(), view.expect("as many as the shape"))
    });
    let metadata = [(METADATA_KEY.to_string(), card.to_json())];
    serialize(views, Some(metadata.into_iter().collect())).expect("a valid file")
}

/// Bytes of a flow of the columns x and y, stored in f32.
pub fn random_flow() -> Vec<u8> {
    let geometry = Geometry::columns(["x", "y"].map(String::from).to_vec());
    let preset = FlowPreset {
        levels: None,
        logit: None,
        base: Base::Normal,
        network: FlowNetwork::Planar { blocks: 2 },
    };
    let mut card = Card {
        model: Family::Flow(preset.build(&geometry, 0).expect("a good preset")),
        geometry,
        conditions: Conditions::default(),
        ..card(&FlowVaePreset {
            latent: 2,
            channels: vec![2, 2, 2],
            flow_blocks: 1,
            ..FlowVaePreset::default()
        })
        .0
    };
    card.fingerprint = card.compute_fingerprint();
    let mut rng = Philox::new(6, 0, Stream::Training);
    let tensors = card.check().expect("a consistent card");
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|t| {
            let n: usize = t.shape.iter().product();
            let values = (0..n).flat_map(|_| (0.3 * rng.normal() as f32).to_le_bytes());
            (t.name, t.shape, values.collect())
        })
        .collect();
    let views = stored.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many as the shape");
        (name.as_str(), view)
    });
    let metadata = [(METADATA_KEY.to_string(), card.to_json())];
    serialize(views, Some(metadata.into_iter().collect())).expect("a valid file")
}

/// Values that keep activations of order one.
fn values(tensor: &TensorSpec, rng: &mut Philox) -> Vec<u8> {
    let (mean, sigma) = match tensor.role {
        Role::Weight { fan_in } => (0.0, 1.0 / (fan_in as f64).sqrt()),
        Role::Bias => (0.0, 0.1),
        Role::Gain => (1.0, 0.1),
    };
    let n: usize = tensor.shape.iter().product();
    (0..n)
        .flat_map(|_| half::f16::from_f64(mean + sigma * rng.normal()).to_le_bytes())
        .collect()
}

fn card(preset: &FlowVaePreset) -> (Card, Vec<TensorSpec>) {
    let side = 4 << (preset.channels.len() - 1);
    let geometry = Geometry {
        side,
        bands: vec!["r".into()],
        half_light_radius: Some(side as f64 / 8.0),
    };
    let condition = |name: &str, mean, deviation, range, description: &str| Condition {
        name: name.into(),
        unit: String::new(),
        description: description.into(),
        mean,
        deviation,
        range,
        classes: Vec::new(),
    };
    let conditions = Conditions {
        list: vec![
            condition(
                "axis_ratio",
                0.55,
                0.2,
                [0.2, 0.95],
                "minor over major axis",
            ),
            condition(
                "concentration",
                2.8,
                0.35,
                [2.1, 3.9],
                "C = 5 log10(r80 / r20)",
            ),
        ],
        precision: vec![1.0, 0.0, 0.0, 1.0],
        distance_limit: 13.8,
    };
    let model = preset
        .build(&geometry, conditions.len())
        .expect("a preset that fits its side");
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: "random".into(),
        description: "Random weights, for tests: what it draws are no galaxies.".into(),
        fingerprint: String::new(),
        geometry,
        psf: "intrinsic".into(),
        conditions,
        model: Family::FlowVae(model),
        training: serde_json::json!({ "data": "none", "seed": 1 }),
        evaluation: serde_json::Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    let tensors = card.check().expect("a consistent card");
    (card, tensors)
}
