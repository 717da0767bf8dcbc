//! Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), in place.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};

use super::math::Math;
use super::real::{Real, by_type, dispatch};
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

/// Settings of one Adam step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Factor on the gradient, such as that of a clipped norm.
    pub scale: f64,
    /// Decoupled weight decay: the parameter shrinks by `lr * weight_decay` of itself.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            scale: 1.0,
            weight_decay: 0.0,
        }
    }
}

impl Adam {
    /// What the moments of `step` are divided by, because they started from zeros: `1 - beta^step`.
    pub(super) fn unbias(&self, step: u64) -> (f64, f64) {
        let one = |beta: f64| 1.0 - beta.powf(step as f64);
        (one(self.beta1), one(self.beta2))
    }
}

/// One step on one parameter, in place; `step` counts from 1.
///
/// `first` and `second` are the moments (zeros before the first step, the shape and type of the parameter). They belong to the
/// caller, who writes them to a checkpoint with `step`; a resumed run then gives the same bits. Any graph that was built
/// from `param` is stale after the call.
pub fn adam_step(
    param: &Var,
    grad: &Tensor,
    first: &Var,
    second: &Var,
    step: u64,
    adam: &Adam,
) -> Result<()> {
    if step == 0
        || [grad.shape(), first.shape(), second.shape()]
            .iter()
            .any(|s| *s != param.shape())
    {
        bail!(
            "adam_step: step counts from 1 (found {step}); parameter {:?}, gradient {:?} and moments {:?}, {:?} must have one shape",
            param.shape(),
            grad.shape(),
            first.shape(),
            second.shape()
        );
    }
    let grad = grad.detach().contiguous()?;
    let (c1, c2) = adam.unbias(step);
    let Adam {
        lr,
        beta1,
        beta2,
        eps,
        scale,
        weight_decay,
    } = *adam;
    first.inplace_op2(
        &grad,
        &Moment {
            beta: beta1,
            scale,
            square: false,
        },
    )?;
    second.inplace_op2(
        &grad,
        &Moment {
            beta: beta2,
            scale,
            square: true,
        },
    )?;
    param.inplace_op3(
        first,
        second,
        &Move {
            keep: 1.0 - lr * weight_decay,
            rate: lr / c1,
            c2,
            eps,
        },
    )
}

/// Moves `average` towards `value`, in place: `decay average + (1 - decay) value`. Both have one shape and type.
pub fn decay_to(average: &Var, value: &Tensor, decay: f64) -> Result<()> {
    if average.shape() != value.shape() {
        bail!(
            "decay_to: an average of {:?} and a value of {:?}",
            average.shape(),
            value.shape()
        );
    }
    let value = value.detach().contiguous()?;
    average.inplace_op2(
        &value,
        &Moment {
            beta: decay,
            scale: 1.0,
            square: false,
        },
    )
}

/// The sum of squares of all elements of `tensors`, which are f32 and on one device.
pub fn squares(tensors: &[&Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if tensors.iter().all(|t| t.device().is_cuda()) {
        return crate::cuda::squares(tensors);
    }
    let one = |t: &&Tensor| Ok(f64::from(t.sqr()?.sum_all()?.to_scalar::<f32>()?));
    tensors.iter().map(one).sum()
}

/// `m = beta m + (1 - beta) scale g`, or with the square of `scale g`.
struct Moment {
    beta: f64,
    scale: f64,
    square: bool,
}

/// `p = keep p - rate m / (sqrt(v / c2) + eps)`.
struct Move {
    keep: f64,
    rate: f64,
    c2: f64,
    eps: f64,
}

impl InplaceOp2 for Moment {
    fn name(&self) -> &'static str {
        "Adam moment"
    }
    fn cpu_fwd(&self, m: &mut CpuStorage, lm: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        by_type!(m, self.name(), T => {
            let (g, m) = (T::slice(g, lg)?, T::slice_mut(m, lm)?);
            let (keep, take) = (T::of(self.beta), T::of(1.0 - self.beta));
            let (scale, square) = (T::of(self.scale), self.square);
            dispatch(#[inline(always)] || for (m, &g) in m.iter_mut().zip(g) {
                let g = scale * g;
                *m = keep * *m + take * if square { g * g } else { g };
            });
            Ok(())
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        m: &mut CudaStorage,
        lm: &Layout,
        g: &CudaStorage,
        lg: &Layout,
    ) -> Result<()> {
        cuda::add_moment((m, lm), (g, lg), self.beta, self.scale, self.square)
    }
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "Adam step"
    }
    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        lp: &Layout,
        m: &CpuStorage,
        lm: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<()> {
        by_type!(p, self.name(), T => {
            let (m, v, p) = (T::slice(m, lm)?, T::slice(v, lv)?, T::slice_mut(p, lp)?);
            let (keep, rate, eps) = (T::of(self.keep), T::of(self.rate), T::of(self.eps));
            let scale = T::of(1.0 / self.c2);
            dispatch(#[inline(always)] || for ((p, &m), &v) in p.iter_mut().zip(m).zip(v) {
                *p = keep * *p - rate * m / ((v * scale).root() + eps);
            });
            Ok(())
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        p: &mut CudaStorage,
        lp: &Layout,
        m: &CudaStorage,
        lm: &Layout,
        v: &CudaStorage,
        lv: &Layout,
    ) -> Result<()> {
        let rule = [self.keep, self.rate, self.c2, self.eps];
        cuda::move_parameter((p, lp), (m, lm), (v, lv), rule)
    }
}
