//! Lowering of a flow to candle, from data to noise, with gradients.

use super::{continuous, element, forward};
use crate::ops;
use crate::params::Parameters;
use candle_core::{DType, Device, Result, Tensor};
use galgen_core::spec::{
    Base, Direction, ElementMap, Factors, Flow, Net, Padding, Shape, TraceNoise, Transform,
};

/// Added to the variances from which a diagonal starts.
const LEAST_VARIANCE: f64 = 1e-8;

/// What the continuous transforms of a flow are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow<'a> {
    /// Of each item, where a trace is estimated; empty: the default one for all.
    pub noise: &'a [TraceNoise],
    /// Whether the regularisers are computed.
    pub regularise: bool,
}

/// How costly the paths through the continuous transforms of a flow are, of each item `[b]` (Finlay et al. 2020).
#[derive(Clone, Debug)]
pub struct Regularisers {
    /// The integral over the time of the squared length of the velocity.
    pub kinetic_energy: Tensor,
    /// The integral of the sum of the squares of its Jacobian's elements; where the trace is estimated, of the squared
    /// length of the Jacobian times the signs, whose mean is that.
    pub jacobian: Tensor,
}

/// Where a batch arrives.
#[derive(Clone, Debug)]
pub struct Followed {
    /// `[b, dim]`
    pub z: Tensor,
    /// ln |det dz/dx| `[b]`
    pub log_det: Tensor,
    /// If they were asked for; 0 for a flow without continuous transforms.
    pub regularisers: Option<Regularisers>,
}

/// z = flow(x) `[b, dim]` and ln |det dz/dx| `[b]` for a batch `x` `[b, dim]` (maps in planes).
pub fn normalise(
    flow: &Flow,
    prefix: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let followed = follow(flow, prefix, parameters, x, context, Follow::default())?;
    Ok((followed.z, followed.log_det))
}

/// [`normalise`] with what continuous transforms are asked for.
pub fn follow(
    flow: &Flow,
    prefix: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
    follow: Follow,
) -> Result<Followed> {
    let mut state = State::new(flow, prefix, parameters, x, context, follow)?;
    for (i, transform) in flow.transforms.iter().enumerate() {
        state.apply(i, transform)?;
    }
    state.finish()
}

/// ln p of each item `[b]` that has arrived.
pub fn log_prob(base: Base, followed: &Followed) -> Result<Tensor> {
    let Followed { z, log_det, .. } = followed;
    let terms = match base {
        Base::Normal => ((z.sqr()? + (2.0 * std::f64::consts::PI).ln())? * -0.5)?,
        Base::Logistic => {
            let size = z.abs()?;
            let tail = ops::activate(&size.neg()?, ops::Activation::Softplus)?;
            (size.neg()? - (tail * 2.0)?)?
        }
    };
    terms.sum(1)? + log_det
}

/// Sets every [`Transform::Diagonal`] so that what leaves it has mean 0 and deviation 1 on the batch `x` (Kingma and
/// Dhariwal 2018), one after the other.
pub fn initialise(
    flow: &Flow,
    prefix: &str,
    parameters: &Parameters,
    x: &Tensor,
    context: Option<&Tensor>,
) -> Result<()> {
    let mut state = State::new(flow, prefix, parameters, x, context, Follow::default())?;
    for (i, transform) in flow.transforms.iter().enumerate() {
        if matches!(transform, Transform::Diagonal) {
            state.standardise(i)?;
        }
        state.apply(i, transform)?;
        state.x = state.x.detach();
    }
    Ok(())
}

/// A batch on its way through a flow.
struct State<'a> {
    prefix: &'a str,
    parameters: &'a Parameters,
    context: Option<&'a Tensor>,
    follow: Follow<'a>,
    /// The active part `[b, n]`.
    x: Tensor,
    /// Its shape.
    shape: Shape,
    /// What has been split off, the last first.
    finished: Vec<Tensor>,
    log_det: Tensor,
    regularisers: Option<Regularisers>,
}

impl<'a> State<'a> {
    fn new(
        flow: &Flow,
        prefix: &'a str,
        parameters: &'a Parameters,
        x: &Tensor,
        context: Option<&'a Tensor>,
        follow: Follow<'a>,
    ) -> Result<Self> {
        let zero = Tensor::zeros(x.dim(0)?, x.dtype(), x.device())?;
        Ok(State {
            prefix,
            parameters,
            context,
            follow,
            x: x.clone(),
            shape: flow.shape,
            finished: Vec::new(),
            log_det: zero.clone(),
            regularisers: follow.regularise.then(|| Regularisers {
                kinetic_energy: zero.clone(),
                jacobian: zero,
            }),
        })
    }

