//! A stamp whose cells are much smaller than the target's pixels, as points in front of a wide point-spread function.
//!
//! What is convolved are averages over pixels, sampled at their centres. Of a galaxy that is small on the pixels such samples
//! hold too little: a point anywhere in a pixel gives the same ones. Each cell is therefore spread as the cubic
//! B-spline at its place (particle-mesh methods, Hockney and Eastwood 1988): four pixels along either axis, whose moments up
//! to the third are those of the spread light wherever the cell lies. What this spreads too far, against
//! averages over pixels and against light that fills its cells, is taken back by second and fourth differences, d2 and d4:
//! 1 - d2 / 8 + 0.024 d4 undoes three averages over pixels (the series has 37 / 1920 in place of 0.024, which halves what is left
//! behind a Gaussian of four pixels: 8e-4 of the peak along an axis); and the pixels of the stamp hold averages
//! over cells, whose own second moments M M^T / 12 are too many (Sheppard's correction).
//!
//! Some of the weights are negative; the point-spread function fills that in.

use super::resample::{PixelMap, Target};
use crate::kernels::lanes::{Kernel, Lanes};

/// Pixels along an axis that a point reaches.
const WIDTH: usize = 8;
/// Of them, those before the last that is not above it.
const BEFORE: i32 = 3;
/// Factors of the second and the fourth difference.
const SECOND: f64 = -1.0 / 8.0;
const FOURTH: f64 = 0.024;

type Weights = [f64; WIDTH];

/// Cells to be deposited.
pub(super) struct Points<'a, 'b> {
    cells: &'a [f64],
    width: usize,
    map: &'a PixelMap,
    target: &'a mut Target<'b>,
    /// Factor of the second difference along x and y.
    second: [f64; 2],
    /// Factor of the difference along both.
    mixed: f64,
}

impl<'a, 'b> Points<'a, 'b> {
    /// `cells` in rows of `width`.
    pub(super) fn new(
        cells: &'a [f64],
        width: usize,
        map: &'a PixelMap,
        target: &'a mut Target<'b>,
    ) -> Self {
        let m = &map.matrix;
        let variance = |a: f64, b: f64| (a * a + b * b) / 12.0;
        let along = |a: f64, b: f64| SECOND - 0.5 * variance(a, b);
        Points {
            cells,
            width,
            map,
            target,
            second: [along(m[0], m[1]), along(m[2], m[3])],
            mixed: -(m[0] * m[2] + m[1] * m[3]) / 12.0,
        }
    }
}

/// Weights of the pixels around a point that lies `u`, 0 to 1, after the centre of the pixel number [`BEFORE`]; and their
/// differences, from the pixel after to the pixel before.
#[inline(always)]
fn weights(u: f64, second: f64) -> [Weights; 2] {
    let v = 1.0 - u;
    let outer = |w: f64| w * w * w / 6.0;
    let inner = |w: f64| (w * w * (3.0 * w - 6.0) + 4.0) / 6.0;
    let cloud = [outer(v), inner(u), inner(v), outer(u)];
    let filter = [
        FOURTH,
        second - 4.0 * FOURTH,
        1.0 - 2.0 * second + 6.0 * FOURTH,
        second - 4.0 * FOURTH,
        FOURTH,
    ];
    let (mut all, mut slopes) = ([0.0; WIDTH], [0.0; WIDTH]);
    for (i, c) in cloud.into_iter().enumerate() {
        for (j, f) in filter.into_iter().enumerate() {
            all[i + j] += c * f;
        }
        slopes[i + 1] += 0.5 * c;
        slopes[i + 3] -= 0.5 * c;
    }
    [all, slopes]
}

impl Kernel for Points<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Points {
            cells,
            width,
            map,
            target,
            second,
            mixed,
        } = self;
        let (m, height) = (&map.matrix, cells.len() / width);
        let (mx, my) = (0.5 * (width as f64 - 1.0), 0.5 * (height as f64 - 1.0));
        let (columns, rows) = (target.width as f64, target.height as f64);
        let reach = WIDTH as f64;
        for (y, row) in cells.chunks_exact(width).enumerate() {
            for (x, &flux) in row.iter().enumerate() {
                let (u, v) = (x as f64 - mx, y as f64 - my);
                let cx = m[0] * u + m[1] * v + map.centre[0];
                let cy = m[2] * u + m[3] * v + map.centre[1];
                // Written so that a place that is not a number lies outside.
                let touches =
                    cx > -reach && cx < columns + reach && cy > -reach && cy < rows + reach;
                if flux == 0.0 || !touches {
                    continue;
                }
                let (left, below) = (libm::floor(cx - 0.5), libm::floor(cy - 0.5));
                let [wx, dx] = weights(cx - 0.5 - left, second[0]);
                let [wy, dy] = weights(cy - 0.5 - below, second[1]);
                let (left, below) = (left as i32 - BEFORE, below as i32 - BEFORE);
                for j in 0..WIDTH {
                    let (straight, slanted) = (flux * wy[j], flux * mixed * dy[j]);
                    let mut line = [0.0; WIDTH];
                    for i in 0..WIDTH {
                        line[i] = straight * wx[i] + slanted * dx[i];
                    }
                    let at = below + j as i32;
                    if at < 0 || at as usize >= target.height {
                        continue;
                    }
                    let values = &mut target.values[at as usize * target.width..][..target.width];
                    for (i, light) in line.iter().enumerate() {
                        if let Some(value) = usize::try_from(left + i as i32)
                            .ok()
                            .and_then(|i| values.get_mut(i))
                        {
                            *value += light;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Sum, means and second moments of what a cell leaves are its own and a pixel's, wherever it lies.
    #[test]
    fn a_cell_keeps_its_moments() {
        let matrix = [0.3, -0.2, 0.1, 0.25];
        for centre in [[12.5, 13.5], [12.0, 13.01], [12.31, 13.77], [12.999, 13.2]] {
            let (side, map) = (26, PixelMap { matrix, centre });
            let mut values = vec![0.0; side * side];
            let mut target = Target {
                values: &mut values,
                width: side,
                height: side,
            };
            crate::kernels::Simd::detect().dispatch(Points::new(&[2.0], 1, &map, &mut target));
            let moment = |p: i32, q: i32| -> f64 {
                let term = |i: usize| {
                    let x = (i % side) as f64 + 0.5 - centre[0];
                    let y = (i / side) as f64 + 0.5 - centre[1];
                    values[i] * x.powi(p) * y.powi(q)
                };
                (0..side * side).map(term).sum()
            };
            let [a, b, c, d] = matrix;
            let pixel = 1.0 / 12.0;
            for (found, expected) in [
                (moment(0, 0), 2.0),
                (moment(1, 0), 0.0),
                (moment(0, 1), 0.0),
                (moment(2, 0), 2.0 * (pixel - (a * a + b * b) / 12.0)),
                (moment(1, 1), 2.0 * (-(a * c + b * d) / 12.0)),
                (moment(0, 2), 2.0 * (pixel - (c * c + d * d) / 12.0)),
            ] {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }
}
