//! Convolution of maps, with gradients of every order.
//!
//! Three linear maps share one geometry and are each other's gradients: `conv(x, w)`, its transpose in `x`
//! `conv_t(g, w)`, and its transpose in `w` `wgrad(x, g)`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use galgen_core::spec::Padding;

use super::maps::{Padded, Phase, interleave, spread};
use super::real::{Real, by_type};
use super::shift::{Packed, Taps, outer, product};
use super::threads::for_chunks;
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

/// Shapes of one convolution `[b, c, h, w] * [o, c, kh, kw] -> [b, o, oh, ow]`.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    c: usize,
    o: usize,
    kh: usize,
    kw: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    stride: usize,
    top: usize,
    left: usize,
}

/// Cross-correlation `y[b,o,i,j] = sum_{c,u,v} w[o,c,u,v] x[b,c, s i + u - top, s j + v - left]`, zeros outside.
///
/// `x` is `[b, c, h, w]`, `w` is `[o, c, kh, kw]`; the result is `[b, o, oh, ow]` with
/// `oh = (h + top + bottom - kh) / stride + 1`. f32 and f64 on the CPU, candle's own convolution elsewhere.
/// Differentiable to any order. An error names the shapes if channels differ or the kernel exceeds the padded map.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
    let ((_, c, h, wd), (o, wc, kh, kw)) = (x.dims4()?, w.dims4()?);
    let (ph, pw) = (
        h + padding.top + padding.bottom,
        wd + padding.left + padding.right,
    );
    if c != wc || kh > ph || kw > pw || stride == 0 || kh * kw == 0 {
        bail!(
            "conv2d: maps {:?} (padded to {ph} x {pw}) do not fit weights {:?} with stride {stride}; \
             expected [b, c, h, w] and [o, c, kh <= h, kw <= w]",
            x.shape(),
            w.shape()
        );
    }
    let (oh, ow) = ((ph - kh) / stride + 1, (pw - kw) / stride + 1);
    let g = Geometry {
        c,
        o,
        kh,
        kw,
        h,
        w: wd,
        oh,
        ow,
        stride,
        top: padding.top,
        left: padding.left,
    };
    x.contiguous()?.apply_op2(&w.contiguous()?, Conv(g))
}

/// Transpose of [`conv2d`] in its maps: `x` is `[b, o, oh, ow]`, `w` is `[o, c, kh, kw]`, the result `[b, c, h, w]` with
/// `h = (oh - 1) * stride + kh - top - bottom`.
///
/// Known as transposed convolution; weights in the order of candle and PyTorch (`[in, out, kh, kw]`).
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
    let ((_, xo, oh, ow), (o, c, kh, kw)) = (x.dims4()?, w.dims4()?);
    let (fh, fw) = ((oh.max(1) - 1) * stride + kh, (ow.max(1) - 1) * stride + kw);
    let Padding {
        top,
        bottom,
        left,
        right,
    } = padding;
    if xo != o || stride == 0 || fh <= top + bottom || fw <= left + right {
        bail!(
            "conv_transpose2d: maps {:?} do not fit weights {:?} with stride {stride} and {padding:?}; \
             expected [b, o, h, w] and [o, c, kh, kw]",
            x.shape(),
            w.shape()
        );
    }
    let (h, wd) = (fh - top - bottom, fw - left - right);
    let g = Geometry {
        c,
        o,
        kh,
        kw,
        h,
        w: wd,
        oh,
        ow,
        stride,
        top,
        left,
    };
    x.contiguous()?.apply_op2(&w.contiguous()?, ConvT(g))
}

