//! Continuous flows in training: equal steps of the classical Runge-Kutta rule, through which gradients pass
//! exactly, with traces by forward-mode derivatives, exact or estimated. The engine solves the same equation with
//! adaptive steps. On the way the regularisers of Finlay et al. (2020, "How to train your neural ODE") are integrated.

use super::flow::{Follow, Followed, Regularisers};
use super::{activation, degree_mask};
use crate::ops;
use crate::params::Parameters;
use candle_core::{D, Result, Tensor};
use galgen_core::math::act::Act;
use galgen_core::spec::{Continuous, Layer, Shape, Trace, TraceNoise, Velocity};

/// Steps from data to noise.
const STEPS: usize = 16;

/// Follows a batch `x` `[b, n]` to the end of transform number `index` of its flow; the tensors of the velocity's net are
/// under `path`.
pub(super) fn normalise(
    spec: &Continuous,
    index: usize,
    path: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
    follow: Follow,
) -> Result<Followed> {
    let directions = match (&spec.velocity, spec.trace) {
        (Velocity::Net(_), Trace::Exact) => {
            let unit = Tensor::eye(x.dim(1)?, x.dtype(), x.device())?;
            Some(unit.unsqueeze(0)?.repeat((x.dim(0)?, 1, 1))?)
        }
        (Velocity::Net(_), Trace::Hutchinson) => Some(signs(index, x, follow.noise)?),
        // Its trace has a formula.
        (Velocity::Planar { .. }, _) => None,
    };
    let field = Field {
        spec,
        path,
        parameters,
        context,
        directions,
        regularise: follow.regularise,
    };
    let h = 1.0 / STEPS as f64;
    let mut x = x.clone();
    let zero = Tensor::zeros(x.dim(0)?, x.dtype(), x.device())?;
    let mut log_det = zero.clone();
    let mut regularisers = follow.regularise.then(|| Regularisers {
        kinetic_energy: zero.clone(),
        jacobian: zero,
    });
    for i in 0..STEPS {
        let t = i as f64 * h;
        let a = field.slope(&x, t)?;
        let b = field.slope(&(&x + (&a.velocity * (0.5 * h))?)?, t + 0.5 * h)?;
        let c = field.slope(&(&x + (&b.velocity * (0.5 * h))?)?, t + 0.5 * h)?;
        let d = field.slope(&(&x + (&c.velocity * h)?)?, t + h)?;
        let mean = |a: Tensor, b: Tensor, c: Tensor, d: Tensor| -> Result<Tensor> {
            ((a + ((b + c)? * 2.0)?)? + d)? * (h / 6.0)
        };
        x = (x + mean(a.velocity, b.velocity, c.velocity, d.velocity)?)?;
        log_det = (log_det + mean(a.trace, b.trace, c.trace, d.trace)?)?;
        if let (Some(sum), Some(a), Some(b), Some(c), Some(d)) = (
            &mut regularisers,
            a.densities,
            b.densities,
            c.densities,
            d.densities,
        ) {
            let [energy, jacobian] = [&sum.kinetic_energy, &sum.jacobian];
            *sum = Regularisers {
                kinetic_energy: (energy
                    + mean(
                        a.kinetic_energy,
                        b.kinetic_energy,
                        c.kinetic_energy,
                        d.kinetic_energy,
                    )?)?,
                jacobian: (jacobian + mean(a.jacobian, b.jacobian, c.jacobian, d.jacobian)?)?,
            };
        }
    }
    Ok(Followed {
        z: x,
        log_det,
        regularisers,
    })
}

/// The signs of each item for a transform `[b, 1, n]`.
fn signs(index: usize, x: &Tensor, noise: &[TraceNoise]) -> Result<Tensor> {
    let (b, n) = x.dims2()?;
    if !noise.is_empty() && noise.len() != b {
        candle_core::bail!(
            "noise of {} traces, expected {b}, one for each item",
            noise.len()
        );
    }
    let mut signs = vec![0.0; b * n];
    for (item, signs) in signs.chunks_exact_mut(n).enumerate() {
        let noise = noise.get(item).copied().unwrap_or_default();
        noise.fill(index, signs);
    }
    Tensor::from_vec(signs, (b, 1, n), x.device())?.to_dtype(x.dtype())
}

struct Field<'a> {
    spec: &'a Continuous,
    path: &'a str,
    parameters: &'a Parameters,
    context: Option<&'a Tensor>,
    /// Along which derivatives are taken `[b, directions, n]`: all of the unit matrix, or signs.
    directions: Option<Tensor>,
    regularise: bool,
}

