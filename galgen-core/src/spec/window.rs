//! Sizes of maps under kernels.

use super::{Padding, Shape};
use alloc::format;
use alloc::string::String;

/// Largest side of a convolution's kernel.
const MAX_KERNEL: usize = 64;

/// Height and width of a map, checked with the kernel that goes over it.
fn map_under(
    input: Shape,
    kernel: [usize; 2],
    stride: usize,
    padding: Padding,
) -> Result<[usize; 2], String> {
    let Shape::Map { height, width, .. } = input else {
        return Err(format!("a convolution needs a map, found {input:?}"));
    };
    if stride == 0 || kernel.contains(&0) {
        return Err(format!(
            "kernel {kernel:?} and stride {stride} must be 1 or more"
        ));
    }
    if kernel.iter().any(|&side| side > MAX_KERNEL) {
        return Err(format!(
            "kernel {kernel:?}, expected sides of at most {MAX_KERNEL}"
        ));
    }
    let p = padding;
    if [p.top, p.bottom].iter().any(|&p| p >= kernel[0])
        || [p.left, p.right].iter().any(|&p| p >= kernel[1])
    {
        return Err(format!(
            "padding {p:?} must be smaller than the kernel {kernel:?}"
        ));
    }
    Ok([height, width])
}

/// Height and width of a convolution's output.
pub(super) fn window(
    input: Shape,
    kernel: [usize; 2],
    stride: usize,
    p: Padding,
) -> Result<[usize; 2], String> {
    let [height, width] = map_under(input, kernel, stride, p)?;
    let h = height.saturating_add(p.top + p.bottom);
    let w = width.saturating_add(p.left + p.right);
    if h < kernel[0] || w < kernel[1] {
        return Err(format!(
            "kernel {kernel:?} is larger than the padded map {h} x {w}"
        ));
    }
    Ok([(h - kernel[0]) / stride + 1, (w - kernel[1]) / stride + 1])
}

/// Height and width of a transposed convolution's output.
pub(super) fn spread(
    input: Shape,
    kernel: [usize; 2],
    stride: usize,
    p: Padding,
) -> Result<[usize; 2], String> {
    let [height, width] = map_under(input, kernel, stride, p)?;
    if stride > MAX_KERNEL {
        return Err(format!("stride {stride}, expected at most {MAX_KERNEL}"));
    }
    let side = |n: usize, kernel: usize, cut: usize| {
        let whole = (n - 1).saturating_mul(stride).saturating_add(kernel);
        whole.checked_sub(cut).filter(|&left| left > 0)
    };
    let sides = (
        side(height, kernel[0], p.top + p.bottom),
        side(width, kernel[1], p.left + p.right),
    );
    match sides {
        (Some(h), Some(w)) => Ok([h, w]),
        _ => Err(format!(
            "padding {p:?} leaves nothing of the transposed convolution of {height} x {width} pixels"
        )),
    }
}
