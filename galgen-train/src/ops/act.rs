//! Activations, alone or with a bias per channel in front, as single operations with exact derivatives.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::bias::channel_sum;
use super::math::Math;
use super::real::{Real, by_type, dispatch};
use super::threads::for_chunks;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

/// A pointwise function of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// The identity: a plain bias.
    Identity,
    /// `x sigmoid(x)`; Elfwing, Uchibe & Doya 2018.
    Silu,
    /// `ln(1 + e^x)`, without overflow.
    Softplus,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `x` above zero, `slope * x` elsewhere; the derivative at zero is `slope`.
    LeakyRelu(f64),
    /// `x` above zero, `e^x - 1` elsewhere; Clevert, Unterthiner & Hochreiter 2016.
    Elu,
}

/// `act(x)` elementwise, f32 (relative error below 3e-7) or f64 (libm). Differentiable twice.
pub fn activate(x: &Tensor, act: Activation) -> Result<Tensor> {
    let zero = Tensor::zeros(1, x.dtype(), x.device())?;
    let y = bias_activate(&x.reshape((1, 1, (), 1))?, &zero, act)?;
    y.reshape(x.shape())
}

/// `act(x[b,c,h,w] + bias[c])`: one pass forward, one backward. Differentiable twice.
pub fn bias_activate(x: &Tensor, bias: &Tensor, act: Activation) -> Result<Tensor> {
    let (_, c, _, _) = x.dims4()?;
    if bias.dims() != [c] {
        bail!(
            "bias_activate: maps {:?} need a bias of {c} values, found {:?}",
            x.shape(),
            bias.shape()
        );
    }
    x.contiguous()?
        .apply_op2(&bias.contiguous()?, BiasAct { act, order: 0 })
}

/// `silu(x + bias)`; see [`bias_activate`].
pub fn bias_silu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    bias_activate(x, bias, Activation::Silu)
}

/// `x[b,c,h,w] + bias[c]`; see [`bias_activate`].
pub fn bias_add(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    bias_activate(x, bias, Activation::Identity)
}

/// The `order`-th derivative of an activation at `x + bias`.
struct BiasAct {
    act: Activation,
    order: u8,
}

/// `g * act^(order)(x + bias)`.
struct Scaled {
    act: Activation,
    order: u8,
}

