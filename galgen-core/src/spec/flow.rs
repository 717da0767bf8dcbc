//! Normalising flows: invertible maps between data x and noise z of a known density.

use super::net::{MAX_ELEMENTS, MAX_LAYERS, MAX_PARAMETERS};
use super::{Shape, SpecError, TensorSpec, Transform};
use crate::math::act::softplus;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most transforms of a flow and layers of their nets together; a Glow has about 1,000.
const MAX_STEPS: usize = 4 * MAX_LAYERS;
/// ln(2 pi)
const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// Density of each element of the noise, all independent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Standard normal.
    #[default]
    Normal,
    /// Standard logistic, e^-z / (1 + e^-z)^2: NICE.
    Logistic,
}

impl Base {
    fn is_default(&self) -> bool {
        *self == Base::default()
    }

    /// ln of the density at `z`.
    pub fn log_density(self, z: f64) -> f64 {
        match self {
            Base::Normal => -0.5 * (z * z + LN_2PI),
            Base::Logistic => -z.abs() - 2.0 * softplus(-z.abs()),
        }
    }

    /// A draw.
    pub fn draw(self, rng: &mut crate::rng::Philox) -> f64 {
        match self {
            Base::Normal => rng.normal(),
            Base::Logistic => {
                let u = rng.uniform();
                libm::log(u) - libm::log1p(-u)
            }
        }
    }
}

/// A density on data of some shape: z = transforms(x) has the density `base`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Flow {
    /// Shape of the data: a vector, or a map in planes.
    pub shape: Shape,
    /// Density of the noise.
    pub base: Base,
    /// Length of the context vector, 0 for an unconditional flow.
    pub context: usize,
    /// Applied in order from data to noise.
    pub transforms: Vec<Transform>,
}

/// A flow as it is written: on a vector as `dim`, on a map as `shape`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dim: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Shape>,
    #[serde(default, skip_serializing_if = "Base::is_default")]
    base: Base,
    context: usize,
    transforms: Vec<Transform>,
}

impl TryFrom<Stored> for Flow {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let shape = match (stored.dim, stored.shape) {
            (Some(dim), None) => Shape::Vector(dim),
            (None, Some(shape)) => shape,
            _ => return Err("a flow has either `dim`, of a vector, or `shape`"),
        };
        Ok(Flow {
            shape,
            base: stored.base,
            context: stored.context,
            transforms: stored.transforms,
        })
    }
}

impl From<Flow> for Stored {
    fn from(flow: Flow) -> Self {
        let (dim, shape) = match flow.shape {
            Shape::Vector(dim) => (Some(dim), None),
            shape @ Shape::Map { .. } => (None, Some(shape)),
        };
        Stored {
            dim,
            shape,
            base: flow.base,
            context: flow.context,
            transforms: flow.transforms,
        }
    }
}

impl Flow {
    /// A flow of vectors to standard normal noise.
    pub fn vector(dim: usize, context: usize, transforms: Vec<Transform>) -> Self {
        Flow {
            shape: Shape::Vector(dim),
            base: Base::Normal,
            context,
            transforms,
        }
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.shape.len()
    }

