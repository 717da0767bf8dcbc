//! Random small nets: neighbourhoods of layers that nobody thought of.

use super::{NetCase, conv, depthwise, transposed};
use galgen_core::math::act::Act;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{CausalMask, Degrees, Layer, Net, Shape};

/// Largest number of elements between layers, so that a net costs the referee milliseconds.
const MAX_LEN: usize = 1500;

/// A net of up to seven layers, composites nested up to two deep, that `seed` fixes.
pub fn random_net(seed: u64) -> NetCase {
    let mut draw = Draw {
        rng: Philox::new(seed, 0, Stream::Noise),
        context: 0,
    };
    let input = if draw.chance(3) {
        Shape::Vector(1 + draw.below(20))
    } else {
        draw.map()
    };
    draw.context = draw.below(3);
    let count = 1 + draw.below(7);
    let layers = draw.layers(input, count, 0);
    NetCase {
        name: "random net",
        net: Net {
            input,
            context: draw.context,
            layers,
        },
        seed,
    }
}

struct Draw {
    rng: Philox,
    context: usize,
}

impl Draw {
    /// Uniform in `0..n`.
    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u32) as usize
    }

    /// One in `n`.
    fn chance(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn map(&mut self) -> Shape {
        let channels = 1 + self.below(9);
        Shape::Map {
            channels,
            height: 1 + self.below(11),
            width: 1 + self.below(13),
        }
    }

    fn layers(&mut self, input: Shape, count: usize, depth: usize) -> Vec<Layer> {
        let (mut shape, mut layers) = (input, Vec::new());
        while layers.len() < count {
            let layer = self.layer(shape, depth);
            // A kernel larger than the map, an odd gate, too many elements: draw again.
            match layer.output(shape, self.context, "") {
                Ok(output) if output.len() <= MAX_LEN => {
                    shape = output;
                    layers.push(layer);
                }
                _ => {}
            }
        }
        layers
    }

    fn layer(&mut self, shape: Shape, depth: usize) -> Layer {
        let features = shape.features();
        match self.below(if depth < 2 { 12 } else { 10 }) {
            0..=2 if matches!(shape, Shape::Map { .. }) => self.convolution(),
            0 => Layer::linear(1 + self.below(40)),
            1 | 2 => self.masked_linear(features),
            3 => Layer::UpsampleNearest {
                factor: 2 + self.below(2),
            },
            4 | 5 => Layer::Activation(self.act()),
            6 => match self.below(10) {
                6 => Layer::BipolarElu,
                7 => Layer::LayerNorm { epsilon: 0.1 },
                8 => {
                    let kernel = [1 + self.below(4), 1 + self.below(4)];
                    let padding =
                        [kernel[0], kernel[0], kernel[1], kernel[1]].map(|k| self.below(k));
                    transposed(1 + self.below(12), kernel, 1 + self.below(3), padding)
                }
                9 => {
                    let kernel = [1 + self.below(4), 1 + self.below(4)];
                    let padding =
                        [kernel[0], kernel[0], kernel[1], kernel[1]].map(|k| self.below(k));
                    depthwise(kernel, 1 + self.below(2), padding)
                }
                0 => Layer::Scale(self.rng.normal() as f32),
                1 => Layer::Gate,
                2 => Layer::ConcatElu,
                3 => Layer::AppendOnes,
                4 => Layer::Shift {
                    down: self.below(3),
                    right: self.below(3),
                },
                _ => Layer::AppendContext,
            },
            // A large epsilon: a nearly constant group must not magnify rounding.
            7 => Layer::GroupNorm {
                groups: 1 + self.below(3),
                epsilon: 0.1,
            },
            8 => self.reshape(shape),
            9 => {
                let start = self.below(features);
                Layer::Slice {
                    start,
                    len: 1 + self.below(features - start),
                }
            }
            10 => self.sum(shape, depth),
            _ => self.concat(shape, depth),
        }
    }

    fn convolution(&mut self) -> Layer {
        let kernel = match self.below(4) {
            0 => [1, 1],
            1 | 2 => [3, 3],
            _ => [1 + self.below(5), 1 + self.below(5)],
        };
        let padding = if self.chance(2) {
            let (y, x) = (kernel[0] / 2, kernel[1] / 2);
            [y, y, x, x]
        } else {
            [kernel[0], kernel[0], kernel[1], kernel[1]].map(|k| self.below(k))
        };
        let mask = [
            None,
            None,
            None,
            None,
            Some(CausalMask::A),
            Some(CausalMask::B),
        ][self.below(6)];
        let stride = [1, 1, 1, 2, 3][self.below(5)];
        conv(1 + self.below(20), kernel, stride, padding, mask)
    }

    fn masked_linear(&mut self, inputs: usize) -> Layer {
        let outputs = 1 + self.below(20);
        let mut degrees = |n: usize| (0..n).map(|_| self.below(4) as u32).collect();
        let degrees = Degrees {
            input: degrees(inputs),
            output: degrees(outputs),
        };
        Layer::Linear {
            outputs,
            degrees: Some(degrees),
        }
    }

    fn act(&mut self) -> Act {
        let leaky = Act::LeakyRelu { slope: 0.2 };
        [
            Act::Relu,
            leaky,
            Act::Elu,
            Act::Silu,
            Act::Tanh,
            Act::Sigmoid,
            Act::Softplus,
            Act::Asinh,
        ][self.below(8)]
    }

    fn reshape(&mut self, shape: Shape) -> Layer {
        let n = shape.len();
        if self.chance(2) {
            return Layer::Reshape(Shape::Vector(n));
        }
        let divisors: Vec<usize> = (1..=n).filter(|&d| n.is_multiple_of(d)).collect();
        let channels = divisors[self.below(divisors.len())];
        let rest = n / channels;
        let divisors: Vec<usize> = (1..=rest).filter(|&d| rest.is_multiple_of(d)).collect();
        let height = divisors[self.below(divisors.len())];
        Layer::Reshape(Shape::Map {
            channels,
            height,
            width: rest / height,
        })
    }

    /// Branches that keep the shape: convolutions of the same size, activations, the identity.
    fn sum(&mut self, shape: Shape, depth: usize) -> Layer {
        let features = shape.features();
        let branches = (0..1 + self.below(3)).map(|_| match self.below(4) {
            0 => vec![],
            1 => vec![Layer::Activation(self.act())],
            _ => {
                let count = 1 + self.below(2);
                let last = match shape {
                    Shape::Vector(_) => Layer::linear(features),
                    Shape::Map { .. } => Layer::conv(features, 3, 1),
                };
                let mut layers = self.layers(shape, count, depth + 1);
                // Whatever changed the size is left out, and the last layer restores the features.
                let keeps = |layers: &[Layer], context| {
                    let mut now = shape;
                    layers.iter().all(|layer| {
                        now = layer.output(now, context, "").expect("drawn to fit");
                        now.with_features(1) == shape.with_features(1)
                    })
                };
                if !keeps(&layers, self.context) {
                    layers.clear();
                }
                layers.push(last);
                layers
            }
        });
        Layer::Sum(branches.collect())
    }

    /// Branches of the same size: slices and, from them, sums.
    fn concat(&mut self, shape: Shape, depth: usize) -> Layer {
        let features = shape.features();
        let branches = (0..1 + self.below(3)).map(|_| {
            let start = self.below(features);
            let slice = Layer::Slice {
                start,
                len: 1 + self.below(features - start),
            };
            let sliced = slice
                .output(shape, self.context, "")
                .expect("a slice of what is there");
            match self.below(3) {
                0 => vec![],
                1 => vec![slice],
                _ => vec![slice, self.sum(sliced, depth + 1)],
            }
        });
        Layer::Concat(branches.collect())
    }
}