impl CustomOp2 for BiasAct {
    fn name(&self) -> &'static str {
        "bias and activation"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(x, self.name(), T => {
            let y = apply::<T>(None, T::slice(x, lx)?, T::slice(b, lb)?, lx.dims(), self.act, self.order);
            Ok((T::storage(y), lx.shape().clone()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        b: &CudaStorage,
        lb: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = cuda::bias_act(None, (x, lx), (b, lb), self.act, self.order)?;
        Ok((y, lx.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gx = scaled(g, x, b, self.act, self.order + 1)?;
        let gb = b.track_op().then(|| channel_sum(&gx)).transpose()?;
        Ok((x.track_op().then_some(gx), gb))
    }
}

fn scaled(g: &Tensor, x: &Tensor, b: &Tensor, act: Activation, order: u8) -> Result<Tensor> {
    if act == Activation::Identity && order == 1 {
        return Ok(g.clone());
    }
    g.contiguous()?.apply_op3(x, b, Scaled { act, order })
}

impl CustomOp3 for Scaled {
    fn name(&self) -> &'static str {
        "gradient of an activation"
    }
    fn cpu_fwd(
        &self,
        g: &CpuStorage,
        lg: &Layout,
        x: &CpuStorage,
        lx: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_type!(x, self.name(), T => {
            let (g, x, b) = (T::slice(g, lg)?, T::slice(x, lx)?, T::slice(b, lb)?);
            Ok((T::storage(apply::<T>(Some(g), x, b, lx.dims(), self.act, self.order)), lx.shape().clone()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        g: &CudaStorage,
        lg: &Layout,
        x: &CudaStorage,
        lx: &Layout,
        b: &CudaStorage,
        lb: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = cuda::bias_act(Some((g, lg)), (x, lx), (b, lb), self.act, self.order)?;
        Ok((y, lx.shape().clone()))
    }
    fn bwd(
        &self,
        g: &Tensor,
        x: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gg: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dg = scaled(gg, x, b, self.act, self.order)?;
        if self.order >= 2 {
            bail!("activations are differentiable twice, a third derivative was asked for");
        }
        let dx = scaled(&gg.mul(g)?, x, b, self.act, self.order + 1)?;
        let db = b.track_op().then(|| channel_sum(&dx)).transpose()?;
        Ok((Some(dg), Some(dx), db))
    }
}

/// `f(x + b)`, or `g * f(x + b)`, where `f` is the `order`-th derivative of `act`.
fn apply<T: Math>(
    g: Option<&[T]>,
    x: &[T],
    b: &[T],
    dims: &[usize],
    act: Activation,
    order: u8,
) -> Vec<T> {
    let one = T::of(1.0);
    let two = T::of(2.0);
    let zero = T::default();
    macro_rules! go {
        ($f:expr) => {
            run(g, x, b, dims, $f)
        };
    }
    use Activation::*;
    match (act, order) {
        (Identity, 0) => go!(
            #[inline(always)]
            |u: T| u
        ),
        (Identity, 1) => go!(
            #[inline(always)]
            |_: T| one
        ),
        (Identity | LeakyRelu(_), 2..) => go!(
            #[inline(always)]
            |_: T| zero
        ),
        (Silu, 0) => go!(
            #[inline(always)]
            |u: T| u * u.sigmoid()
        ),
        (Silu, 1) => go!(
            #[inline(always)]
            |u: T| {
                let s = u.sigmoid();
                s * (one + u * (one - s))
            }
        ),
        (Silu, _) => go!(
            #[inline(always)]
            |u: T| {
                let s = u.sigmoid();
                s * (one - s) * (two + u * (one - two * s))
            }
        ),
        (Softplus, 0) => go!(
            #[inline(always)]
            |u: T| u.softplus()
        ),
        (Softplus, 1) | (Sigmoid, 0) => go!(
            #[inline(always)]
            |u: T| u.sigmoid()
        ),
        (Softplus, _) | (Sigmoid, 1) => go!(
            #[inline(always)]
            |u: T| {
                let s = u.sigmoid();
                s * (one - s)
            }
        ),
        (Sigmoid, _) => go!(
            #[inline(always)]
            |u: T| {
                let s = u.sigmoid();
                s * (one - s) * (one - two * s)
            }
        ),
        (Tanh, 0) => go!(
            #[inline(always)]
            |u: T| u.tanh_()
        ),
        (Tanh, 1) => go!(
            #[inline(always)]
            |u: T| {
                let t = u.tanh_();
                one - t * t
            }
        ),
        (Tanh, _) => go!(
            #[inline(always)]
            |u: T| {
                let t = u.tanh_();
                zero - two * t * (one - t * t)
            }
        ),
        (LeakyRelu(a), 0) => {
            let a = T::of(a);
            go!(
                #[inline(always)]
                move |u: T| if u > zero { u } else { a * u }
            )
        }
        (LeakyRelu(a), _) => {
            let a = T::of(a);
            go!(
                #[inline(always)]
                move |u: T| if u > zero { one } else { a }
            )
        }
        (Elu, 0) => go!(
            #[inline(always)]
            |u: T| {
                let e = u.min_(zero).expm1_();
                if u > zero { u } else { e }
            }
        ),
        (Elu, 1) => go!(
            #[inline(always)]
            |u: T| {
                let e = u.min_(zero).expm1_();
                if u > zero { one } else { e + one }
            }
        ),
        (Elu, _) => go!(
            #[inline(always)]
            |u: T| {
                let e = u.min_(zero).expm1_();
                if u > zero { zero } else { e + one }
            }
        ),
    }
}

#[inline(always)]
fn run<T: Math>(
    g: Option<&[T]>,
    x: &[T],
    b: &[T],
    dims: &[usize],
    f: impl Fn(T) -> T + Sync,
) -> Vec<T> {
    let map = (dims[2] * dims[3]).max(1);
    let mut out = vec![T::default(); x.len()];
    // One map after the other, as many as make a task worth a thread.
    let task = (65536 / map).max(1) * map;
    for_chunks(&mut out, task, |i, out| {
        dispatch(
            #[inline(always)]
            || {
                for (j, out) in out.chunks_mut(map).enumerate() {
                    let at = i * task + j * map;
                    let b = b[at / map % b.len()];
                    let x = &x[at..at + out.len()];
                    match g {
                        Some(g) => {
                            for ((o, &x), &g) in out.iter_mut().zip(x).zip(&g[at..at + x.len()]) {
                                *o = g * f(x + b);
                            }
                        }
                        None => out.iter_mut().zip(x).for_each(
                            #[inline(always)]
                            |(o, &x)| *o = f(x + b),
                        ),
                    }
                }
            },
        )
    });
    out
}
