//! The nets of the families' presets, in their real sizes.

use super::NetCase;
use galgen_core::models::{FlowVae, FlowVaePreset};
use galgen_core::spec::{Flow, Layer, Transform};
use galgen_core::stamp::Geometry;

fn flow_vae(preset: FlowVaePreset) -> FlowVae {
    let side = 4 << (preset.channels.len() - 1);
    let geometry = Geometry {
        side,
        bands: vec!["r".into()],
        half_light_radius: Some(8.0),
    };
    preset
        .build(&geometry, 2)
        .expect("the preset is consistent")
}

/// Encoder and decoder of the default flow-VAE with two conditions.
pub fn models() -> Vec<NetCase> {
    let model = flow_vae(FlowVaePreset::default());
    vec![
        NetCase {
            name: "flow-VAE encoder",
            net: model.encoder,
            seed: 201,
        },
        NetCase {
            name: "flow-VAE decoder",
            net: model.decoder,
            seed: 202,
        },
    ]
}

/// The flow of the flow-VAE with fewer blocks and calmer couplings: of the eight, with random weights,
/// the inverse would magnify the rounding of f32 beyond measure.
pub(super) fn flow_vae_flow() -> Flow {
    let mut flow = flow_vae(FlowVaePreset {
        flow_blocks: 3,
        ..FlowVaePreset::default()
    })
    .flow;
    for transform in &mut flow.transforms {
        if let Transform::Coupling { net, .. } = transform {
            net.layers.push(Layer::Scale(0.3));
        }
    }
    flow
}