    fn finish(self) -> Result<Followed> {
        let parts = [vec![self.x], self.finished].concat();
        Ok(Followed {
            z: Tensor::cat(&parts, 1)?,
            log_det: self.log_det,
            regularisers: self.regularisers,
        })
    }

    fn tensor(&self, i: usize, name: &str) -> Result<&'a Tensor> {
        self.parameters.get(&format!("{}.{i}.{name}", self.prefix))
    }

    /// What transform `i` needs beside its weights: made once.
    fn constant(
        &self,
        i: usize,
        name: &str,
        make: impl FnOnce(&Device) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let name = format!("{}.{i}.{name}", self.prefix);
        self.parameters.constant(&name, || make(self.x.device()))
    }

    /// What [`product`] needs for `n` features: below, on and above the diagonal, and the order of the rows.
    fn masks(&self, i: usize, n: usize, order: &[u32]) -> Result<[Tensor; 4]> {
        let mask = |name, keep: fn(usize, usize) -> bool| {
            self.constant(i, name, |on| {
                let values = (0..n * n).map(|at| f32::from(keep(at / n, at % n)));
                let values = values.collect();
                Tensor::from_vec(values, (n, n), on)?.to_dtype(self.x.dtype())
            })
        };
        Ok([
            mask("below", |i, j| i > j)?,
            mask("diagonal", |i, j| i == j)?,
            mask("above", |i, j| i < j)?,
            self.constant(i, "order", |on| Tensor::new(order, on))?,
        ])
    }

    /// Numbers of a feature.
    fn plane(&self) -> usize {
        self.shape.len() / self.shape.features()
    }

    /// The active part `[b, features, plane]`.
    fn features(&self) -> Result<Tensor> {
        self.x.reshape(((), self.shape.features(), self.plane()))
    }

    /// Values `[b, ...]` in a shape of the specification.
    fn shaped(x: &Tensor, shape: Shape) -> Result<Tensor> {
        let b = x.dim(0)?;
        match shape {
            Shape::Vector(n) => x.reshape((b, n)),
            Shape::Map {
                channels,
                height,
                width,
            } => x.reshape((b, channels, height, width)),
        }
    }

    fn set(&mut self, x: &Tensor, log_det: &Tensor) -> Result<()> {
        self.x = x.flatten_from(1)?;
        self.log_det = (&self.log_det + log_det)?;
        Ok(())
    }

    fn standardise(&self, i: usize) -> Result<()> {
        let x = self.features()?.transpose(0, 1)?.flatten_from(1)?;
        let mean = x.mean_keepdim(1)?;
        let variance = (x.broadcast_sub(&mean)?.sqr()?.mean(1)? + LEAST_VARIANCE)?;
        let name = |name: &str| format!("{}.{i}.{name}", self.prefix);
        self.parameters.set(&name("shift"), &mean.squeeze(1)?)?;
        self.parameters
            .set(&name("log_scale"), &(variance.log()? * 0.5)?)
    }

    /// Raw parameters `[b, mapped elements, map.parameters()]` from the net of transform `i`.
    fn raw(&self, i: usize, net: &Net, map: &ElementMap, input: &Tensor) -> Result<Tensor> {
        let path = format!("{}.{i}.net", self.prefix);
        let input = Self::shaped(&input.contiguous()?, net.input)?;
        let raw = forward(net, &path, self.parameters, &input, self.context)?;
        let (b, p) = (raw.dim(0)?, map.parameters());
        let raw = raw.reshape((b, (), p, self.plane()))?.transpose(2, 3)?;
        raw.contiguous()?.reshape((b, (), p))
    }

    fn apply(&mut self, i: usize, transform: &Transform) -> Result<()> {
        let plane = self.plane();
        match transform {
            Transform::Diagonal => {
                let log_scale = self.tensor(i, "log_scale")?;
                let column = |t: &Tensor| t.reshape((1, (), 1));
                let z = self
                    .features()?
                    .broadcast_sub(&column(self.tensor(i, "shift")?)?)?;
                let z = z.broadcast_mul(&column(&log_scale.neg()?.exp()?)?)?;
                self.x = z.flatten_from(1)?;
                let log_det = (log_scale.sum_all()? * plane as f64)?;
                self.log_det = self.log_det.broadcast_sub(&log_det)?;
            }
            Transform::Permutation(order) => {
                let order = self.constant(i, "order", |on| Tensor::new(order.as_slice(), on))?;
                self.x = self.features()?.index_select(&order, 1)?.flatten_from(1)?;
            }
            Transform::Coupling { keep, net, map } => {
                let (all, kept) = (self.shape.len(), keep * plane);
                let passed = self.x.narrow(1, 0, kept)?;
                let rest = self.x.narrow(1, kept, all - kept)?.contiguous()?;
                let raw = self.raw(i, net, map, &passed)?;
                let (mapped, log_det) = element::normalise(map, &rest, &raw)?;
                self.set(&Tensor::cat(&[&passed, &mapped], 1)?, &log_det.sum(1)?)?;
            }
            Transform::Checkerboard { odd, net, map } => {
                let stays =
                    self.constant(i, "stays", |_| checkerboard(self.shape, *odd, &self.x))?;
                let moves = stays.affine(-1.0, 1.0)?;
                let passed = self.x.broadcast_mul(&stays)?;
                let raw = self.raw(i, net, map, &passed)?;
                let (mapped, log_det) = element::normalise(map, &self.x, &raw)?;
                let z = (passed + mapped.broadcast_mul(&moves)?)?;
                self.set(&z, &log_det.broadcast_mul(&moves)?.sum(1)?)?;
            }
            Transform::Autoregressive {
                net,
                map,
                one_pass,
                order: _,
            } => {
                let mut seen = match one_pass {
                    Direction::Normalise => self.x.clone(),
                    Direction::Generate => self.x.zeros_like()?,
                };
                let mut found = element::normalise(map, &self.x, &self.raw(i, net, map, &seen)?)?;
                if *one_pass == Direction::Generate {
                    // Each pass makes one element more right: after as many as there are, all.
                    for _ in 1..self.shape.len() {
                        seen = found.0;
                        found = element::normalise(map, &self.x, &self.raw(i, net, map, &seen)?)?;
                    }
                }
                self.set(&found.0, &found.1.sum(1)?)?;
            }
            Transform::Linear(factors) => {
                let n = self.shape.features();
                let (matrix, log_det) = match factors {
                    Factors::Dense => dense(self.tensor(i, "weight")?)?,
                    Factors::Lu { order } => {
                        let names = ["lower", "upper", "log_diagonal"];
                        let [lower, upper, diagonal] = names.map(|name| self.tensor(i, name));
                        let masks = self.masks(i, n, order)?;
                        product(lower?, upper?, diagonal?, &masks)?
                    }
                };
                self.x = match self.shape {
                    Shape::Vector(_) => self.x.matmul(&matrix.t()?)?,
                    Shape::Map { .. } => {
                        let map = Self::shaped(&self.x, self.shape)?;
                        let kernel = matrix.contiguous()?.reshape((n, n, 1, 1))?;
                        ops::conv2d(&map, &kernel, 1, Padding::all(0))?.flatten_from(1)?
                    }
                };
                self.log_det = self.log_det.broadcast_add(&(log_det * plane as f64)?)?;
            }
            Transform::LeakyRelu => {
                let x = self.features()?;
                let negative = x.lt(0.0)?.to_dtype(x.dtype())?;
                let log =
                    negative.broadcast_mul(&self.tensor(i, "log_slope")?.reshape((1, (), 1))?)?;
                self.set(&(x * log.exp()?)?, &log.flatten_from(1)?.sum(1)?)?;
            }
            Transform::Logit { alpha } => {
                let (z, log_det) = logit(&self.x, *alpha)?;
                self.set(&z, &log_det)?;
            }
            Transform::Squeeze => {
                let Shape::Map {
                    channels: c,
                    height: h,
                    width: w,
                } = self.shape
                else {
                    candle_core::bail!("a checked Squeeze has a map");
                };
                let blocks = self.x.reshape(&[self.x.dim(0)?, c, h / 2, 2, w / 2, 2])?;
                let x = blocks.permute(vec![0, 1, 3, 5, 2, 4])?.contiguous()?;
                self.x = x.flatten_from(1)?;
                self.shape = Shape::Map {
                    channels: 4 * c,
                    height: h / 2,
                    width: w / 2,
                };
            }
            Transform::Split { keep } => {
                let (all, kept) = (self.shape.len(), keep * plane);
                self.finished.insert(0, self.x.narrow(1, kept, all - kept)?);
                self.x = self.x.narrow(1, 0, kept)?.contiguous()?;
                self.shape = self.shape.with_features(*keep);
            }
            Transform::Planar => {
                let (z, log_det) = self.planar(i)?;
                self.set(&z, &log_det)?;
            }
            Transform::Continuous(spec) => {
                let path = format!("{}.{i}.net", self.prefix);
                let end = continuous::normalise(
                    spec,
                    i,
                    &path,
                    self.parameters,
                    &self.x,
                    self.context,
                    self.follow,
                )?;
                self.set(&end.z, &end.log_det)?;
                if let (Some(sum), Some(own)) = (&mut self.regularisers, end.regularisers) {
                    sum.kinetic_energy = (&sum.kinetic_energy + own.kinetic_energy)?;
                    sum.jacobian = (&sum.jacobian + own.jacobian)?;
                }
            }
        }
        Ok(())
    }

    fn planar(&self, i: usize) -> Result<(Tensor, Tensor)> {
        let (w, scale) = (self.tensor(i, "weight")?, self.tensor(i, "scale")?);
        let along = (w * scale)?.sum_keepdim(0)?;
        let growth = ops::activate(&along, ops::Activation::Softplus)?;
        let push = ((&growth - 1.0)? - &along)?.div(&w.sqr()?.sum_keepdim(0)?)?;
        let u = (scale + w.broadcast_mul(&push)?)?;
        let h = self
            .x
            .matmul(&w.unsqueeze(1)?)?
            .broadcast_add(self.tensor(i, "bias")?)?
            .tanh()?;
        let z = (&self.x + h.broadcast_mul(&u.unsqueeze(0)?)?)?;
        let square = h.sqr()?;
        let slope = (&square + square.affine(-1.0, 1.0)?.broadcast_mul(&growth)?)?;
        Ok((z, slope.log()?.squeeze(1)?))
    }
}