/// What a field is at a point of each item.
struct Slope {
    /// `[b, n]`
    velocity: Tensor,
    /// Of its Jacobian `[b]`.
    trace: Tensor,
    /// What the regularisers are integrals of, if they are asked for.
    densities: Option<Regularisers>,
}

impl Field<'_> {
    fn slope(&self, x: &Tensor, t: f64) -> Result<Slope> {
        let (b, n) = x.dims2()?;
        let mut time = vec![0.0; self.spec.time_len()];
        self.spec.time(t, &mut time);
        let time = Tensor::new(time, x.device())?.to_dtype(x.dtype())?;
        let time = time.unsqueeze(0)?.repeat((b, 1))?;
        let densities = |velocity: &Tensor, jacobian: &dyn Fn() -> Result<Tensor>| {
            let densities = || -> Result<Regularisers> {
                Ok(Regularisers {
                    kinetic_energy: velocity.sqr()?.sum(1)?,
                    jacobian: jacobian()?,
                })
            };
            self.regularise.then(densities).transpose()
        };
        match &self.spec.velocity {
            Velocity::Net(net) => {
                let seen = match self.context {
                    Some(context) => Tensor::cat(&[&time, context], 1)?,
                    None => time,
                };
                let directions = self.directions.as_ref().expect("a net has directions");
                let start = Dual {
                    value: x.clone(),
                    slopes: directions.clone(),
                };
                let end = self.sequence(&net.layers, "", start, &seen)?;
                // With signs e the squares of J e, whose mean is that of all elements of J.
                let square = || end.slopes.sqr()?.flatten_from(1)?.sum(1);
                Ok(Slope {
                    trace: (&end.slopes * directions)?.flatten_from(1)?.sum(1)?,
                    densities: densities(&end.value, &square)?,
                    velocity: end.value,
                })
            }
            Velocity::Planar { width, net } => {
                let raw = super::forward(net, self.path, self.parameters, &time, self.context)?;
                let part = |start: usize| raw.narrow(1, start, width * n)?.reshape((b, *width, n));
                let (w, u) = (part(0)?, part(width * n)?);
                let bias = raw.narrow(1, 2 * width * n, *width)?;
                let h = (w.broadcast_mul(&x.unsqueeze(1)?)?.sum(2)? + bias)?.tanh()?;
                let velocity = u.broadcast_mul(&h.unsqueeze(2)?)?.mean(1)?;
                let slope = h.sqr()?.affine(-1.0, 1.0)?;
                // J = the mean over k of slope_k u_k w_k^T: |J|^2 from the products of all pairs of neurons.
                let square = || {
                    let pushes = u.broadcast_mul(&slope.unsqueeze(2)?)?;
                    let pairs = |a: &Tensor| a.matmul(&a.transpose(1, 2)?.contiguous()?);
                    let squares = (pairs(&pushes)? * pairs(&w.contiguous()?)?)?;
                    squares.flatten_from(1)?.sum(1)? / (width * width) as f64
                };
                Ok(Slope {
                    trace: ((&w * &u)?.sum(2)? * &slope)?.mean(1)?,
                    densities: densities(&velocity, &square)?,
                    velocity,
                })
            }
        }
    }

    fn sequence(
        &self,
        layers: &[Layer],
        stem: &str,
        start: Dual,
        context: &Tensor,
    ) -> Result<Dual> {
        let mut dual = start;
        for (i, layer) in layers.iter().enumerate() {
            dual = self.layer(layer, &format!("{stem}{i}"), dual, context)?;
        }
        Ok(dual)
    }

    fn layer(&self, layer: &Layer, path: &str, x: Dual, context: &Tensor) -> Result<Dual> {
        let tensor = |name: &str| self.parameters.get(&format!("{}.{path}.{name}", self.path));
        let ends = |branches: &[Vec<Layer>]| -> Result<Vec<Dual>> {
            let run = |(b, layers): (usize, &Vec<Layer>)| {
                self.sequence(layers, &format!("{path}.{b}."), x.clone(), context)
            };
            branches.iter().enumerate().map(run).collect()
        };
        let (b, directions, features) = x.slopes.dims3()?;
        match layer {
            Layer::Linear { outputs, degrees } => {
                let mut weight = tensor("weight")?.clone();
                if let Some(degrees) = degrees {
                    weight = (&weight * degree_mask(degrees, &weight)?)?;
                }
                let weight = weight.t()?;
                let slopes = x
                    .slopes
                    .reshape((b * directions, features))?
                    .matmul(&weight)?;
                Ok(Dual {
                    value: x.value.matmul(&weight)?.broadcast_add(tensor("bias")?)?,
                    slopes: slopes.reshape((b, directions, *outputs))?,
                })
            }
            Layer::Activation(act) => {
                x.times(activation(*act, &x.value)?, derivative(*act, &x.value)?)
            }
            Layer::Scale(factor) => Ok(Dual {
                value: (x.value * f64::from(*factor))?,
                slopes: (x.slopes * f64::from(*factor))?,
            }),
            Layer::Gate => {
                let half = features / 2;
                let (a, gate) = (x.narrow(0, half)?, x.narrow(half, half)?);
                let sigmoid = activation(Act::Sigmoid, &gate.value)?;
                let slope = (&a.value * derivative(Act::Sigmoid, &gate.value)?)?;
                let gated = a.slopes.broadcast_mul(&sigmoid.unsqueeze(1)?)?;
                let slopes = (gated + gate.slopes.broadcast_mul(&slope.unsqueeze(1)?)?)?;
                Ok(Dual {
                    value: (a.value * sigmoid)?,
                    slopes,
                })
            }
            Layer::AppendContext => {
                let none = Tensor::zeros(
                    (b, directions, context.dim(1)?),
                    x.slopes.dtype(),
                    x.slopes.device(),
                )?;
                Ok(Dual {
                    value: Tensor::cat(&[&x.value, context], 1)?,
                    slopes: Tensor::cat(&[&x.slopes, &none], 2)?,
                })
            }
            Layer::Slice { start, len } => x.narrow(*start, *len),
            Layer::Reshape(Shape::Vector(_)) => Ok(x),
            Layer::Sum(branches) => {
                let mut ends = ends(branches)?.into_iter();
                let first = ends.next().expect("a checked spec has a branch");
                ends.try_fold(first, |sum, term| {
                    Ok(Dual {
                        value: (sum.value + term.value)?,
                        slopes: (sum.slopes + term.slopes)?,
                    })
                })
            }
            Layer::Concat(branches) => {
                let ends = ends(branches)?;
                let values: Vec<_> = ends.iter().map(|d| &d.value).collect();
                let slopes: Vec<_> = ends.iter().map(|d| &d.slopes).collect();
                Ok(Dual {
                    value: Tensor::cat(&values, 1)?,
                    slopes: Tensor::cat(&slopes, 2)?,
                })
            }
            Layer::GroupNorm { .. }
            | Layer::LayerNorm { .. }
            | Layer::BipolarElu
            | Layer::ConvTranspose2d { .. }
            | Layer::DepthwiseConv2d { .. }
            | Layer::ConcatElu
            | Layer::AppendOnes
            | Layer::Shift { .. }
            | Layer::Conv2d { .. }
            | Layer::UpsampleNearest { .. }
            | Layer::Reshape(Shape::Map { .. }) => {
                candle_core::bail!("{path}: not a layer of a velocity field")
            }
        }
    }
}

