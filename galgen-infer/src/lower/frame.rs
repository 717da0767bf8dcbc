//! Looking ahead in a sequence: what the layers after a value want of it.

use super::convolution::{folds, runs_in_planes};
use crate::kernels::elementary::Pointwise;
use alloc::vec::Vec;
use galgen_core::spec::{Layer, Padding, Shape};

/// No zeros around a map.
pub(super) const NO_FRAME: Padding = Padding {
    top: 0,
    bottom: 0,
    left: 0,
    right: 0,
};

/// The functions that `layers` begin with.
pub(super) fn functions(layers: &[Layer]) -> Vec<Pointwise> {
    layers
        .iter()
        .map_while(|layer| match layer {
            Layer::Activation(act) => Some(Pointwise::Act(*act)),
            Layer::Scale(factor) => Some(Pointwise::Scale(*factor)),
            Layer::Linear { .. }
            | Layer::Conv2d { .. }
            | Layer::UpsampleNearest { .. }
            | Layer::GroupNorm { .. }
            | Layer::Gate
            | Layer::Reshape(_)
            | Layer::AppendContext
            | Layer::Slice { .. }
            | Layer::Sum(_)
            | Layer::Concat(_) => None,
        })
        .collect()
}

/// The zeros that the first convolution of `layers` on a value of `shape` wants around it; `wanted`
/// if the value is what comes out.
pub(super) fn frame_wanted(layers: &[Layer], shape: Shape, wanted: Padding) -> Padding {
    let Some(layer) = layers.first() else {
        return wanted;
    };
    let rest = &layers[1..];
    match layer {
        Layer::Conv2d { padding, .. } => {
            if runs_in_planes(layer, shape) {
                NO_FRAME
            } else {
                *padding
            }
        }
        Layer::UpsampleNearest { factor } => match rest.get(functions(rest).len()) {
            Some(conv) if folds(*factor, conv) => Padding::all(1),
            _ => NO_FRAME,
        },
        Layer::Activation(_) | Layer::Scale(_) | Layer::GroupNorm { .. } => {
            frame_wanted(rest, shape, wanted)
        }
        Layer::Slice { len, .. } => frame_wanted(rest, shape.with_features(*len), wanted),
        Layer::Sum(branches) | Layer::Concat(branches) => {
            let wants = branches.iter().map(|b| frame_wanted(b, shape, NO_FRAME));
            wants.fold(NO_FRAME, |a, b| Padding {
                top: a.top.max(b.top),
                bottom: a.bottom.max(b.bottom),
                left: a.left.max(b.left),
                right: a.right.max(b.right),
            })
        }
        Layer::Linear { .. } | Layer::Gate | Layer::Reshape(_) | Layer::AppendContext => NO_FRAME,
    }
}

/// Whether a frame has at least the zeros of another.
pub(super) fn covers(frame: Padding, other: Padding) -> bool {
    frame.top >= other.top
        && frame.bottom >= other.bottom
        && frame.left >= other.left
        && frame.right >= other.right
}
