//! One transform of a flow, lowered.

use super::autoregressive::Autoregressive;
use super::conditional::{Coupling, Kept};
use super::continuous::Field;
use super::element::affine;
use super::matrix::Matrix;
use super::planar::Planar;
use super::{FlowScratch, States, Unsolved};
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::view::View;
use crate::lower::Cost;
use crate::weights::Weights;
use alloc::format;
use alloc::vec::Vec;
use galgen_core::math::act::{sigmoid, softplus};
use galgen_core::math::spline::Mapped;
use galgen_core::spec::{Direction, Shape, TraceNoise, Transform};

/// Operations of a step without a net for each element, about: so that a file of such steps alone is refused before
/// it runs for ever.
const WORK_PER_ELEMENT: u64 = 64;

/// A transform with its weights.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Elements that are active, from the first on.
    active: usize,
    /// Pixels of a feature, neighbours in memory.
    plane: usize,
    kind: Kind,
}

/// Maps of elements with parameters of a net, of all items at once; anything else item by item.
#[derive(Clone, Debug)]
enum Kind {
    Coupling(Coupling),
    Autoregressive(Autoregressive),
    Single(Single),
}

#[derive(Clone, Debug)]
enum Single {
    /// z = (x - shift) exp(-log_scale)
    Diagonal {
        shift: Vec<f64>,
        log_scale: Vec<f64>,
    },
    /// Swaps that, one after another, are the permutation; backwards they are its inverse.
    Permutation(Vec<(usize, usize)>),
    Linear(Matrix),
    LeakyRelu(Vec<f64>),
    Logit(f64),
    /// Channels, height and width before.
    Squeeze([usize; 3]),
    /// The steps after it have a smaller active part.
    Split,
    Planar(Planar),
    Continuous(Field),
}

impl Step {
    /// Lowers a checked transform of an active `shape`, number `index` of its flow, whose tensors are under `path`.
    pub fn new(
        transform: &Transform,
        index: usize,
        shape: Shape,
        path: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let (channels, height, width) = View::extents(shape);
        let (n, plane) = (channels, height * width);
        let values = |name: &str| -> Result<Vec<f64>, LoadError> {
            let values = weights.of_shape(&format!("{path}.{name}"), &[n])?;
            Ok(values.iter().map(|&v| f64::from(v)).collect())
        };
        let coupling = |net, map, kept| Coupling::new(net, map, kept, plane, path, weights, simd);
        let kind = match transform {
            Transform::Coupling { keep, net, map } => {
                Kind::Coupling(coupling(net, map, Kept::Features(*keep))?)
            }
            Transform::Checkerboard { odd, net, map } => {
                Kind::Coupling(coupling(net, map, Kept::Pixels { odd: *odd, width })?)
            }
            Transform::Autoregressive {
                net,
                map,
                one_pass,
                order,
            } => Kind::Autoregressive(Autoregressive::new(
                net, map, *one_pass, order, path, weights, simd,
            )?),
            Transform::Diagonal => Kind::Single(Single::Diagonal {
                shift: values("shift")?,
                log_scale: values("log_scale")?,
            }),
            Transform::Permutation(order) => Kind::Single(Single::Permutation(swaps(order))),
            Transform::Linear(factors) => {
                Kind::Single(Single::Linear(Matrix::new(factors, n, path, weights)?))
            }
            Transform::LeakyRelu => Kind::Single(Single::LeakyRelu(values("log_slope")?)),
            Transform::Logit { alpha } => Kind::Single(Single::Logit(*alpha)),
            Transform::Squeeze => Kind::Single(Single::Squeeze([channels, height, width])),
            Transform::Split { keep: _ } => Kind::Single(Single::Split),
            Transform::Planar => Kind::Single(Single::Planar(Planar::new(n, path, weights)?)),
            Transform::Continuous(continuous) => {
                let field = Field::new(continuous, index, n, path, weights)?;
                Kind::Single(Single::Continuous(field))
            }
        };
        Ok(Step {
            active: shape.len(),
            plane,
            kind,
        })
    }

