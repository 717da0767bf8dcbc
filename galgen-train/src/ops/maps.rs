//! Padded copies of maps in the order that the shifted products read, and the way back.
//!
//! Two orders: one image after the other where rows are whole vectors, and `L` images interleaved pixel by pixel
//! where they are not (maps narrower than a vector, odd widths). A stride `s` splits a padded map into `s * s`
//! planes, one for every remainder of row and column, so that reads are always of neighbours.

use super::real::{Real, machine};

/// Elements of padded maps that one task handles: half of a second-level cache.
const TASK: usize = 128 * 1024;

/// How a batch of maps `[images, channels, h, w]` is laid out in a padded copy.
#[derive(Clone, Copy, Debug)]
pub struct Padded {
    /// Channels, height and width of the source.
    pub c: usize,
    pub h: usize,
    pub w: usize,
    /// Zeros above and to the left.
    pub top: usize,
    pub left: usize,
    /// Step between the rows (and columns) of one plane.
    pub step: usize,
    /// Rows and columns of one plane.
    pub rows: usize,
    pub cols: usize,
    /// Images interleaved pixel by pixel: 1 or the lanes of a vector.
    pub group: usize,
}

impl Padded {
    /// Images interleaved for vectors along rows of the given lengths.
    pub fn group_for<T: Real>(widths: impl IntoIterator<Item = usize>) -> usize {
        let lanes = machine::<T>().0;
        if widths.into_iter().all(|w| w % lanes == 0) {
            1
        } else {
            lanes
        }
    }

    /// Elements of one plane; a multiple of 4 KiB would make all planes share the same cache lines.
    pub fn plane(&self) -> usize {
        let n = self.rows * self.cols * self.group;
        if n.is_multiple_of(512) { n + 16 } else { n }
    }

    /// Elements of one group of images.
    pub fn per_group(&self) -> usize {
        self.c * self.step * self.step * self.plane()
    }

    /// Images that one task handles.
    pub fn images_per_task(&self) -> usize {
        (TASK / self.per_group()).max(1) * self.group
    }

    /// Position, for channel `c`, of the element that lies `(dy, dx)` padded rows and columns from the corner.
    pub fn offset(&self, c: usize, dy: usize, dx: usize) -> usize {
        let s = self.step;
        ((c * s + dy % s) * s + dx % s) * self.plane() + (dy / s * self.cols + dx / s) * self.group
    }

    /// Starts of the vectors of `ny * nx` positions of `images` images: in the padded copy, and in dense maps
    /// `[group of images, m, ny * nx, image in group]`.
    pub fn starts<T: Real>(
        &self,
        images: usize,
        m: usize,
        ny: usize,
        nx: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        let (g, lanes) = (self.group, machine::<T>().0);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for i in 0..images.div_ceil(g) {
            for y in 0..ny {
                for x in (0..nx * g).step_by(lanes) {
                    a.push(i * self.per_group() + y * self.cols * g + x);
                    b.push((i * m * ny + y) * nx * g + x);
                }
            }
        }
        (a, b)
    }

    /// Copies `x` `[images, c, h, w]` into `dst`.
    pub fn fill<T: Real>(&self, x: &[T], dst: &mut Vec<T>) {
        let Self {
            c,
            h,
            w,
            top,
            left,
            step,
            rows,
            cols,
            group,
            ..
        } = *self;
        let images = x.len() / (c * h * w);
        dst.clear();
        dst.resize(images.div_ceil(group) * self.per_group(), T::default());
        for (i, image) in x.chunks_exact(c * h * w).enumerate() {
            let base = i / group * self.per_group() + i % group;
            for (r, row) in image.chunks_exact(w).enumerate() {
                let (ch, y) = (r / h, r % h + top);
                if y / step >= rows {
                    continue;
                }
                for b in 0..step {
                    // Source columns whose padded column is b modulo the step.
                    let first = (b + step - left % step) % step;
                    let col = (first + left) / step;
                    if first >= w || col >= cols {
                        continue;
                    }
                    let p = base
                        + ((ch * step + y % step) * step + b) * self.plane()
                        + (y / step * cols + col) * group;
                    let n = (w - first).div_ceil(step).min(cols - col);
                    if step == 1 && group == 1 {
                        dst[p..p + n].copy_from_slice(&row[first..first + n]);
                    } else {
                        let to = dst[p..].iter_mut().step_by(group);
                        for (d, &v) in to.zip(row[first..].iter().step_by(step)).take(n) {
                            *d = v;
                        }
                    }
                }
            }
        }
    }
}

/// Positions of a phase in the output maps: rows `y0, y0 + step, ...`, `ny` of them; columns likewise.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    pub y0: usize,
    pub ny: usize,
    pub x0: usize,
    pub nx: usize,
    pub step: usize,
}

/// Spreads dense maps `[group, m, ny * nx, image in group]` over `out` `[images, m, h, w]`.
pub fn spread<T: Real>(
    dense: &[T],
    group: usize,
    m: usize,
    f: Phase,
    h: usize,
    w: usize,
    out: &mut [T],
) {
    for (i, image) in out.chunks_exact_mut(m * h * w).enumerate() {
        for (c, map) in image.chunks_exact_mut(h * w).enumerate() {
            let from = &dense[((i / group) * m + c) * f.ny * f.nx * group + i % group..];
            for u in 0..f.ny {
                let src = from[u * f.nx * group..].iter().step_by(group);
                let to = map[(f.y0 + u * f.step) * w + f.x0..]
                    .iter_mut()
                    .step_by(f.step);
                for (d, &v) in to.zip(src).take(f.nx) {
                    *d = v;
                }
            }
        }
    }
}

/// Interleaves maps `[images, m, n]` into `[group, m, n, image in group]`.
pub fn interleave<T: Real>(x: &[T], group: usize, m: usize, n: usize, dst: &mut Vec<T>) {
    let images = x.len() / (m * n);
    dst.clear();
    dst.resize(images.div_ceil(group) * group * m * n, T::default());
    for (i, image) in x.chunks_exact(m * n).enumerate() {
        let to = dst[i / group * m * n * group + i % group..]
            .iter_mut()
            .step_by(group);
        for (d, &v) in to.zip(image) {
            *d = v;
        }
    }
}
