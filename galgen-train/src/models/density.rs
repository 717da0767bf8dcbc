//! Exact densities in training, whatever their family: flows and masked networks.

use super::flow::adjust_initial_values;
use crate::lower::{Follow, Regularisers, follow, forward, initialise, log_prob};
use crate::ops;
use crate::params::Parameters;
use candle_core::{Result, Tensor};
use galgen_core::condition::Conditions;
use galgen_core::models::{Family, FlowModel, MadeModel};
use galgen_core::rng::Philox;
use galgen_core::spec::{Layer, Net, SpecError, TensorSpec, Transform};
use galgen_core::stamp::Geometry;

/// A density of images or columns.
#[derive(Clone, Debug, PartialEq)]
pub enum Density {
    /// A normalising flow.
    Flow(FlowModel),
    /// A masked network of binary elements.
    Made(MadeModel),
}

impl Density {
    /// As a card has it.
    pub fn family(&self) -> Family {
        match self {
            Density::Flow(flow) => Family::Flow(flow.clone()),
            Density::Made(made) => Family::Made(made.clone()),
        }
    }

    /// Its tensors.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> std::result::Result<Vec<TensorSpec>, SpecError> {
        match self {
            Density::Flow(flow) => flow.tensors(geometry, conditions),
            Density::Made(made) => made.tensors(geometry, conditions),
        }
    }

    /// Beginnings of the names of its tensors.
    pub fn prefixes(&self) -> &'static [&'static str] {
        match self {
            Density::Flow(_) => &["flow."],
            Density::Made(_) => &["net."],
        }
    }

    /// Grey levels of a pixel, if it has some.
    pub fn levels(&self) -> Option<u32> {
        match self {
            Density::Flow(flow) => flow.levels,
            Density::Made(_) => None,
        }
    }

    /// Bits a dimension of ln p, see [`FlowModel::bits`].
    pub fn bits(&self, log_prob: f64, dimensions: usize) -> f64 {
        match self {
            Density::Flow(flow) => flow.bits(log_prob, dimensions),
            Density::Made(_) => -log_prob / dimensions as f64 / std::f64::consts::LN_2,
        }
    }

    /// Whether an element is a value that the density knows.
    pub fn knows(&self, element: f32) -> bool {
        match self {
            Density::Flow(flow) => flow.knows(element),
            Density::Made(_) => element == 0.0 || element == 1.0,
        }
    }

    /// What the networks see of an element: grey levels get noise.
    pub fn point(&self, element: f32, rng: &mut Philox) -> f32 {
        match self {
            Density::Flow(flow) => flow.point(element, Some(rng)) as f32,
            Density::Made(_) => element,
        }
    }

    /// Whether the engine follows a velocity field in other steps than the training.
    pub fn is_continuous(&self) -> bool {
        let continuous = |t: &Transform| matches!(t, Transform::Continuous(_));
        match self {
            Density::Flow(flow) => flow.flow.transforms.iter().any(continuous),
            Density::Made(_) => false,
        }
    }

    /// Brings fresh weights to where training starts, given points of the data.
    pub fn prepare(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<()> {
        match self {
            Density::Flow(model) => {
                adjust_initial_values(&model.flow, "flow", parameters)?;
                initialise(&model.flow, "flow", parameters, x, context)
            }
            Density::Made(model) => start_at_frequencies(&model.net, parameters, x),
        }
    }

    /// ln p of each item `[b]` of points `[b, dim]`, and what continuous transforms are asked for beside it.
    pub fn log_prob(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        context: Option<&Tensor>,
        asked: Follow,
    ) -> Result<(Tensor, Option<Regularisers>)> {
        match self {
            Density::Flow(model) => {
                let end = follow(&model.flow, "flow", parameters, x, context, asked)?;
                Ok((log_prob(model.flow.base, &end)?, end.regularisers))
            }
            Density::Made(model) => {
                let logits = forward(&model.net, "net", parameters, x, context)?;
                let softplus = ops::activate(&logits, ops::Activation::Softplus)?;
                Ok((((x * logits)? - softplus)?.sum(1)?, None))
            }
        }
    }
}

/// Sets the biases of a masked net's logits to those of how often each element of the points `[n, dim]` is 1, with half a
/// point more of either: where a network sees little, at an image's first pixels, it would take long to learn that they are
/// almost never 1, and draw stray ones.
fn start_at_frequencies(net: &Net, parameters: &Parameters, x: &Tensor) -> Result<()> {
    let Some(Layer::Linear { .. }) = net.layers.last() else {
        candle_core::bail!("a masked net of a recipe ends with its logits");
    };
    let last = net.layers.len() - 1;
    let ones = x.sum(0)?;
    let zeros = (ones.neg()? + x.dim(0)? as f64)?;
    let logits = ((ones + 0.5)?.log()? - (zeros + 0.5)?.log()?)?;
    parameters.set(&format!("net.{last}.bias"), &logits)
}