    /// f32 numbers of scratch for so many items.
    pub fn nets_len(&self, items: usize) -> usize {
        match &self.kind {
            Kind::Coupling(coupling) => coupling.scratch_len(items),
            Kind::Autoregressive(transform) => transform.scratch_len(items),
            Kind::Single(_) => 0,
        }
    }

    /// Whether its net is computed for several items at once.
    pub fn shares_weights(&self) -> bool {
        match &self.kind {
            Kind::Coupling(coupling) => coupling.shares_weights(),
            Kind::Autoregressive(transform) => transform.shares_weights(),
            Kind::Single(_) => false,
        }
    }

    /// f64 numbers of scratch.
    pub fn values_len(&self) -> usize {
        match &self.kind {
            Kind::Single(Single::Linear(_) | Single::Squeeze(_)) => self.active,
            Kind::Single(Single::Continuous(field)) => field.scratch_len(),
            _ => 0,
        }
    }

    /// What it costs, both directions.
    pub fn cost(&self) -> Cost {
        let own = Cost {
            scratch: (self.nets_len(1) + 2 * self.values_len()) as u64,
            work: WORK_PER_ELEMENT.saturating_mul(self.active as u64),
            parameters: 0,
        };
        let net = match &self.kind {
            Kind::Coupling(coupling) => coupling.cost(),
            Kind::Autoregressive(transform) => transform.cost(),
            Kind::Single(Single::Linear(matrix)) => matrix.cost(self.plane),
            Kind::Single(Single::Continuous(field)) => field.cost(),
            Kind::Single(_) => Cost::default(),
        };
        own.then(net)
    }

    /// Applies the step to all items.
    pub fn apply(&self, direction: Direction, states: &mut States, scratch: &mut FlowScratch) {
        let FlowScratch { nets, values, .. } = scratch;
        let states = &mut states.active(self.active);
        match &self.kind {
            Kind::Coupling(coupling) => coupling.apply(direction, states, nets),
            Kind::Autoregressive(transform) => transform.apply(direction, states, nets),
            Kind::Single(single) => {
                for item in 0..states.len() {
                    if states.outcomes[item].is_err() {
                        continue;
                    }
                    let noise = (states.noise)(item);
                    let (x, context) = states.item(item);
                    match single.apply(direction, x, self.plane, context, noise, values) {
                        Ok(log_det) => states.add(item, log_det),
                        Err(unsolved) => states.outcomes[item] = Err(unsolved),
                    }
                }
            }
        }
    }
}

impl Single {
    /// Applies the step to the active part of one item; returns ln |det| of the direction taken.
    fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        plane: usize,
        context: &[f32],
        noise: TraceNoise,
        values: &mut [f64],
    ) -> Result<f64, Unsolved> {
        let active = x.len();
        Ok(match self {
            Single::Diagonal { shift, log_scale } => {
                let features = x.chunks_exact_mut(plane);
                let pairs = shift.iter().zip(log_scale);
                let one = |(x, (&m, &s)): (&mut [f64], (&f64, &f64))| -> f64 {
                    x.iter_mut()
                        .map(|x| set(x, affine(direction, *x, m, s)))
                        .sum()
                };
                features.zip(pairs).map(one).sum()
            }
            Single::Permutation(swaps) => {
                let swap = |&(a, b): &(usize, usize)| swap(x, a, b, plane);
                match direction {
                    Direction::Normalise => swaps.iter().for_each(swap),
                    Direction::Generate => swaps.iter().rev().for_each(swap),
                }
                0.0
            }
            Single::Linear(matrix) => matrix.apply(direction, x, plane, &mut values[..active]),
            Single::LeakyRelu(log_slopes) => {
                let features = x.chunks_exact_mut(plane).zip(log_slopes);
                let one = |(x, &slope): (&mut [f64], &f64)| -> f64 {
                    x.iter_mut()
                        .map(|x| set(x, leaky(direction, *x, slope)))
                        .sum()
                };
                features.map(one).sum()
            }
            Single::Logit(alpha) => x
                .iter_mut()
                .map(|x| set(x, logit(direction, *x, *alpha)))
                .sum(),
            Single::Squeeze(extents) => {
                squeeze(direction, x, *extents, &mut values[..active]);
                0.0
            }
            Single::Split => 0.0,
            Single::Planar(planar) => planar.apply(direction, x),
            Single::Continuous(field) => field.apply(direction, x, context, noise, values)?,
        })
    }
}

