//! Normalising flows: invertible maps between data x and a standard normal z.

use super::net::{MAX_ELEMENTS, MAX_LAYERS};
use super::{Net, Role, Shape, SpecError, TensorSpec};
use crate::math::spline::{MAX_BINS, SplineSpec};
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most transforms of a flow and layers of their nets together; a Glow has about 1,000.
const MAX_STEPS: usize = 4 * MAX_LAYERS;
/// Largest bound of an element's map.
const MAX_BOUND: f64 = 1e6;

/// Which way a transform is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Data to noise: evaluates a density.
    Normalise,
    /// Noise to data: draws a sample.
    Generate,
}

/// The map that a coupling applies to each element, with parameters from its net.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ElementMap {
    /// z = (x - shift) * exp(-s), s = bound tanh(raw / bound): RealNVP with a bounded log-scale.
    /// Two parameters an element: shift, raw.
    Affine {
        /// Largest |s|.
        bound: f64,
    },
    /// z = spline(x), see [`crate::math::spline`].
    Spline(SplineSpec),
}

impl ElementMap {
    /// Parameters for each element.
    pub fn parameters(&self) -> usize {
        match self {
            ElementMap::Affine { .. } => 2,
            ElementMap::Spline(spec) => spec.parameters(),
        }
    }
}

/// One invertible step of a [`Flow`] of `dim` numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// z = (x - shift) * exp(-log_scale), one pair an element. Tensors `shift` \[dim\], `log_scale` \[dim\].
    Diagonal,
    /// z\[i\] = x\[order\[i\]\].
    Permutation(Vec<u32>),
    /// The first `keep` elements pass; the others are mapped element by element with parameters
    /// that `net` computes from them and the context (Dinh et al. 2017). The parameters of element
    /// `i` are at `i * map.parameters() ..`. One pass in both directions.
    Coupling {
        /// Elements that pass unchanged.
        keep: usize,
        /// \[keep\] and context to \[(dim - keep) * map.parameters()\].
        net: Net,
        /// What happens to each of the others.
        map: ElementMap,
    },
}

/// A density on `dim` numbers: z = transforms(x) is standard normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Number of dimensions.
    pub dim: usize,
    /// Length of the context vector, 0 for an unconditional flow.
    pub context: usize,
    /// Applied in order from data to noise.
    pub transforms: Vec<Transform>,
}