/// Transpose of [`conv2d`] in its weights: `sum_{b,i,j} y[b,o,i,j] x[b,c, s i + u - top, s j + v - left]`, `[o, c, kh, kw]`.
///
/// `x` is `[b, c, h, w]`, `y` (a gradient of the convolution's result) `[b, o, oh, ow]`; `kernel` is `(kh, kw)`.
pub fn conv2d_weight_grad(
    x: &Tensor,
    y: &Tensor,
    kernel: (usize, usize),
    stride: usize,
    padding: Padding,
) -> Result<Tensor> {
    let ((b, c, h, w), (yb, o, oh, ow), (kh, kw)) = (x.dims4()?, y.dims4()?, kernel);
    let Padding {
        top,
        bottom,
        left,
        right,
    } = padding;
    let fits = |n: usize, k: usize, on: usize| stride > 0 && n >= k && (n - k) / stride + 1 == on;
    if b != yb || kh * kw == 0 || !fits(h + top + bottom, kh, oh) || !fits(w + left + right, kw, ow)
    {
        bail!(
            "conv2d_weight_grad: maps {:?} and {:?} do not fit a {kh} x {kw} kernel with stride {stride} and {padding:?}",
            x.shape(),
            y.shape()
        );
    }
    let g = Geometry {
        c,
        o,
        kh,
        kw,
        h,
        w,
        oh,
        ow,
        stride,
        top,
        left,
    };
    x.contiguous()?.apply_op2(&y.contiguous()?, WGrad(g))
}

/// Both gradients of a bilinear op, each only if the graph asks for it.
fn pair(
    a: &Tensor,
    b: &Tensor,
    da: impl FnOnce() -> Result<Tensor>,
    db: impl FnOnce() -> Result<Tensor>,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    Ok((
        a.track_op().then(da).transpose()?,
        b.track_op().then(db).transpose()?,
    ))
}