/// Stores the value and returns the log-determinant.
fn set(x: &mut f64, mapped: Mapped) -> f64 {
    *x = mapped.value;
    mapped.log_det
}

/// z = x for x >= 0, else exp(log_slope) x, or its inverse.
fn leaky(direction: Direction, x: f64, log_slope: f64) -> Mapped {
    let log = match (x >= 0.0, direction) {
        (true, _) => 0.0,
        (false, Direction::Normalise) => log_slope,
        (false, Direction::Generate) => -log_slope,
    };
    Mapped {
        value: x * libm::exp(log),
        log_det: log,
    }
}

/// z = logit(alpha + (1 - 2 alpha) x) or its inverse. Outside of the domain the value is the nearest inside, and the
/// density 0.
fn logit(direction: Direction, x: f64, alpha: f64) -> Mapped {
    let width = 1.0 - 2.0 * alpha;
    match direction {
        Direction::Normalise => {
            let y = alpha + width * x;
            let inside = y > 0.0 && y < 1.0;
            let y = y.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON);
            let (log, log_rest) = (libm::log(y), libm::log1p(-y));
            let log_det = if inside {
                libm::log(width) - log - log_rest
            } else {
                f64::NEG_INFINITY
            };
            Mapped {
                value: log - log_rest,
                log_det,
            }
        }
        Direction::Generate => Mapped {
            value: (sigmoid(x) - alpha) / width,
            log_det: -softplus(x) - softplus(-x) - libm::log(width),
        },
    }
}

/// Swaps two features of `plane` numbers each.
fn swap(x: &mut [f64], a: usize, b: usize, plane: usize) {
    let (low, high) = (a.min(b), a.max(b));
    let (before, after) = x.split_at_mut(high * plane);
    before[low * plane..(low + 1) * plane].swap_with_slice(&mut after[..plane]);
}

/// 2 x 2 pixels to channels, or back, where the map had these channels, height and width before.
fn squeeze(direction: Direction, x: &mut [f64], [c, h, w]: [usize; 3], copy: &mut [f64]) {
    copy.copy_from_slice(x);
    let mut squeezed = 0;
    for channel in 0..c {
        for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for y in 0..h / 2 {
                for column in 0..w / 2 {
                    let spread = (channel * h + 2 * y + dy) * w + 2 * column + dx;
                    match direction {
                        Direction::Normalise => x[squeezed] = copy[spread],
                        Direction::Generate => x[spread] = copy[squeezed],
                    }
                    squeezed += 1;
                }
            }
        }
    }
}

/// Swaps whose sequence turns x into z with z\[i\] = x\[order\[i\]\].
fn swaps(order: &[u32]) -> Vec<(usize, usize)> {
    // where_is[k]: the place that the original element k has been moved to; holds is its inverse.
    let mut where_is: Vec<usize> = (0..order.len()).collect();
    let mut holds = where_is.clone();
    let mut swaps = Vec::new();
    for (i, &wanted) in order.iter().enumerate() {
        let from = where_is[wanted as usize];
        if from != i {
            swaps.push((i, from));
            holds.swap(i, from);
            where_is[holds[i]] = i;
            where_is[holds[from]] = from;
        }
    }
    swaps
}
