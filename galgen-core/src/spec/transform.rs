//! The invertible steps of a flow.
//!
//! A transform acts on the *active* part of the state: a vector, or a map in planes. [`Transform::Squeeze`] gives
//! it another shape, [`Transform::Split`] makes it smaller: what is split off stays as it is to the end.

use super::reach::reach;
use super::velocity::Continuous;
use super::{ElementMap, Net, Role, Shape, SpecError, TensorSpec};
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Largest side of a [`Transform::Linear`]: its matrix and the inverse of it are kept in f64.
const MAX_MATRIX: usize = 1024;

/// Which way a transform is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Data to noise: evaluates a density.
    Normalise,
    /// Noise to data: draws a sample.
    Generate,
}

impl Direction {
    /// The other one.
    pub fn reversed(self) -> Self {
        match self {
            Direction::Normalise => Direction::Generate,
            Direction::Generate => Direction::Normalise,
        }
    }
}

/// How the matrix of a [`Transform::Linear`] is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Factors {
    /// The matrix W itself. Tensor `weight` \[n, n\].
    Dense,
    /// W = P L (U + diag(exp(d))), where (P y)\[i\] = y\[order\[i\]\], L is `lower` below its diagonal and 1 on it, U is
    /// `upper` above its diagonal, d is `log_diagonal`. Tensors `lower` \[n, n\], `upper` \[n, n\], `log_diagonal` \[n\];
    /// elements that have no meaning are ignored.
    Lu {
        /// The permutation P.
        order: Vec<u32>,
    },
}

/// One invertible step of a [`Flow`](super::Flow), from data x to noise z. n is the number of features of the active
/// part: elements of a vector, channels of a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// z = (x - shift) * exp(-log_scale), one pair a feature; on maps the actnorm of Glow. Tensors `shift` \[n\],
    /// `log_scale` \[n\].
    Diagonal,
    /// z\[i\] = x\[order\[i\]\], of features.
    Permutation(Vec<u32>),
    /// The first `keep` features pass; the others are mapped element by element with parameters
    /// that `net` computes from them and the context (Dinh et al. 2017). Parameter p of the i-th mapped feature is
    /// feature i * map.parameters() + p of the net, whose tensors are `net.*`. One pass in both directions.
    Coupling {
        /// Features that pass unchanged.
        keep: usize,
        /// The first `keep` features and context to (n - keep) * map.parameters() features.
        net: Net,
        /// What happens to each of the others.
        map: ElementMap,
    },
    /// A coupling of maps between the pixels of a checkerboard (Dinh et al. 2017): those whose row + column is even
    /// (odd, if `odd`) pass, and `net` sees the map with zeros at the others.
    Checkerboard {
        /// Which pixels pass.
        odd: bool,
        /// The masked map and context to n * map.parameters() features of every pixel.
        net: Net,
        /// What happens to each element of the other pixels.
        map: ElementMap,
    },
    /// Each element of a vector is mapped with parameters that depend on the elements before it alone (Germain et al.
    /// 2015; Papamakarios et al. 2017; Kingma et al. 2016). Parameter p of element i is output
    /// i * map.parameters() + p of `net`, whose [`Degrees`](super::Degrees) must make it so: checked.
    ///
    /// In the direction `one_pass` the net runs once, on what comes in; in the other the elements follow one after
    /// the other.
    Autoregressive {
        /// \[n\] and context to \[n * map.parameters()\].
        net: Net,
        /// What happens to each element.
        map: ElementMap,
        /// `normalise`: the net sees x (masked autoregressive flow), `generate`: it sees z (inverse
        /// autoregressive flow).
        one_pass: Direction,
        /// The element that comes first, second, ...; empty: as they stand.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        order: Vec<u32>,
    },
    /// z = W x on the features: of every pixel of a map the invertible 1 x 1 convolution of Glow.
    Linear(Factors),
    /// z = x for x >= 0, else exp(log_slope) x. Tensor `log_slope` \[n\].
    LeakyRelu,
    /// z = logit(alpha + (1 - 2 alpha) x) of every element, which must lie in (0, 1) up to the margin that `alpha`
    /// leaves: outside, the density is 0. (With an alpha of 0 also at 0 and 1, to which f32 may round a draw.)
    Logit {
        /// 0 to less than 0.5.
        alpha: f64,
    },
    /// 2 x 2 pixels become channels: z\[4 c + 2 dy + dx\]\[y\]\[x\] = x\[c\]\[2 y + dy\]\[2 x + dx\].
    Squeeze,
    /// The flow goes on with the first `keep` features; the others are finished. With an affine [`Transform::Coupling`]
    /// before it they have the learned Gaussian prior of Glow.
    Split {
        /// Features that go on.
        keep: usize,
    },
    /// z = x + u tanh(w.x + b), u = scale + (softplus(w.scale) - 1 - w.scale) w / |w|^2 (Rezende and Mohamed 2015).
    /// Generating solves one monotone equation. Tensors `weight` \[n\], `scale` \[n\], `bias` \[1\].
    Planar,
    /// z is where the point x arrives that follows a velocity field from time 0 to 1 (Chen et al. 2018).
    Continuous(Continuous),
}

