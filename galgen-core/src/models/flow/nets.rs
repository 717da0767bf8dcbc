//! The nets of a flow of a published kind.

use crate::math::act::Act;
use crate::spec::{Layer, Made, Net, Shape};
use alloc::vec;
use alloc::vec::Vec;

/// What the nets of a flow have in common.
pub(super) struct Build {
    /// Number of elements.
    pub dim: usize,
    /// Length of the context.
    pub context: usize,
}

impl Build {
    /// These layers on `input`, after the context if there is one.
    pub fn net(&self, input: Shape, mut layers: Vec<Layer>) -> Net {
        if self.context > 0 {
            layers.insert(0, Layer::AppendContext);
        }
        Net {
            input,
            context: self.context,
            layers,
        }
    }

    /// Dense layers from so many inputs to so many outputs.
    pub fn dense(&self, inputs: usize, hidden: &[usize], activation: Act, outputs: usize) -> Net {
        let mut layers = Vec::new();
        for &width in hidden {
            layers.extend([Layer::linear(width), Layer::Activation(activation)]);
        }
        layers.push(Layer::linear(outputs));
        self.net(Shape::Vector(inputs), layers)
    }

    /// A masked network with so many parameters of each element.
    pub fn masked(&self, hidden: &[usize], activation: Act, parameters: usize) -> Net {
        Made {
            elements: self.dim,
            context: self.context,
            hidden,
            activation,
            parameters,
            order: &[],
        }
        .net()
    }

    /// Convolutions with residual blocks, or Glow's three, to so many features.
    pub fn convolutional(
        &self,
        input: Shape,
        channels: usize,
        residual: usize,
        features: usize,
    ) -> Net {
        let relu = || Layer::Activation(Act::Relu);
        let mut layers = vec![Layer::conv(channels, 3, 1)];
        if residual == 0 {
            layers.extend([relu(), Layer::conv(channels, 1, 1)]);
        }
        for _ in 0..residual {
            layers.push(Layer::residual(vec![
                relu(),
                Layer::conv(channels, 3, 1),
                relu(),
                Layer::conv(channels, 3, 1),
            ]));
        }
        layers.extend([relu(), Layer::conv(features, 3, 1)]);
        self.net(input, layers)
    }
}