/// 1 where a pixel stays, 0 where it is mapped, `[1, elements]`.
fn checkerboard(shape: Shape, odd: bool, like: &Tensor) -> Result<Tensor> {
    let Shape::Map { height, width, .. } = shape else {
        candle_core::bail!("a checked checkerboard has a map");
    };
    let stays = |i: usize| {
        let pixel = i % (height * width);
        f32::from(((pixel / width + pixel % width) % 2 == 1) == odd)
    };
    let values: Vec<f32> = (0..shape.len()).map(stays).collect();
    Tensor::from_vec(values, (1, shape.len()), like.device())?.to_dtype(like.dtype())
}

/// The logit in f64: near 1, f32 has no digits left.
fn logit(x: &Tensor, alpha: f64) -> Result<(Tensor, Tensor)> {
    let width = 1.0 - 2.0 * alpha;
    let y = x.to_dtype(DType::F64)?.affine(width, alpha)?;
    let y = y.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON)?;
    let (log, log_rest) = (y.log()?, y.affine(-1.0, 1.0)?.log()?);
    let z = (&log - &log_rest)?;
    let log_det = ((log + log_rest)?.neg()? + width.ln())?.sum(1)?;
    Ok((z.to_dtype(x.dtype())?, log_det.to_dtype(x.dtype())?))
}

