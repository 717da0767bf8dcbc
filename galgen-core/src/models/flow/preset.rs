//! Flows of published kinds from a few sizes.

use super::FlowModel;
use super::nets::Build;
use crate::math::act::Act;
use crate::spec::{
    Base, Continuous, Direction, ElementMap, Factors, Flow, Layer, Shape, Solver, SpecError, Trace,
    Transform, Velocity,
};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Largest ln of the factor between a learned prior's deviation and 1.
const PRIOR_BOUND: f64 = 4.0;

/// Sizes from which a flow is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPreset {
    /// Grey levels of the pixels, see [`FlowModel::levels`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
    /// The logit of alpha + (1 - 2 alpha) x comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit: Option<f64>,
    /// Density of the noise.
    #[serde(default)]
    pub base: Base,
    /// The flow proper.
    pub network: FlowNetwork,
}

/// What mixes features between the blocks of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// A fixed permutation: the order is turned round, or halves change places.
    #[default]
    Permutation,
    /// A learned matrix: of every pixel of a map the invertible 1 x 1 convolution.
    Linear,
}

/// Kinds of flows. Each starts, and ends, with a diagonal that training sets to the data's mean and deviation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FlowNetwork {
    /// Couplings of vectors, halves in turn: NICE, RealNVP, neural spline flows.
    Coupling {
        /// Couplings.
        blocks: usize,
        /// Widths of the hidden layers of their nets.
        hidden: Vec<usize>,
        /// After each hidden layer.
        activation: Act,
        /// What happens to an element.
        map: ElementMap,
        /// Between couplings.
        #[serde(default)]
        mix: Mix,
    },
    /// Autoregressive transforms of vectors, with a diagonal after each.
    Autoregressive {
        /// Transforms.
        blocks: usize,
        /// Widths of the hidden layers of their masked nets.
        hidden: Vec<usize>,
        /// After each hidden layer.
        activation: Act,
        /// What happens to an element.
        map: ElementMap,
        /// `normalise`: fast to score (MAF), `generate`: fast to draw (IAF).
        one_pass: Direction,
        /// Between transforms.
        #[serde(default)]
        mix: Mix,
    },
    /// Transformation autoregressive network (Oliva et al. 2018): blocks of an additive autoregressive shift, a leaky
    /// rectifier with a learned slope, a diagonal and a matrix, and a mixture of logistics for each element given
    /// those before it.
    Transformation {
        /// Blocks.
        blocks: usize,
        /// Widths of the hidden layers of the masked nets.
        hidden: Vec<usize>,
        /// After each hidden layer.
        activation: Act,
        /// Components of the mixture.
        components: usize,
    },
    /// Images on several scales: RealNVP (checkerboards, permutations) and Glow (matrices, no checkerboards).
    MultiScale {
        /// Halvings of the side; half of the channels are finished after each but the last.
        scales: usize,
        /// Couplings of a checkerboard before each halving.
        #[serde(default)]
        checkerboards: usize,
        /// Couplings of channels after each halving, each with a diagonal and a mixing before it.
        steps: usize,
        /// Hidden channels of the nets.
        channels: usize,
        /// Residual blocks of the nets; 0: three convolutions of 3, 1 and 3 pixels.
        #[serde(default)]
        residual: usize,
        /// What happens to an element.
        map: ElementMap,
        /// Before couplings of channels.
        #[serde(default)]
        mix: Mix,
    },
    /// Planar transforms of vectors.
    Planar {
        /// Transforms.
        blocks: usize,
    },
    /// FFJORD: a velocity field by a dense net, which sees the time.
    Continuous {
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
        /// After each hidden layer.
        activation: Act,
        /// See [`Continuous::frequencies`].
        #[serde(default)]
        frequencies: usize,
        /// `exact` or `hutchinson`; without it exact up to 64 dimensions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Trace>,
    },
    /// Planar CNF: a mean of neurons whose weights a dense net computes from the time.
    ContinuousPlanar {
        /// Neurons.
        width: usize,
        /// Widths of the hidden layers of the net.
        hidden: Vec<usize>,
    },
}

