//! Random nets that look at no pixel but those before their own.

use galgen_core::math::act::Act;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{CausalMask, Layer, Net, Offset, Padding, Shape};

struct Draw {
    rng: Philox,
    context: usize,
    shape: Shape,
}

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u32) as usize
    }

    /// A convolution that keeps the size of the map, its pixel anywhere in the kernel.
    fn conv(&mut self, outputs: usize) -> Layer {
        let kernel = [1 + self.below(3), 1 + self.below(4)];
        let (top, left) = (self.below(kernel[0]), self.below(kernel[1]));
        let padding = Padding {
            top,
            bottom: kernel[0] - 1 - top,
            left,
            right: kernel[1] - 1 - left,
        };
        let mask = match self.below(4) {
            0 => Some(CausalMask::A),
            1 => Some(CausalMask::B),
            _ => None,
        };
        Layer::Conv2d {
            outputs,
            kernel,
            stride: 1,
            padding,
            mask,
        }
    }

    fn layer(&mut self, features: usize, depth: usize) -> Layer {
        match self.below(if depth < 2 { 12 } else { 9 }) {
            0..=2 => {
                let outputs = 1 + self.below(9);
                self.conv(outputs)
            }
            3 => Layer::Activation([Act::Tanh, Act::Relu, Act::Silu][self.below(3)]),
            4 => Layer::Scale(-0.7),
            5 => [Layer::ConcatElu, Layer::Gate, Layer::AppendOnes][self.below(3)].clone(),
            6 => Layer::AppendContext,
            7 => Layer::Shift {
                down: self.below(3),
                right: self.below(3),
            },
            8 => {
                let start = self.below(features);
                Layer::Slice {
                    start,
                    len: 1 + self.below(features - start),
                }
            }
            9 => {
                let (a, b) = (self.conv(features), self.conv(features));
                Layer::Sum(vec![vec![], vec![a], vec![b, Layer::Activation(Act::Elu)]])
            }
            _ => {
                let branches = (0..2 + self.below(2)).map(|_| {
                    let count = self.below(3);
                    self.layers(self.shape.with_features(features), count, depth + 1)
                });
                Layer::Concat(branches.collect())
            }
        }
    }

    fn layers(&mut self, mut shape: Shape, count: usize, depth: usize) -> Vec<Layer> {
        let mut layers = Vec::new();
        while layers.len() < count {
            let layer = self.layer(shape.features(), depth);
            // An odd gate, or too much: draw again.
            match layer.output(shape, self.context, "") {
                Ok(output) if output.features() <= 24 => {
                    shape = output;
                    layers.push(layer);
                }
                _ => {}
            }
        }
        layers
    }
}

/// A net on one plane of `side` x `side` to `outputs` planes, whatever it looks at.
pub fn any(side: usize, context: usize, outputs: usize, seed: u64) -> Net {
    let shape = Shape::square(1, side);
    let mut draw = Draw {
        rng: Philox::new(seed, 1, Stream::Training),
        context,
        shape,
    };
    let count = 3 + draw.below(5);
    let mut layers = draw.layers(shape, count, 0);
    layers.push(Layer::conv(outputs, 1, 1));
    Net {
        input: shape,
        context,
        layers,
    }
}

/// The same, shifted until it is causal; `None` if there is not enough map to shift.
pub fn causal(side: usize, context: usize, outputs: usize, seed: u64) -> Option<Net> {
    let mut net = any(side, context, outputs, seed);
    let last = net.last_pixels().expect("layers that keep the grid");
    let Some(&seen) = last.iter().flatten().max() else {
        return Some(net);
    };
    let Offset { rows, columns } = seen;
    let shift = match (rows, columns) {
        (0, c) if (0..4).contains(&c) => Layer::Shift {
            down: 0,
            right: c as usize + 1,
        },
        (r, c) if r > 0 && c < 4 && seed.is_multiple_of(2) => Layer::Shift {
            down: r as usize,
            right: (c + 1).max(0) as usize,
        },
        (r, _) if r >= 0 => Layer::Shift {
            down: r as usize + 1,
            right: 0,
        },
        _ => return Some(net),
    };
    let at = net.layers.len() - 1;
    net.layers.insert(at, shift);
    net.output().is_ok().then_some(net)
}
