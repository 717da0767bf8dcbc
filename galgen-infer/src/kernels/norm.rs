//! Group normalisation.

use super::view::View;
use alloc::vec::Vec;

/// Statistics of a group are f64 sums, one per channel over the pixels in row-major order, then over
/// the channels: the mean first, then the squared deviations from it. Plain arithmetic, so the
/// bits are the same for every level.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    pub groups: usize,
    pub epsilon: f32,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Channels summed side by side.
const BLOCK: usize = 8;

/// to = norm(from), channels-last.
pub(crate) fn group_norm(arena: &mut [f32], from: View, norm: &GroupNorm, to: View) {
    assert!(from.same_extents(&to) && from.channel == 1 && to.channel == 1);
    let size = from.channels / norm.groups;
    let count = (size * from.height * from.width) as f64;
    for g in 0..norm.groups {
        let group = g * size..(g + 1) * size;
        let mean = sum(arena, from.slice(group.clone()), |x| x) / count;
        let deviations = sum(arena, from.slice(group.clone()), |x| {
            (x - mean) * (x - mean)
        });
        let scale = 1.0 / libm::sqrt(deviations / count + f64::from(norm.epsilon));
        for y in 0..from.height {
            for x in 0..from.width {
                let s = from.offset + y * from.row + x * from.pixel;
                let t = to.offset + y * to.row + x * to.pixel;
                for c in group.clone() {
                    let normal = (f64::from(arena[s + c]) - mean) * scale;
                    let (w, b) = (f64::from(norm.weight[c]), f64::from(norm.bias[c]));
                    arena[t + c] = (normal * w + b) as f32;
                }
            }
        }
    }
}

/// Sum of f over all elements of a view.
#[inline(always)]
fn sum(arena: &[f32], view: View, f: impl Fn(f64) -> f64) -> f64 {
    let mut total = 0.0;
    for start in (0..view.channels).step_by(BLOCK) {
        let len = BLOCK.min(view.channels - start);
        let mut sums = [0.0f64; BLOCK];
        for y in 0..view.height {
            for x in 0..view.width {
                let at = view.offset + y * view.row + x * view.pixel + start;
                for (s, &v) in sums.iter_mut().zip(&arena[at..at + len]) {
                    *s += f(f64::from(v));
                }
            }
        }
        total += sums[..len].iter().sum::<f64>();
    }
    total
}
