//! Normalising flows in training: where their weights start, and the likelihood of a batch.

use crate::params::Parameters;
use candle_core::{Device, Result, Tensor};
use galgen_core::spec::{ElementMap, Factors, Flow, Layer, Transform};

/// Makes the flow start near the identity: the last layers of nets give 0 (nearly, where that would be a point
/// without gradient), matrices are permutations.
pub fn adjust_initial_values(flow: &Flow, prefix: &str, parameters: &Parameters) -> Result<()> {
    for (i, transform) in flow.transforms.iter().enumerate() {
        let path = format!("{prefix}.{i}");
        let factor = match transform {
            Transform::Coupling { map, .. }
            | Transform::Checkerboard { map, .. }
            | Transform::Autoregressive { map, .. } => match map {
                // Components that are the same would stay the same.
                ElementMap::LogisticMixture { .. } => 0.3,
                ElementMap::Affine { .. }
                | ElementMap::Additive
                | ElementMap::ScaleShift(_)
                | ElementMap::ShiftScale(_)
                | ElementMap::Spline(_) => 0.0,
            },
            Transform::Linear(Factors::Dense) => {
                let name = format!("{path}.weight");
                let weight = parameters.get(&name)?;
                let unit = Tensor::eye(weight.dim(0)?, weight.dtype(), &Device::Cpu)?;
                parameters.set(&name, &unit.to_device(weight.device())?)?;
                continue;
            }
            Transform::Linear(Factors::Lu { .. }) => {
                parameters.scale(&format!("{path}.lower"), 0.0)?;
                parameters.scale(&format!("{path}.upper"), 0.0)?;
                continue;
            }
            Transform::Planar => {
                parameters.scale(&format!("{path}.scale"), 0.1)?;
                continue;
            }
            // A velocity of 0 everywhere has no gradient in some of its parts.
            Transform::Continuous(_) => 0.5,
            Transform::Diagonal
            | Transform::Permutation(_)
            | Transform::LeakyRelu
            | Transform::Logit { .. }
            | Transform::Squeeze
            | Transform::Split { .. } => continue,
        };
        let net = transform
            .net()
            .expect("the transforms that are left have one");
        let weighted = |layer: &Layer| matches!(layer, Layer::Linear { .. } | Layer::Conv2d { .. });
        if let Some(last) = net.layers.iter().rposition(weighted) {
            parameters.scale(&format!("{path}.net.{last}.weight"), factor)?;
        }
    }
    Ok(())
}