/// Values `[b, features]` and their derivatives along directions `[b, directions, features]`.
#[derive(Clone)]
struct Dual {
    value: Tensor,
    slopes: Tensor,
}

impl Dual {
    fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        Ok(Dual {
            value: self.value.narrow(1, start, len)?.contiguous()?,
            slopes: self.slopes.narrow(D::Minus1, start, len)?.contiguous()?,
        })
    }

    /// A function of each value, with its derivative there.
    fn times(&self, value: Tensor, derivative: Tensor) -> Result<Self> {
        Ok(Dual {
            value,
            slopes: self.slopes.broadcast_mul(&derivative.unsqueeze(1)?)?,
        })
    }
}

/// The derivative of an activation, itself differentiable.
fn derivative(act: Act, x: &Tensor) -> Result<Tensor> {
    let positive = || x.gt(0.0)?.to_dtype(x.dtype());
    let sigmoid = || ops::activate(x, ops::Activation::Sigmoid);
    match act {
        Act::Relu => positive(),
        Act::LeakyRelu { slope } => positive()?.affine(1.0 - f64::from(slope), f64::from(slope)),
        Act::Elu => x.minimum(&x.zeros_like()?)?.exp(),
        Act::Silu => {
            let s = sigmoid()?;
            &s + ((x * &s)? * s.affine(-1.0, 1.0)?)?
        }
        Act::Tanh => x.tanh()?.sqr()?.affine(-1.0, 1.0),
        Act::Sigmoid => {
            let s = sigmoid()?;
            &s * s.affine(-1.0, 1.0)?
        }
        Act::Softplus => sigmoid(),
        Act::Asinh => (x.sqr()? + 1.0)?.sqrt()?.recip(),
    }
}