impl Flow {
    /// Checks every transform.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.dim == 0 || self.dim > MAX_ELEMENTS {
            let problem = format!("{} dimensions, expected 1 to {MAX_ELEMENTS}", self.dim);
            return Err(SpecError::new("dim", problem));
        }
        let layers = |t: &Transform| match t {
            Transform::Coupling { net, .. } => 1 + net.count(),
            Transform::Diagonal | Transform::Permutation(_) => 1,
        };
        let count: usize = self.transforms.iter().map(layers).sum();
        if count > MAX_STEPS {
            let problem = format!("{count} transforms and layers, expected at most {MAX_STEPS}");
            return Err(SpecError::new("transforms", problem));
        }
        for (i, transform) in self.transforms.iter().enumerate() {
            let fail = |problem| Err(SpecError::new(&format!("{i}"), problem));
            match transform {
                Transform::Diagonal => {}
                Transform::Permutation(order) => {
                    if order.len() != self.dim {
                        return fail(format!(
                            "permutation of {}, expected {}",
                            order.len(),
                            self.dim
                        ));
                    }
                    let mut seen = alloc::vec![false; self.dim];
                    for (at, &from) in order.iter().enumerate() {
                        match seen.get_mut(from as usize) {
                            Some(s) if !*s => *s = true,
                            _ => {
                                return fail(format!(
                                    "{from} at {at} is not a permutation of 0..{}",
                                    self.dim
                                ));
                            }
                        }
                    }
                }
                Transform::Coupling { keep, net, map } => {
                    if *keep == 0 || *keep >= self.dim {
                        return fail(format!("keeps {keep} of {} dimensions", self.dim));
                    }
                    if (net.input, net.context) != (Shape::Vector(*keep), self.context) {
                        return fail(format!(
                            "net on {:?} with context {}, expected Vector({keep}) and {}",
                            net.input, net.context, self.context
                        ));
                    }
                    let valid = match map {
                        ElementMap::Affine { bound } => *bound > 0.0 && *bound <= MAX_BOUND,
                        ElementMap::Spline(s) => {
                            (2..=MAX_BINS).contains(&s.bins)
                                && s.bound > 0.0
                                && s.bound <= MAX_BOUND
                        }
                    };
                    if !valid {
                        return fail(format!(
                            "{map:?}: bound must be positive and at most {MAX_BOUND}, bins 2 to {MAX_BINS}"
                        ));
                    }
                    let expected =
                        Shape::Vector((self.dim - keep).saturating_mul(map.parameters()));
                    let found = net.output().map_err(|e| SpecError {
                        layer: format!("{i}.net.{}", e.layer),
                        problem: e.problem,
                    })?;
                    if found != expected {
                        return fail(format!("net gives {found:?}, expected {expected:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The tensors of the flow under `prefix`.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<TensorSpec>, SpecError> {
        self.check()?;
        let mut tensors = Vec::new();
        for (i, transform) in self.transforms.iter().enumerate() {
            match transform {
                Transform::Diagonal => {
                    for name in ["shift", "log_scale"] {
                        tensors.push(TensorSpec {
                            name: format!("{prefix}.{i}.{name}"),
                            shape: alloc::vec![self.dim],
                            role: Role::Bias,
                        });
                    }
                }
                Transform::Permutation(_) => {}
                Transform::Coupling { net, .. } => {
                    tensors.extend(net.tensors(&format!("{prefix}.{i}.net"))?);
                }
            }
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layer;
    use super::*;
    use alloc::vec;

    fn coupling(keep: usize, context: usize, outputs: usize, map: ElementMap) -> Transform {
        let layers = vec![Layer::linear(outputs)];
        let net = Net {
            input: Shape::Vector(2),
            context,
            layers,
        };
        Transform::Coupling { keep, net, map }
    }

    fn spline(bins: usize, bound: f64) -> ElementMap {
        ElementMap::Spline(SplineSpec { bins, bound })
    }

    #[test]
    fn a_flow_lists_its_tensors() {
        let affine = ElementMap::Affine { bound: 2.0 };
        let transforms = vec![
            Transform::Diagonal,
            Transform::Permutation(vec![2, 0, 3, 1]),
            coupling(2, 0, 4, affine),
            coupling(2, 0, 2 * 23, spline(8, 5.0)),
        ];
        let tensors = Flow {
            dim: 4,
            context: 0,
            transforms,
        }
        .tensors("flow")
        .unwrap();
        let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        let expected = [
            "flow.0.shift",
            "flow.0.log_scale",
            "flow.2.net.0.weight",
            "flow.2.net.0.bias",
            "flow.3.net.0.weight",
            "flow.3.net.0.bias",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn every_contradiction_is_named() {
        let affine = |bound| ElementMap::Affine { bound };
        let cases = [
            (
                Transform::Permutation(vec![0, 1]),
                "permutation of 2, expected 4",
            ),
            (
                Transform::Permutation(vec![0, 1, 1, 3]),
                "is not a permutation",
            ),
            (
                Transform::Permutation(vec![0, 1, 2, 4]),
                "is not a permutation",
            ),
            (coupling(0, 0, 4, affine(1.0)), "keeps 0 of 4"),
            (coupling(4, 0, 4, affine(1.0)), "keeps 4 of 4"),
            (coupling(3, 0, 4, affine(1.0)), "expected Vector(3)"),
            (coupling(2, 1, 4, affine(1.0)), "with context 1"),
            (coupling(2, 0, 4, affine(0.0)), "bound must be positive"),
            (coupling(2, 0, 4, spline(1, 5.0)), "bins 2 to 32"),
            (coupling(2, 0, 4, spline(33, 5.0)), "bins 2 to 32"),
            (
                coupling(2, 0, 4, spline(8, f64::NAN)),
                "bound must be positive",
            ),
            (
                coupling(2, 0, 5, affine(1.0)),
                "net gives Vector(5), expected Vector(4)",
            ),
        ];
        for (transform, problem) in cases {
            let transforms = vec![Transform::Diagonal, transform];
            let error = Flow {
                dim: 4,
                context: 0,
                transforms,
            }
            .check()
            .unwrap_err();
            assert_eq!(error.layer, "1", "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
        let inside = coupling(2, 0, 0, affine(1.0));
        let error = Flow {
            dim: 4,
            context: 0,
            transforms: vec![inside],
        }
        .check()
        .unwrap_err();
        assert_eq!(error.layer, "0.net.0");
        for dim in [0, usize::MAX] {
            let transforms = vec![Transform::Diagonal, Transform::Permutation(vec![])];
            let error = Flow {
                dim,
                context: 0,
                transforms,
            }
            .check()
            .unwrap_err();
            assert_eq!(error.layer, "dim");
        }
    }
}
