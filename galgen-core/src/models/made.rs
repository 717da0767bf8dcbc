//! Densities of binary images or columns by a masked network (Germain et al. 2015, "MADE: masked autoencoder for
//! distribution estimation"): the network gives the logit of each element's probability of being 1, given the
//! elements before it. ln P is exact, in one pass; a draw takes one pass for all elements together, computed
//! incrementally.

use super::check;
use crate::condition::Conditions;
use crate::math::act::Act;
use crate::spec::{Made, Net, SpecError, TensorSpec, check_autoregressive};
use crate::stamp::Geometry;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Configuration of a masked network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeModel {
    /// The elements, as a vector, and context to one logit each; autoregressive by its degrees.
    pub net: Net,
    /// The element that comes first, second, ...; empty: as they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<u32>,
}

/// Sizes from which a masked network is built, in the order of the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePreset {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// After each hidden layer.
    pub activation: Act,
}

impl MadePreset {
    /// The network of these sizes for `geometry` and a context of so many numbers.
    pub fn build(&self, geometry: &Geometry, context: usize) -> MadeModel {
        let made = Made {
            elements: geometry.pixels(),
            context,
            hidden: &self.hidden,
            activation: self.activation,
            parameters: 1,
            order: &[],
        };
        MadeModel {
            net: made.net(),
            order: Vec::new(),
        }
    }
}

impl MadeModel {
    /// Checks the network against the data and lists its tensors, `net.*`.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        if geometry.half_light_radius.is_some() {
            let problem = "galaxies in their own frame, expected plain images or columns";
            return Err(SpecError::new("geometry", problem));
        }
        check::context("net", self.net.context, conditions.width())?;
        let n = geometry.pixels();
        check_autoregressive(&self.net, n, 1, &self.order, conditions.width(), "made")?;
        self.net.tensors("net")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Layer;
    use alloc::vec;

    #[test]
    fn the_preset_is_consistent_and_a_dense_net_is_refused() {
        let geometry = Geometry {
            side: 8,
            bands: vec!["grey".into()],
            half_light_radius: None,
        };
        let preset = MadePreset {
            hidden: vec![20, 30],
            activation: Act::Relu,
        };
        let mut model = preset.build(&geometry, 0);
        assert!(model.tensors(&geometry, &Conditions::default()).is_ok());
        *model.net.layers.last_mut().unwrap() = Layer::linear(64);
        let error = model
            .tensors(&geometry, &Conditions::default())
            .unwrap_err();
        assert!(error.problem.contains("parameters of element 0"), "{error}");
    }
}