/// W = P L (U + diag(exp(d))) and ln |det W|; the masks are those of [`State::masks`].
fn product(
    lower: &Tensor,
    upper: &Tensor,
    d: &Tensor,
    [below, unit, above, order]: &[Tensor; 4],
) -> Result<(Tensor, Tensor)> {
    let l = ((lower * below)? + unit)?;
    let diagonal = unit.broadcast_mul(&d.exp()?.unsqueeze(0)?)?;
    let u = ((upper * above)? + diagonal)?;
    Ok((l.matmul(&u)?.index_select(order, 0)?, d.sum_all()?))
}

/// W and ln |det W|, whose gradient is the transposed inverse.
fn dense(weight: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = weight.dim(0)?;
    let rows: Vec<f64> = weight.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let Some((inverse, log_det)) = invert(rows, n) else {
        candle_core::bail!("the matrix of a linear transform has become singular");
    };
    let inverse = Tensor::from_vec(inverse, (n, n), &Device::Cpu)?;
    let inverse = inverse
        .to_device(weight.device())?
        .to_dtype(weight.dtype())?;
    // The sum is n, its gradient the one that is wanted.
    let sum = (weight * inverse.t()?)?.sum_all()?;
    Ok((weight.clone(), (sum + (log_det - n as f64))?))
}

/// Inverse and ln |det| of a matrix by elimination with pivoting.
fn invert(mut a: Vec<f64>, n: usize) -> Option<(Vec<f64>, f64)> {
    let mut inverse: Vec<f64> = (0..n * n).map(|at| f64::from(at / n == at % n)).collect();
    let mut log_det = 0.0;
    for c in 0..n {
        let pivot = (c..n).max_by(|r, s| a[r * n + c].abs().total_cmp(&a[s * n + c].abs()))?;
        for j in 0..n {
            a.swap(c * n + j, pivot * n + j);
            inverse.swap(c * n + j, pivot * n + j);
        }
        let diagonal = a[c * n + c];
        log_det += diagonal.abs().ln();
        for j in 0..n {
            a[c * n + j] /= diagonal;
            inverse[c * n + j] /= diagonal;
        }
        for r in (0..n).filter(|&r| r != c) {
            let factor = a[r * n + c];
            for j in 0..n {
                a[r * n + j] -= factor * a[c * n + j];
                inverse[r * n + j] -= factor * inverse[c * n + j];
            }
        }
    }
    (log_det.is_finite() && inverse.iter().all(|v| v.is_finite())).then_some((inverse, log_det))
}
