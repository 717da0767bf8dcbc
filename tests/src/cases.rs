//! The table of cases: together the nets use every [`Layer`] and every [`Act`], and the flows every
//! transform and element map, on odd sizes, strides and paddings. All engines are judged
//! on all of them.

mod flows;
mod models;
mod nets;
mod random;

pub use flows::{continuous_flows, estimated_flows, flows};
pub use models::models;
pub use nets::nets;
pub use random::random_net;

use crate::tensors::{Tensors, random_values, random_weights};
use galgen_core::math::act::Act;
use galgen_core::spec::{CausalMask, Flow, Layer, Net, Padding, Transform};

/// A net, with random weights and inputs that its name and `seed` fix.
pub struct NetCase {
    /// What the case is about.
    pub name: &'static str,
    /// The net; its tensors stand under the prefix `net`.
    pub net: Net,
    /// Seed of weights and inputs.
    pub seed: u64,
}

/// A flow, with random weights and points.
#[derive(Clone)]
pub struct FlowCase {
    /// What the case is about.
    pub name: &'static str,
    /// The flow; its tensors stand under the prefix `flow`.
    pub flow: Flow,
    /// Seed of weights and points.
    pub seed: u64,
}

impl NetCase {
    /// Random weights.
    pub fn tensors(&self) -> Tensors {
        let specs = self.net.tensors("net");
        random_weights(
            &specs.unwrap_or_else(|e| panic!("{}: {e}", self.name)),
            self.seed,
        )
    }

    /// The `i`-th random (input, context).
    pub fn item(&self, i: u64) -> (Vec<f64>, Vec<f64>) {
        let seed = 1000 * self.seed + 2 * i;
        (
            random_values(self.net.input.len(), seed),
            random_values(self.net.context, seed + 1),
        )
    }
}

impl FlowCase {
    /// Random weights.
    pub fn tensors(&self) -> Tensors {
        let specs = self.flow.tensors("flow");
        random_weights(
            &specs.unwrap_or_else(|e| panic!("{}: {e}", self.name)),
            self.seed,
        )
    }

    /// The `i`-th random (point, context). Deviation 2, so that some elements fall in the tails; within (0, 1) where a
    /// flow begins with a logit.
    pub fn item(&self, i: u64) -> (Vec<f64>, Vec<f64>) {
        let seed = 1000 * self.seed + 2 * i;
        let domain = |v: &f64| match self.flow.transforms.first() {
            Some(Transform::Logit { .. }) => f64::from(crate::scalar::logistic(2.0 * v) as f32),
            _ => 2.0 * v,
        };
        let point = random_values(self.flow.dim(), seed);
        let point = point.iter().map(domain).collect();
        (point, random_values(self.flow.context, seed + 1))
    }
}

/// A `kernel` convolution with padding \[top, bottom, left, right\].
pub fn conv(
    outputs: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 4],
    mask: Option<CausalMask>,
) -> Layer {
    Layer::Conv2d {
        outputs,
        kernel,
        stride,
        padding: sides(padding),
        mask,
    }
}

/// A transposed convolution.
pub fn transposed(outputs: usize, kernel: [usize; 2], stride: usize, padding: [usize; 4]) -> Layer {
    Layer::ConvTranspose2d {
        outputs,
        kernel,
        stride,
        padding: sides(padding),
    }
}

/// A convolution of each channel by itself.
pub fn depthwise(kernel: [usize; 2], stride: usize, padding: [usize; 4]) -> Layer {
    Layer::DepthwiseConv2d {
        kernel,
        stride,
        padding: sides(padding),
    }
}

fn sides([top, bottom, left, right]: [usize; 4]) -> Padding {
    Padding {
        top,
        bottom,
        left,
        right,
    }
}

fn act(act: Act) -> Layer {
    Layer::Activation(act)
}
