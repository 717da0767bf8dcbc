//! Continuous flows in training: equal steps of the classical Runge-Kutta rule, through which gradients pass
//! exactly, and the exact trace by forward-mode derivatives. The engine solves the same equation with adaptive steps.

use super::{activation, degree_mask};
use crate::ops;
use crate::params::Parameters;
use candle_core::{D, Result, Tensor};
use galgen_core::math::act::Act;
use galgen_core::spec::{Continuous, Layer, Shape, Velocity};

/// Steps from data to noise.
const STEPS: usize = 16;

/// z and ln |det dz/dx| of a batch `x` `[b, n]`; the tensors of the velocity's net are under `path`.
pub(super) fn normalise(
    spec: &Continuous,
    path: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let field = Field {
        spec,
        path,
        parameters,
        context,
    };
    let h = 1.0 / STEPS as f64;
    let mut x = x.clone();
    let mut log_det = Tensor::zeros(x.dim(0)?, x.dtype(), x.device())?;
    for i in 0..STEPS {
        let t = i as f64 * h;
        let a = field.slope(&x, t)?;
        let b = field.slope(&(&x + (&a.0 * (0.5 * h))?)?, t + 0.5 * h)?;
        let c = field.slope(&(&x + (&b.0 * (0.5 * h))?)?, t + 0.5 * h)?;
        let d = field.slope(&(&x + (&c.0 * h)?)?, t + h)?;
        let mean = |a: Tensor, b: Tensor, c: Tensor, d: Tensor| -> Result<Tensor> {
            ((a + ((b + c)? * 2.0)?)? + d)? * (h / 6.0)
        };
        x = (x + mean(a.0, b.0, c.0, d.0)?)?;
        log_det = (log_det + mean(a.1, b.1, c.1, d.1)?)?;
    }
    Ok((x, log_det))
}

struct Field<'a> {
    spec: &'a Continuous,
    path: &'a str,
    parameters: &'a Parameters,
    context: Option<&'a Tensor>,
}

impl Field<'_> {
    /// Velocity `[b, n]` and trace of its Jacobian `[b]`.
    fn slope(&self, x: &Tensor, t: f64) -> Result<(Tensor, Tensor)> {
        let (b, n) = x.dims2()?;
        let mut time = vec![0.0; self.spec.time_len()];
        self.spec.time(t, &mut time);
        let time = Tensor::new(time, x.device())?.to_dtype(x.dtype())?;
        let time = time.unsqueeze(0)?.repeat((b, 1))?;
        match &self.spec.velocity {
            Velocity::Net(net) => {
                let seen = match self.context {
                    Some(context) => Tensor::cat(&[&time, context], 1)?,
                    None => time,
                };
                let unit = Tensor::eye(n, x.dtype(), x.device())?;
                let start = Dual {
                    value: x.clone(),
                    slopes: unit.unsqueeze(0)?.repeat((b, 1, 1))?,
                };
                let end = self.sequence(&net.layers, "", start, &seen)?;
                let trace = (end.slopes * unit.unsqueeze(0)?.repeat((b, 1, 1))?)?;
                Ok((end.value, trace.flatten_from(1)?.sum(1)?))
            }
            Velocity::Planar { width, net } => {
                let raw = super::forward(net, self.path, self.parameters, &time, self.context)?;
                let part = |start: usize| raw.narrow(1, start, width * n)?.reshape((b, *width, n));
                let (w, u) = (part(0)?, part(width * n)?);
                let bias = raw.narrow(1, 2 * width * n, *width)?;
                let h = (w.broadcast_mul(&x.unsqueeze(1)?)?.sum(2)? + bias)?.tanh()?;
                let velocity = u.broadcast_mul(&h.unsqueeze(2)?)?.mean(1)?;
                let trace = ((w * u)?.sum(2)? * h.sqr()?.affine(-1.0, 1.0)?)?.mean(1)?;
                Ok((velocity, trace))
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