impl Transform {
    /// The nets of the transform, with their names.
    pub fn net(&self) -> Option<&Net> {
        match self {
            Transform::Coupling { net, .. }
            | Transform::Checkerboard { net, .. }
            | Transform::Autoregressive { net, .. } => Some(net),
            Transform::Continuous(continuous) => Some(continuous.velocity.net()),
            Transform::Diagonal
            | Transform::Permutation(_)
            | Transform::Linear(_)
            | Transform::LeakyRelu
            | Transform::Logit { .. }
            | Transform::Squeeze
            | Transform::Split { .. }
            | Transform::Planar => None,
        }
    }

    /// Shape of what is active afterwards, if `shape` is before; checks all but the tensors. `path` names the
    /// transform in errors.
    pub fn output(&self, shape: Shape, context: usize, path: &str) -> Result<Shape, SpecError> {
        let n = shape.features();
        let fail = |problem| Err(SpecError::new(path, problem));
        match self {
            Transform::Diagonal | Transform::LeakyRelu => {}
            Transform::Permutation(order) => permutation(order, n, path)?,
            Transform::Coupling { keep, net, map } => {
                if *keep == 0 || *keep >= n {
                    return fail(format!("keeps {keep} of {n} dimensions"));
                }
                let output = (n - keep).saturating_mul(map.parameters());
                map.check(path)?;
                check_net(
                    net,
                    [shape.with_features(*keep), shape.with_features(output)],
                    context,
                    path,
                )?;
            }
            Transform::Checkerboard { odd: _, net, map } => {
                let Shape::Map { height, width, .. } = shape else {
                    return fail(format!("a checkerboard needs a map, found {shape:?}"));
                };
                if height * width < 2 {
                    return fail("a checkerboard needs 2 pixels or more".into());
                }
                map.check(path)?;
                let output = shape.with_features(n.saturating_mul(map.parameters()));
                check_net(net, [shape, output], context, path)?;
            }
            Transform::Autoregressive {
                net,
                map,
                one_pass: _,
                order,
            } => {
                map.check(path)?;
                vector(shape, "an autoregressive transform", path)?;
                check_autoregressive(net, n, map.parameters(), order, context, path)?;
            }
            Transform::Linear(factors) => {
                if n > MAX_MATRIX {
                    return fail(format!(
                        "a matrix of side {n}, expected at most {MAX_MATRIX}"
                    ));
                }
                if let Factors::Lu { order } = factors {
                    permutation(order, n, path)?;
                }
            }
            Transform::Logit { alpha } => {
                if !(0.0..0.5).contains(alpha) {
                    return fail(format!("alpha is {alpha}, expected 0 to less than 0.5"));
                }
            }
            Transform::Squeeze => {
                let Shape::Map {
                    channels,
                    height,
                    width,
                } = shape
                else {
                    return fail(format!("Squeeze needs a map, found {shape:?}"));
                };
                if !height.is_multiple_of(2) || !width.is_multiple_of(2) {
                    return fail(format!(
                        "Squeeze needs even sides, found {height} x {width}"
                    ));
                }
                return Ok(Shape::Map {
                    channels: channels.saturating_mul(4),
                    height: height / 2,
                    width: width / 2,
                });
            }
            Transform::Split { keep } => {
                if *keep == 0 || *keep >= n {
                    return fail(format!("keeps {keep} of {n} features"));
                }
                return Ok(shape.with_features(*keep));
            }
            Transform::Planar => vector(shape, "a planar transform", path)?,
            Transform::Continuous(continuous) => {
                vector(shape, "a continuous transform", path)?;
                continuous.check(n, context, path)?;
            }
        }
        Ok(shape)
    }