struct Conv(Geometry);
struct ConvT(Geometry);
struct WGrad(Geometry);

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (g, b) = (&self.0, lx.dims()[0]);
        by_type!(x, self.name(), T => {
            let y = conv::<T>(g, T::slice(x, lx)?, T::slice(w, lw)?);
            Ok((T::storage(y), (b, g.o, g.oh, g.ow).into()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        w: &CudaStorage,
        lw: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, b) = (&self.0, lx.dims()[0]);
        let y = cuda::convolve(x, lx, w, lw, g.on_cuda())?;
        Ok((y, (b, g.o, g.oh, g.ow).into()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gy = gy.contiguous()?;
        pair(
            x,
            w,
            || gy.apply_op2(w, ConvT(self.0)),
            || x.apply_op2(&gy, WGrad(self.0)),
        )
    }
}

impl CustomOp2 for ConvT {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }
    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        ly: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (g, b) = (&self.0, ly.dims()[0]);
        by_type!(y, self.name(), T => {
            let x = conv_t::<T>(g, T::slice(y, ly)?, T::slice(w, lw)?);
            Ok((T::storage(x), (b, g.c, g.h, g.w).into()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &CudaStorage,
        ly: &Layout,
        w: &CudaStorage,
        lw: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (g, b) = (&self.0, ly.dims()[0]);
        let x = cuda::transpose(y, ly, w, lw, g.on_cuda())?;
        Ok((x, (b, g.c, g.h, g.w).into()))
    }
    fn bwd(
        &self,
        y: &Tensor,
        w: &Tensor,
        _: &Tensor,
        gx: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gx = gx.contiguous()?;
        pair(
            y,
            w,
            || gx.apply_op2(w, Conv(self.0)),
            || gx.apply_op2(y, WGrad(self.0)),
        )
    }
}

impl CustomOp2 for WGrad {
    fn name(&self) -> &'static str {
        "conv2d weight gradient"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        y: &CpuStorage,
        ly: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        by_type!(x, self.name(), T => {
            let w = wgrad::<T>(g, T::slice(x, lx)?, T::slice(y, ly)?);
            Ok((T::storage(w), (g.o, g.c, g.kh, g.kw).into()))
        })
    }
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        y: &CudaStorage,
        ly: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let g = &self.0;
        let w = cuda::weight_gradient(x, lx, y, ly, g.on_cuda())?;
        Ok((w, (g.o, g.c, g.kh, g.kw).into()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        gw: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gw = gw.contiguous()?;
        pair(
            x,
            y,
            || y.apply_op2(&gw, ConvT(self.0)),
            || x.apply_op2(&gw, Conv(self.0)),
        )
    }
}

impl Geometry {
    /// The same for the kernels of [`cuda`].
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> cuda::Geometry {
        let Geometry {
            c,
            o,
            kh,
            kw,
            h,
            w,
            oh,
            ow,
            stride,
            top,
            left,
        } = *self;
        let [c, o, kh, kw, h, w, oh, ow, stride, top, left] =
            [c, o, kh, kw, h, w, oh, ow, stride, top, left].map(|n| n as i32);
        cuda::Geometry {
            c,
            o,
            kh,
            kw,
            h,
            w,
            oh,
            ow,
            stride,
            top,
            left,
        }
    }

    /// Taps `(c, ky, kx)` in the order of the weights.
    fn taps(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.c)
            .flat_map(move |c| (0..self.kh).flat_map(move |y| (0..self.kw).map(move |x| (c, y, x))))
    }

    /// Padded copy of `x` for outputs at `(stride i, stride j)`.
    fn padded<T: Real>(&self) -> Padded {
        let s = self.stride;
        Padded {
            c: self.c,
            h: self.h,
            w: self.w,
            top: self.top,
            left: self.left,
            step: s,
            rows: self.oh + (self.kh - 1) / s,
            cols: self.ow + (self.kw - 1) / s,
            group: Padded::group_for::<T>([self.ow]),
        }
    }
}

fn conv<T: Real>(g: &Geometry, x: &[T], w: &[T]) -> Vec<T> {
    let (xn, yn) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let pad = g.padded::<T>();
    let offset: Vec<usize> = g.taps().map(|(c, y, x)| pad.offset(c, y, x)).collect();
    let k = offset.len();
    let packed = Packed::new(g.o, k, |m, kk| w[m * k + kk]);
    let n = pad.images_per_task();
    let mut out = vec![T::default(); x.len() / xn * yn];
    for_chunks(&mut out, n * yn, |i, out| {
        let images = out.len() / yn;
        T::with_scratch(|[src, dense]| {
            pad.fill(&x[i * n * xn..][..images * xn], src);
            let (start, dst_start) = pad.starts::<T>(images, g.o, g.oh, g.ow);
            let taps = Taps {
                src,
                offset: &offset,
                start: &start,
            };
            if pad.group == 1 {
                return product(&packed, taps, out, &dst_start, g.oh * g.ow);
            }
            dense.resize(images.next_multiple_of(pad.group) * yn, T::default());
            product(&packed, taps, dense, &dst_start, g.oh * g.ow * pad.group);
            let whole = Phase {
                y0: 0,
                ny: g.oh,
                x0: 0,
                nx: g.ow,
                step: 1,
            };
            spread(dense, pad.group, g.o, whole, g.oh, g.ow, out);
        });
    });
    out
}

/// One axis of one phase of a transposed convolution: outputs `first, first + stride, ...` (`count` of them) read
/// rows `lead + u - q` of the padded source with kernel rows `stride * q + rest`.
#[derive(Clone, Copy, Debug)]
struct Axis {
    rest: usize,
    first: usize,
    count: usize,
    lead: usize,
}

/// The phases of one axis; `reach = (kernel - 1) / stride` zeros lie before the source.
fn axes(len: usize, before: usize, stride: usize, reach: usize) -> Vec<Axis> {
    (0..stride)
        .filter_map(|rest| {
            let u0 = before.saturating_sub(rest).div_ceil(stride);
            let first = stride * u0 + rest - before;
            (first < len).then(|| Axis {
                rest,
                first,
                count: (len - first).div_ceil(stride),
                lead: u0 + reach,
            })
        })
        .collect()
}

fn conv_t<T: Real>(g: &Geometry, y: &[T], w: &[T]) -> Vec<T> {
    let (xn, yn, s) = (g.c * g.h * g.w, g.o * g.oh * g.ow, g.stride);
    let (ry, rx) = ((g.kh - 1) / s, (g.kw - 1) / s);
    let (ays, axs) = (axes(g.h, g.top, s, ry), axes(g.w, g.left, s, rx));
    let extent = |a: &[Axis]| a.iter().map(|a| a.lead + a.count).max().unwrap_or(0);
    let pad = Padded {
        c: g.o,
        h: g.oh,
        w: g.ow,
        top: ry,
        left: rx,
        step: 1,
        rows: extent(&ays),
        cols: extent(&axs),
        group: Padded::group_for::<T>(axs.iter().map(|a| a.count)),
    };
    let mut phases = Vec::new();
    for &ay in &ays {
        for &ax in &axs {
            let at = Phase {
                y0: ay.first,
                ny: ay.count,
                x0: ax.first,
                nx: ax.count,
                step: s,
            };
            let (mut offset, mut tap) = (Vec::new(), Vec::new());
            for o in 0..g.o {
                for (qy, ky) in (ay.rest..g.kh).step_by(s).enumerate() {
                    for (qx, kx) in (ax.rest..g.kw).step_by(s).enumerate() {
                        offset.push(pad.offset(o, ay.lead - qy, ax.lead - qx));
                        tap.push(o * g.c * g.kh * g.kw + ky * g.kw + kx);
                    }
                }
            }
            if !offset.is_empty() {
                let packed = Packed::new(g.c, tap.len(), |m, k| w[tap[k] + m * g.kh * g.kw]);
                phases.push((at, offset, packed));
            }
        }
    }
    let n = pad.images_per_task();
    let mut out = vec![T::default(); y.len() / yn * xn];
    for_chunks(&mut out, n * xn, |i, out| {
        let images = out.len() / xn;
        T::with_scratch(|[src, dense]| {
            pad.fill(&y[i * n * yn..][..images * yn], src);
            for (at, offset, packed) in &phases {
                let (start, dst_start) = pad.starts::<T>(images, g.c, at.ny, at.nx);
                let taps = Taps {
                    src,
                    offset,
                    start: &start,
                };
                let stride = at.ny * at.nx * pad.group;
                if pad.group == 1 && s == 1 {
                    product(packed, taps, out, &dst_start, stride);
                } else {
                    dense.resize(
                        images.next_multiple_of(pad.group) * g.c * at.ny * at.nx,
                        T::default(),
                    );
                    product(packed, taps, dense, &dst_start, stride);
                    spread(dense, pad.group, g.c, *at, g.h, g.w, out);
                }
            }
        });
    });
    out
}

/// Parts of the batch whose weight gradients are summed apart: fixed, so that threads do not change the sum.
const PARTS: usize = 4;

fn wgrad<T: Real>(g: &Geometry, x: &[T], y: &[T]) -> Vec<T> {
    let (xn, yn) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
    let pad = g.padded::<T>();
    let offset: Vec<usize> = g.taps().map(|(c, y, x)| pad.offset(c, y, x)).collect();
    let (batch, n) = (x.len() / xn, pad.images_per_task());
    let wn = g.o * offset.len();
    let per_part = batch.div_ceil(PARTS).next_multiple_of(pad.group);
    let mut parts = vec![T::default(); batch.div_ceil(per_part) * wn];
    for_chunks(&mut parts, wn, |part, gw| {
        let end = ((part + 1) * per_part).min(batch);
        for first in (part * per_part..end).step_by(n) {
            let images = (end - first).min(n);
            let y = &y[first * yn..][..images * yn];
            T::with_scratch(|[src, dense]| {
                pad.fill(&x[first * xn..][..images * xn], src);
                let (start, y_start) = pad.starts::<T>(images, g.o, g.oh, g.ow);
                let taps = Taps {
                    src,
                    offset: &offset,
                    start: &start,
                };
                if pad.group == 1 {
                    return outer(taps, y, &y_start, g.oh * g.ow, g.o, gw);
                }
                interleave(y, pad.group, g.o, g.oh * g.ow, dense);
                outer(taps, dense, &y_start, g.oh * g.ow * pad.group, g.o, gw);
            });
        }
    });
    let mut sum = parts[..wn].to_vec();
    for part in parts[wn..].chunks_exact(wn) {
        sum.iter_mut().zip(part).for_each(|(s, &p)| *s += p);
    }
    sum
}