impl FlowPreset {
    /// The flow of these sizes for `geometry` and a context of so many numbers.
    pub fn build(&self, geometry: &Geometry, context: usize) -> Result<FlowModel, SpecError> {
        let dim = geometry.pixels();
        let shape = match self.network {
            FlowNetwork::MultiScale { .. } => Shape::square(geometry.bands.len(), geometry.side),
            _ => Shape::Vector(dim),
        };
        let mut transforms = Vec::new();
        transforms.extend(self.logit.map(|alpha| Transform::Logit { alpha }));
        transforms.push(Transform::Diagonal);
        let build = Build { dim, context };
        match &self.network {
            FlowNetwork::Coupling {
                blocks,
                hidden,
                activation,
                map,
                mix,
            } => {
                if dim < 2 {
                    let problem = "couplings of one column, expected two or more";
                    return Err(SpecError::new("network", problem));
                }
                for block in 0..*blocks {
                    let keep = dim / 2;
                    let net =
                        build.dense(keep, hidden, *activation, (dim - keep) * map.parameters());
                    transforms.push(Transform::Coupling {
                        keep,
                        net,
                        map: *map,
                    });
                    transforms.push(mix.of(super::super::mixing_order(dim, block)));
                }
            }
            FlowNetwork::Autoregressive {
                blocks,
                hidden,
                activation,
                map,
                one_pass,
                mix,
            } => {
                for block in 0..*blocks {
                    if block > 0 {
                        transforms.push(mix.of((0..dim as u32).rev().collect()));
                    }
                    transforms.push(Transform::Autoregressive {
                        net: build.masked(hidden, *activation, map.parameters()),
                        map: *map,
                        one_pass: *one_pass,
                        order: Vec::new(),
                    });
                    if block + 1 < *blocks {
                        transforms.push(Transform::Diagonal);
                    }
                }
            }
            FlowNetwork::Transformation {
                blocks,
                hidden,
                activation,
                components,
            } => {
                let autoregressive = |map: ElementMap| Transform::Autoregressive {
                    net: build.masked(hidden, *activation, map.parameters()),
                    map,
                    one_pass: Direction::Normalise,
                    order: Vec::new(),
                };
                for _ in 0..*blocks {
                    transforms.extend([
                        autoregressive(ElementMap::Additive),
                        Mix::Linear.of((0..dim as u32).rev().collect()),
                        Transform::LeakyRelu,
                        Transform::Diagonal,
                    ]);
                }
                let components = *components;
                transforms.push(autoregressive(ElementMap::LogisticMixture { components }));
            }
            FlowNetwork::MultiScale { .. } => {
                self.multi_scale(shape, &build, &mut transforms)?;
            }
            FlowNetwork::Planar { blocks } => {
                transforms.extend(core::iter::repeat_n(Transform::Planar, *blocks));
            }
            FlowNetwork::Continuous {
                hidden,
                activation,
                frequencies,
                trace,
            } => {
                let time = frequencies.saturating_mul(2).max(1);
                let inner = Build {
                    dim,
                    context: context + time,
                };
                transforms.push(Transform::Continuous(Continuous {
                    velocity: Velocity::Net(inner.dense(dim, hidden, *activation, dim)),
                    frequencies: *frequencies,
                    trace: trace.unwrap_or(Trace::of_dimensions(dim)),
                    solver: Solver::default(),
                }));
            }
            FlowNetwork::ContinuousPlanar { width, hidden } => {
                let outputs = width.saturating_mul(2 * dim + 1);
                let net = build.dense(1, hidden, Act::Tanh, outputs);
                transforms.push(Transform::Continuous(Continuous {
                    velocity: Velocity::Planar { width: *width, net },
                    frequencies: 0,
                    trace: Trace::Exact,
                    solver: Solver::default(),
                }));
            }
        }
        transforms.push(Transform::Diagonal);
        Ok(FlowModel {
            levels: self.levels,
            flow: Flow {
                shape,
                base: self.base,
                context,
                transforms,
            },
        })
    }