    /// The tensors of the transform under `prefix`, on a checked active `shape`.
    pub(super) fn tensors(&self, shape: Shape, prefix: &str) -> Result<Vec<TensorSpec>, SpecError> {
        let n = shape.features();
        let weight = Role::Weight { fan_in: n };
        let tensor = |name: &str, shape: &[usize], role| TensorSpec {
            name: format!("{prefix}.{name}"),
            shape: shape.to_vec(),
            role,
        };
        Ok(match self {
            Transform::Diagonal => {
                let one = |name| tensor(name, &[n], Role::Bias);
                [one("shift"), one("log_scale")].into()
            }
            Transform::Linear(Factors::Dense) => [tensor("weight", &[n, n], weight)].into(),
            Transform::Linear(Factors::Lu { .. }) => [
                tensor("lower", &[n, n], weight),
                tensor("upper", &[n, n], weight),
                tensor("log_diagonal", &[n], Role::Bias),
            ]
            .into(),
            Transform::LeakyRelu => [tensor("log_slope", &[n], Role::Bias)].into(),
            Transform::Planar => [
                tensor("weight", &[n], weight),
                tensor("scale", &[n], weight),
                tensor("bias", &[1], Role::Bias),
            ]
            .into(),
            Transform::Coupling { .. }
            | Transform::Checkerboard { .. }
            | Transform::Autoregressive { .. }
            | Transform::Continuous(_)
            | Transform::Permutation(_)
            | Transform::Logit { .. }
            | Transform::Squeeze
            | Transform::Split { .. } => match self.net() {
                Some(net) => net.tensors(&format!("{prefix}.net"))?,
                None => Vec::new(),
            },
        })
    }
}

/// Rank of each of `n` elements in `order`, of which an empty one is as they stand.
pub fn ranks(order: &[u32], n: usize) -> Vec<u32> {
    let mut ranks: Vec<u32> = (0..n as u32).collect();
    for (rank, &element) in order.iter().enumerate() {
        ranks[element as usize] = rank as u32;
    }
    ranks
}

fn vector(shape: Shape, what: &str, path: &str) -> Result<(), SpecError> {
    match shape {
        Shape::Vector(_) => Ok(()),
        Shape::Map { .. } => Err(SpecError::new(
            path,
            format!("{what} needs a vector, found {shape:?}"),
        )),
    }
}

fn permutation(order: &[u32], n: usize, path: &str) -> Result<(), SpecError> {
    let fail = |problem| Err(SpecError::new(path, problem));
    if order.len() != n {
        return fail(format!("permutation of {}, expected {n}", order.len()));
    }
    let mut seen = alloc::vec![false; n];
    for (at, &from) in order.iter().enumerate() {
        match seen.get_mut(from as usize) {
            Some(s) if !*s => *s = true,
            _ => return fail(format!("{from} at {at} is not a permutation of 0..{n}")),
        }
    }
    Ok(())
}

/// The ends of the net of the transform at `path`, and its layers.
pub(super) fn check_net(
    net: &Net,
    [input, output]: [Shape; 2],
    context: usize,
    path: &str,
) -> Result<(), SpecError> {
    let fail = |problem| Err(SpecError::new(path, problem));
    if (net.input, net.context) != (input, context) {
        return fail(format!(
            "net on {:?} with context {}, expected {input:?} and {context}",
            net.input, net.context
        ));
    }
    let found = net.output().map_err(|e| SpecError {
        layer: format!("{path}.net.{}", e.layer),
        problem: e.problem,
    })?;
    if found != output {
        return fail(format!("net gives {found:?}, expected {output:?}"));
    }
    Ok(())
}

/// Checks that `net` takes \[n\] and the context to so many parameters of each element, and that they depend on
/// elements before it in `order` alone. `path` names the net in errors.
pub fn check_autoregressive(
    net: &Net,
    n: usize,
    parameters: usize,
    order: &[u32],
    context: usize,
    path: &str,
) -> Result<(), SpecError> {
    if !order.is_empty() {
        permutation(order, n, path)?;
    }
    let output = n.saturating_mul(parameters);
    check_net(net, [n, output].map(Shape::Vector), context, path)?;
    let ranks = ranks(order, n);
    let Some(reached) = reach(net, &ranks) else {
        let problem = "an autoregressive net has layers of vectors only, found a map";
        return Err(SpecError::new(path, problem));
    };
    for (i, (own, &rank)) in reached.chunks(parameters).zip(&ranks).enumerate() {
        if let Some(&seen) = own.iter().flatten().find(|&&seen| seen >= rank) {
            let problem = format!(
                "parameters of element {i} (number {rank} in order) see the element that is number {seen}: give \
                 the net's layers the degrees of a MADE"
            );
            return Err(SpecError::new(path, problem));
        }
    }
    Ok(())
}
