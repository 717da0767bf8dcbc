//! The maps of single elements, from data to noise, with gradients.

use crate::ops;
use candle_core::{D, DType, Result, Tensor};
use galgen_core::math::spline::{Knots, MIN_BIN, MIN_DERIVATIVE, SOFT_CLIP, SplineSpec};
use galgen_core::spec::{ElementMap, MIXTURE_LOG_SCALE, SIGMOID_OFFSET, Scale};

/// z and ln |dz/dx| of each element `[b, n]`, with raw parameters `[b, n, map.parameters()]`.
pub(super) fn normalise(map: &ElementMap, x: &Tensor, raw: &Tensor) -> Result<(Tensor, Tensor)> {
    let parameter = |p: usize| raw.narrow(2, p, 1)?.squeeze(2);
    match map {
        ElementMap::Affine { bound } => {
            let s = log_scale(&Scale::Tanh { bound: *bound }, &parameter(1)?)?;
            let z = (x.sub(&parameter(0)?)? * s.neg()?.exp()?)?;
            Ok((z, s.neg()?))
        }
        ElementMap::Additive => Ok((x.sub(&parameter(0)?)?, x.zeros_like()?)),
        ElementMap::ScaleShift(scale) => {
            let s = log_scale(scale, &parameter(1)?)?;
            Ok(((x.mul(&s.exp()?)? + parameter(0)?)?, s))
        }
        ElementMap::ShiftScale(scale) => {
            let s = log_scale(scale, &parameter(1)?)?;
            Ok(((x.add(&parameter(0)?)? * s.exp()?)?, s))
        }
        ElementMap::Spline(spec) => spline(x, raw, spec),
        ElementMap::LogisticMixture { components } => mixture(x, raw, *components),
    }
}

fn log_scale(scale: &Scale, raw: &Tensor) -> Result<Tensor> {
    match *scale {
        Scale::Tanh { bound } => (raw * (1.0 / bound))?.tanh()? * bound,
        Scale::SoftClip { bound } => soft_clip(raw, bound),
        Scale::Sigmoid { floor } => {
            let log_sigmoid = softplus(&raw.affine(-1.0, -SIGMOID_OFFSET)?)?.neg()?;
            match floor == 0.0 {
                true => Ok(log_sigmoid),
                false => (log_sigmoid.exp()? + floor)?.log(),
            }
        }
        Scale::Softplus { floor } => (softplus(raw)? + floor)?.log(),
    }
}

fn softplus(x: &Tensor) -> Result<Tensor> {
    ops::activate(&x.contiguous()?, ops::Activation::Softplus)
}

/// x / (1 + |x| / bound)
fn soft_clip(x: &Tensor, bound: f64) -> Result<Tensor> {
    x / x.abs()?.affine(1.0 / bound, 1.0)?
}

/// logit F(x) of a mixture of logistics, by the logarithms of F and 1 - F.
fn mixture(x: &Tensor, raw: &Tensor, k: usize) -> Result<(Tensor, Tensor)> {
    let part = |i: usize| raw.narrow(2, i * k, k)?.contiguous();
    let logits = part(0)?;
    let log_weights = logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(2)?)?;
    let s = soft_clip(&part(2)?, MIXTURE_LOG_SCALE)?;
    let t = (x.unsqueeze(2)?.broadcast_sub(&part(1)?)? * s.neg()?.exp()?)?;
    let (up, down) = (softplus(&t)?, softplus(&t.neg()?)?);
    let below = (&log_weights - &down)?.log_sum_exp(D::Minus1)?;
    let above = (&log_weights - &up)?.log_sum_exp(D::Minus1)?;
    let density = (((log_weights - s)? - up)? - down)?.log_sum_exp(D::Minus1)?;
    let z = (&below - &above)?;
    Ok((z, ((density - below)? - above)?))
}

/// The rational-quadratic spline of `galgen_core::math::spline` on a batch: x `[b, n]`, raw
/// `[b, n, 3 bins - 1]`. Points outside are clamped before the spline and selected after it, so that
/// no gradient meets an infinity.
fn spline(x: &Tensor, raw: &Tensor, spec: &SplineSpec) -> Result<(Tensor, Tensor)> {
    let k = spec.bins;
    let (b, n) = x.dims2()?;
    let bound = spec.bound;
    let outside = x.abs()?.ge(bound)?;
    let inside = x.clamp(-bound, bound)?;

    let (wx, knots_x) = knots(&raw.narrow(2, 0, k)?, spec)?;
    let (wy, knots_y) = knots(&raw.narrow(2, k, k)?, spec)?;
    let slopes = raw.narrow(2, 2 * k, k - 1)?.contiguous()?;
    let slopes = match spec.knots {
        Knots::Floored => {
            (softplus(&(slopes + SplineSpec::derivative_offset())?)? + MIN_DERIVATIVE)?
        }
        Knots::SoftClipped => soft_clip(&slopes, SOFT_CLIP)?.exp()?,
    };
    let one = Tensor::ones((b, n, 1), x.dtype(), x.device())?;
    let slopes = Tensor::cat(&[&one, &slopes, &one], 2)?;

    // Bin = number of inner knots at or left of x; a constant for the gradient.
    let column = inside.unsqueeze(2)?;
    let bin = column
        .broadcast_ge(&knots_x.narrow(2, 1, k - 1)?)?
        .to_dtype(DType::U32)?
        .sum_keepdim(D::Minus1)?;
    let pick = |t: &Tensor, index: &Tensor| t.contiguous()?.gather(index, 2)?.squeeze(2);
    let next = (&bin + 1.0)?;
    let (width, height) = (pick(&wx, &bin)?, pick(&wy, &bin)?);
    let (x0, y0) = (pick(&knots_x, &bin)?, pick(&knots_y, &bin)?);
    let (d0, d1) = (pick(&slopes, &bin)?, pick(&slopes, &next)?);

    let s = (&height / &width)?;
    let t = ((&inside - &x0)? / &width)?.clamp(0.0, 1.0)?;
    let u = t.affine(-1.0, 1.0)?;
    let r = (&t * &u)?;
    let curve = ((&d0 + &d1)? - (&s * 2.0)?)?;
    let denominator = (&s + (&curve * &r)?)?;
    let value = (&y0 + ((&height * ((&s * t.sqr()?)? + (&d0 * &r)?)?)? / &denominator)?)?;
    let numerator =
        (s.sqr()? * (((&d1 * t.sqr()?)? + (&s * &r)?.affine(2.0, 0.0)?)? + (&d0 * u.sqr()?)?)?)?;
    let log_slope = (numerator.log()? - (denominator.log()? * 2.0)?)?;
    Ok((
        outside.where_cond(x, &value)?,
        outside.where_cond(&log_slope.zeros_like()?, &log_slope)?,
    ))
}

/// Bin sizes `[b, n, k]` and their left edges `[b, n, k]` on [-bound, bound].
fn knots(raw: &Tensor, spec: &SplineSpec) -> Result<(Tensor, Tensor)> {
    let (k, bound) = (raw.dim(2)?, spec.bound);
    let raw = raw.contiguous()?;
    let (raw, least) = match spec.knots {
        Knots::Floored => (raw, MIN_BIN),
        Knots::SoftClipped => (soft_clip(&raw, 0.5 * SOFT_CLIP)?, 0.0),
    };
    let fraction = candle_nn::ops::softmax(&raw, 2)?;
    let sizes = fraction.affine(2.0 * bound * (1.0 - least * k as f64), 2.0 * bound * least)?;
    let edges = ((sizes.cumsum(2)? - &sizes)? - bound)?;
    Ok((sizes, edges))
}