    fn multi_scale(
        &self,
        mut shape: Shape,
        build: &Build,
        transforms: &mut Vec<Transform>,
    ) -> Result<(), SpecError> {
        let FlowNetwork::MultiScale {
            scales,
            checkerboards,
            steps,
            channels,
            residual,
            map,
            mix,
        } = &self.network
        else {
            unreachable!("asked of a network of several scales");
        };
        let net = |input: Shape, features: usize| {
            build.convolutional(input, *channels, *residual, features)
        };
        for scale in 0..*scales {
            for i in 0..*checkerboards {
                transforms.push(Transform::Checkerboard {
                    odd: i % 2 == 1,
                    net: net(shape, shape.features() * map.parameters()),
                    map: *map,
                });
                transforms.push(Transform::Diagonal);
            }
            let halved = Transform::Squeeze.output(shape, 0, "squeeze");
            shape = halved.map_err(|e| {
                let problem = format!(
                    "scale {scale}: {}, expected a side that can be halved {scales} times",
                    e.problem
                );
                SpecError::new("network", problem)
            })?;
            transforms.push(Transform::Squeeze);
            let n = shape.features();
            let keep = n / 2;
            for _ in 0..*steps {
                transforms.push(Transform::Diagonal);
                transforms.push(mix.of(swapped(n)));
                transforms.push(Transform::Coupling {
                    keep,
                    net: net(shape.with_features(keep), (n - keep) * map.parameters()),
                    map: *map,
                });
            }
            if scale + 1 < *scales {
                // The learned Gaussian prior of what is finished.
                let prior = ElementMap::Affine { bound: PRIOR_BOUND };
                let layers = vec![Layer::conv((n - keep) * 2, 3, 1)];
                transforms.push(Transform::Coupling {
                    keep,
                    net: build.net(shape.with_features(keep), layers),
                    map: prior,
                });
                transforms.push(Transform::Split { keep });
                shape = shape.with_features(keep);
            }
        }
        Ok(())
    }
}

impl Mix {
    /// The mixing whose fixed part, or first value, is `order`.
    fn of(self, order: Vec<u32>) -> Transform {
        match self {
            Mix::Permutation => Transform::Permutation(order),
            Mix::Linear => Transform::Linear(Factors::Lu { order }),
        }
    }
}

/// Halves in each other's place.
fn swapped(n: usize) -> Vec<u32> {
    (n / 2..n).chain(0..n / 2).map(|i| i as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Conditions;
    use crate::math::spline::SplineSpec;
    use crate::spec::Scale;

    fn networks() -> Vec<(FlowNetwork, usize)> {
        let affine = ElementMap::Affine { bound: 2.0 };
        let hidden = vec![8, 8];
        let activation = Act::Relu;
        let multi_scale = |checkerboards, residual, map, mix| FlowNetwork::MultiScale {
            scales: 2,
            checkerboards,
            steps: 2,
            channels: 4,
            residual,
            map,
            mix,
        };
        let glow = ElementMap::ShiftScale(Scale::Sigmoid { floor: 0.0 });
        vec![
            (
                FlowNetwork::Coupling {
                    blocks: 3,
                    hidden: hidden.clone(),
                    activation,
                    map: ElementMap::Spline(SplineSpec::new(4, 3.0)),
                    mix: Mix::Linear,
                },
                1,
            ),
            (
                FlowNetwork::Autoregressive {
                    blocks: 2,
                    hidden: hidden.clone(),
                    activation,
                    map: affine,
                    one_pass: Direction::Generate,
                    mix: Mix::Permutation,
                },
                1,
            ),
            (
                FlowNetwork::Transformation {
                    blocks: 2,
                    hidden: hidden.clone(),
                    activation,
                    components: 3,
                },
                1,
            ),
            (multi_scale(2, 1, affine, Mix::Permutation), 8),
            (multi_scale(0, 0, glow, Mix::Linear), 8),
            (FlowNetwork::Planar { blocks: 3 }, 1),
            (
                FlowNetwork::Continuous {
                    hidden: hidden.clone(),
                    activation: Act::Tanh,
                    frequencies: 2,
                    trace: None,
                },
                1,
            ),
            (FlowNetwork::ContinuousPlanar { width: 3, hidden }, 1),
        ]
    }

    #[test]
    fn every_preset_is_consistent() {
        for (network, side) in networks() {
            let preset = FlowPreset {
                levels: None,
                logit: None,
                base: Base::Normal,
                network,
            };
            let geometry = Geometry {
                side,
                bands: ["a", "b", "c"].map(Into::into).into(),
                half_light_radius: None,
            };
            let model = preset.build(&geometry, 0).unwrap();
            let tensors = model.tensors(&geometry, &Conditions::default()).unwrap();
            assert!(!tensors.is_empty());
        }
    }
}
