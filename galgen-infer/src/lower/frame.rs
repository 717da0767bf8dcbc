//! Looking ahead in a sequence: what the layers after a value want of it.

use super::convolution::{folds, runs_in_planes};
use super::transposed::Transposed;
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

/// Of functions after a layer, those that do not depend on the feature: what a kernel whose vectors may start anywhere
/// can do.
pub(super) fn of_any_feature(mut functions: Vec<Pointwise>) -> Vec<Pointwise> {
    let bipolar = |f: &Pointwise| *f == Pointwise::BipolarElu;
    functions.truncate(
        functions
            .iter()
            .position(bipolar)
            .unwrap_or(functions.len()),
    );
    functions
}

/// Functions that a kernel applies in its store at most: more of them are work of its own.
const MOST_FUNCTIONS: usize = 16;

/// The functions that `layers` begin with, not too many.
pub(crate) fn functions(layers: &[Layer]) -> Vec<Pointwise> {
    layers
        .iter()
        .map_while(|layer| match layer {
            Layer::Activation(act) => Some(Pointwise::Act(*act)),
            Layer::Scale(factor) => Some(Pointwise::Scale(*factor)),
            Layer::BipolarElu => Some(Pointwise::BipolarElu),
            Layer::Linear { .. }
            | Layer::Conv2d { .. }
            | Layer::ConvTranspose2d { .. }
            | Layer::DepthwiseConv2d { .. }
            | Layer::UpsampleNearest { .. }
            | Layer::GroupNorm { .. }
            | Layer::LayerNorm { .. }
            | Layer::Gate
            | Layer::ConcatElu
            | Layer::Reshape(_)
            | Layer::AppendContext
            | Layer::AppendOnes
            | Layer::Shift { .. }
            | Layer::Slice { .. }
            | Layer::Sum(_)
            | Layer::Concat(_) => None,
        })
        .take(MOST_FUNCTIONS)
        .collect()
}

/// The zeros that the first convolution of `layers` on a value of `shape` wants around it; `wanted`
/// if the value is what comes out.
pub(super) fn frame_wanted(mut layers: &[Layer], mut shape: Shape, wanted: Padding) -> Padding {
    // Layers that keep the frame are passed over in a loop: a file may have thousands.
    loop {
        match layers.first() {
            Some(
                Layer::Activation(_)
                | Layer::Scale(_)
                | Layer::BipolarElu
                | Layer::GroupNorm { .. }
                | Layer::LayerNorm { .. },
            ) => {}
            Some(Layer::Slice { len, .. }) => shape = shape.with_features(*len),
            _ => break,
        }
        layers = &layers[1..];
    }
    let Some((layer, rest)) = layers.split_first() else {
        return wanted;
    };
    match layer {
        Layer::Conv2d { padding, .. } => {
            if runs_in_planes(layer, shape) {
                NO_FRAME
            } else {
                *padding
            }
        }
        Layer::DepthwiseConv2d { padding, .. } => *padding,
        Layer::ConvTranspose2d {
            kernel,
            stride,
            padding,
            ..
        } => Transposed {
            kernel: *kernel,
            stride: *stride,
            padding: *padding,
        }
        .frame(shape),
        Layer::UpsampleNearest { factor } => match rest.get(functions(rest).len()) {
            Some(conv) if folds(*factor, conv) => Padding::all(1),
            _ => NO_FRAME,
        },
        Layer::Sum(branches) | Layer::Concat(branches) => {
            let wants = branches.iter().map(|b| frame_wanted(b, shape, NO_FRAME));
            wants.fold(NO_FRAME, |a, b| Padding {
                top: a.top.max(b.top),
                bottom: a.bottom.max(b.bottom),
                left: a.left.max(b.left),
                right: a.right.max(b.right),
            })
        }
        Layer::Linear { .. }
        | Layer::Gate
        | Layer::ConcatElu
        | Layer::Reshape(_)
        | Layer::AppendContext
        | Layer::AppendOnes
        | Layer::Shift { .. }
        // Passed over above.
        | Layer::Activation(_)
        | Layer::Scale(_)
        | Layer::BipolarElu
        | Layer::GroupNorm { .. }
        | Layer::LayerNorm { .. }
        | Layer::Slice { .. } => NO_FRAME,
    }
}

/// Whether a frame has at least the zeros of another.
pub(super) fn covers(frame: Padding, other: Padding) -> bool {
    frame.top >= other.top
        && frame.bottom >= other.bottom
        && frame.left >= other.left
        && frame.right >= other.right
}