    /// Checks every transform; returns the shape of what is active before each, and after the last.
    pub fn check(&self) -> Result<Vec<Shape>, SpecError> {
        let dim = self.dim();
        if dim == 0 || dim > MAX_ELEMENTS {
            let problem = format!("{dim} dimensions, expected 1 to {MAX_ELEMENTS}");
            return Err(SpecError::new("dim", problem));
        }
        let layers = |t: &Transform| 1 + t.net().map_or(0, |net| net.count());
        let count: usize = self.transforms.iter().map(layers).sum();
        if count > MAX_STEPS {
            let problem = format!("{count} transforms and layers, expected at most {MAX_STEPS}");
            return Err(SpecError::new("transforms", problem));
        }
        let mut shapes = Vec::with_capacity(self.transforms.len() + 1);
        let mut shape = self.shape;
        shapes.push(shape);
        for (i, transform) in self.transforms.iter().enumerate() {
            shape = transform.output(shape, self.context, &format!("{i}"))?;
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// The tensors of the flow under `prefix`; at most 2^28 parameters.
    pub fn tensors(&self, prefix: &str) -> Result<Vec<TensorSpec>, SpecError> {
        let shapes = self.check()?;
        let mut tensors = Vec::new();
        for (i, (transform, &shape)) in self.transforms.iter().zip(&shapes).enumerate() {
            tensors.extend(transform.tensors(shape, &format!("{prefix}.{i}"))?);
        }
        let count = |t: &TensorSpec| t.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d));
        let parameters = tensors.iter().map(count).fold(0, usize::saturating_add);
        if parameters > MAX_PARAMETERS {
            let problem = format!("{parameters} parameters, expected at most {MAX_PARAMETERS}");
            return Err(SpecError::new("transforms", problem));
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::spline::SplineSpec;
    use crate::spec::{Degrees, Direction, ElementMap, Factors, Layer, Net};
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
        ElementMap::Spline(SplineSpec::new(bins, bound))
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
        let tensors = Flow::vector(4, 0, transforms).tensors("flow").unwrap();
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
            let error = Flow::vector(4, 0, transforms).check().unwrap_err();
            assert_eq!(error.layer, "1", "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
        let inside = coupling(2, 0, 0, affine(1.0));
        let error = Flow::vector(4, 0, vec![inside]).check().unwrap_err();
        assert_eq!(error.layer, "0.net.0");
        for dim in [0, usize::MAX] {
            let transforms = vec![Transform::Diagonal, Transform::Permutation(vec![])];
            let error = Flow::vector(dim, 0, transforms).check().unwrap_err();
            assert_eq!(error.layer, "dim");
        }
    }

    /// Files of the first release have `dim`; what they say, and so their fingerprint, stays.
    #[test]
    fn a_vector_flow_is_written_with_its_dim() {
        let json = r#"{"dim":3,"context":0,"transforms":["diagonal",{"permutation":[2,0,1]}]}"#;
        let flow: Flow = serde_json::from_str(json).unwrap();
        assert_eq!(flow.shape, Shape::Vector(3));
        assert_eq!(serde_json::to_string(&flow).unwrap(), json);
        let map = Flow {
            shape: Shape::square(2, 4),
            base: Base::Logistic,
            context: 0,
            transforms: vec![Transform::Squeeze],
        };
        let back: Flow = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        assert_eq!(back, map);
        let both = json.replacen("3", "3,\"shape\":{\"vector\":3}", 1);
        assert!(serde_json::from_str::<Flow>(&both).is_err());
    }

    #[test]
    fn squeeze_and_split_change_what_is_active() {
        let flow = Flow {
            shape: Shape::square(1, 8),
            base: Base::Normal,
            context: 0,
            transforms: vec![
                Transform::Squeeze,
                Transform::Linear(Factors::Dense),
                Transform::Split { keep: 2 },
                Transform::Diagonal,
            ],
        };
        let shapes = flow.check().unwrap();
        let four = Shape::square(4, 4);
        let two = Shape::square(2, 4);
        assert_eq!(shapes, [Shape::square(1, 8), four, four, two, two]);
        let tensors = flow.tensors("flow").unwrap();
        assert_eq!(tensors[0].shape, [4, 4]);
        assert_eq!(tensors[1].shape, [2]);
    }

    #[test]
    fn an_autoregressive_net_must_not_see_the_future() {
        let transform = |output: Vec<u32>| Transform::Autoregressive {
            net: Net {
                input: Shape::Vector(2),
                context: 0,
                layers: vec![Layer::Linear {
                    outputs: 2,
                    degrees: Some(Degrees {
                        input: vec![1, 2],
                        output,
                    }),
                }],
            },
            map: ElementMap::Additive,
            one_pass: Direction::Normalise,
            order: vec![],
        };
        let check = |t| Flow::vector(2, 0, vec![t]).check();
        assert!(check(transform(vec![0, 1])).is_ok());
        let error = check(transform(vec![1, 1])).unwrap_err();
        assert!(error.problem.contains("parameters of element 0"), "{error}");
    }

    #[test]
    fn the_logistic_base_has_unit_mass() {
        let h = 1e-2;
        let at = |i: i32| h * (f64::from(i) + 0.5);
        for base in [Base::Normal, Base::Logistic] {
            let mass: f64 = (-5000..5000)
                .map(|i| h * libm::exp(base.log_density(at(i))))
                .sum();
            assert!((mass - 1.0).abs() < 1e-9, "{base:?} {mass}");
        }
    }
}
