//! Conservative, non-negative resampling of a stamp through an affine map.
//!
//! The stamp's pixels are cells that hold known fluxes. Within a cell the surface brightness is taken
//! as a plane: the cell's mean, with the slope of the central differences of its neighbours, flattened
//! where it would dip below zero (the piecewise-linear reconstruction of finite-volume remapping,
//! van Leer 1979, J. Comput. Phys. 32, 101). A cell maps to a parallelogram, and each target pixel
//! receives the exact integral of the plane over its overlap with it, by Green's theorem along the
//! parallelogram's edges. So flux is conserved to rounding, nothing is negative, a map of pixels onto
//! pixels is a copy, and for a shift the scheme is exact for quadratic brightness: it adds no second
//! moment of its own, where depositing flat cells would add 1/6 pixel^2 on average.
//!
//! Where the map enlarges cells beyond [`MAX_CELL`] target pixels, the stamp is first halved into finer
//! cells by the same reconstruction, repeatedly (average-interpolating subdivision, whose limit is
//! continuous), so that magnified galaxies show no facets.
//!
//! Where a point-spread function follows, a galaxy whose cells are small on its target is deposited as points,
//! see [`points`]: pixels would forget where in them a cell lies.

use super::points::Points;
use crate::kernels::Simd;
use crate::kernels::lanes::{Kernel, Lanes};
use alloc::vec;
use alloc::vec::Vec;

/// Side of a cell on the target, in pixels, above which the stamp is refined first.
const MAX_CELL: f64 = 1.5;
/// Refinements at most, each halving the cells; beyond, planes are simply drawn larger.
const MAX_REFINEMENTS: u32 = 3;
/// Side of a refined stamp at most, in cells.
const MAX_REFINED_SIDE: usize = 1024;
/// Side of a cell on the target, in pixels, up to which it may be deposited as a point.
const MAX_POINT: f64 = 0.5;

/// Width of a cell on the target, in pixels, below which the rounding of coordinates would show in its
/// area, and it is deposited as its bounding box, no side of which is smaller than this.
const MIN_WIDTH: f64 = 1e-6;

/// Map from cells to target pixels: `pixel = matrix (cell - cell centre) + centre`, with the lower left
/// corner of the target at (0, 0) and its pixel `(i, j)` covering `[i, i + 1] x [j, j + 1]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PixelMap {
    pub(super) matrix: [f64; 4],
    pub(super) centre: [f64; 2],
}

/// Image on which light is deposited. // values: (height, width)
pub(super) struct Target<'a> {
    pub(super) values: &'a mut [f64],
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Scratch for resampling stamps of one size.
#[derive(Clone, Debug)]
pub(super) struct Resampler {
    width: usize,
    height: usize,
    refinements: u32,
    cells: Vec<f64>,
    spare: Vec<f64>,
    simd: Simd,
}

impl Resampler {
    /// For stamps of `width x height` pixels.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let refinements = Self::refinements(width, height);
        let size = (width * height) << (2 * refinements);
        Self {
            width,
            height,
            refinements,
            cells: vec![0.0; size],
            spare: vec![0.0; size],
            simd: Simd::detect(),
        }
    }

    /// Bytes that `new` allocates.
    pub(super) fn bytes(width: usize, height: usize) -> u64 {
        16 * ((width as u64 * height as u64) << (2 * Self::refinements(width, height)))
    }

    fn refinements(width: usize, height: usize) -> u32 {
        let side = width.max(height);
        (0..=MAX_REFINEMENTS)
            .rev()
            .find(|r| side << r <= MAX_REFINED_SIDE)
            .unwrap_or(0)
    }

    /// Adds the light of `stamp` (values that are not above 0 count as 0) to `target`, and returns the
    /// whole flux of the stamp, inside the target or not. `smoothed` if a point-spread function that is wide on the
    /// target follows.
    pub(super) fn deposit(
        &mut self,
        stamp: &[f32],
        map: &PixelMap,
        smoothed: bool,
        target: &mut Target<'_>,
    ) -> f64 {
        let mut flux = 0.0;
        for (cell, &value) in self.cells.iter_mut().zip(stamp) {
            *cell = if value > 0.0 { f64::from(value) } else { 0.0 };
            flux += *cell;
        }
        let (mut width, mut height) = (self.width, self.height);
        if smoothed && largest_side(&map.matrix) <= MAX_POINT {
            let cells = &self.cells[..width * height];
            self.simd.dispatch(Points::new(cells, width, map, target));
            return flux;
        }
        let mut matrix = map.matrix;
        for _ in 0..self.refinements {
            if largest_side(&matrix) <= MAX_CELL {
                break;
            }
            split_columns(&self.cells, &mut self.spare, width, height);
            split_rows(&self.spare, &mut self.cells, 2 * width, height);
            width *= 2;
            height *= 2;
            matrix = matrix.map(|v| 0.5 * v);
        }
        let refined = PixelMap {
            matrix,
            centre: map.centre,
        };
        self.simd.dispatch(Deposit {
            cells: &self.cells,
            width,
            height,
            map: &refined,
            target,
        });
        flux
    }
}

/// Longer edge of the image of a cell.
fn largest_side(m: &[f64; 4]) -> f64 {
    libm::hypot(m[0], m[2]).max(libm::hypot(m[1], m[3]))
}

/// Flux in the upper half of a cell, from those of the cell below, itself and the cell above.
fn upper_half(below: f64, here: f64, above: f64) -> f64 {
    let slope = (0.5 * (above - below)).clamp(-2.0 * here, 2.0 * here);
    0.5 * here + 0.125 * slope
}

/// Halves every cell along x: `(height, width)` to `(height, 2 width)`.
fn split_columns(from: &[f64], to: &mut [f64], width: usize, height: usize) {
    let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(2 * width));
    for (row, halves) in rows.take(height) {
        for x in 0..width {
            let left = if x > 0 { row[x - 1] } else { 0.0 };
            let right = if x + 1 < width { row[x + 1] } else { 0.0 };
            let upper = upper_half(left, row[x], right);
            halves[2 * x] = row[x] - upper;
            halves[2 * x + 1] = upper;
        }
    }
}

/// Halves every cell along y: `(height, width)` to `(2 height, width)`.
fn split_rows(from: &[f64], to: &mut [f64], width: usize, height: usize) {
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            let below = if y > 0 { from[at - width] } else { 0.0 };
            let above = if y + 1 < height {
                from[at + width]
            } else {
                0.0
            };
            let upper = upper_half(below, from[at], above);
            to[2 * y * width + x] = from[at] - upper;
            to[(2 * y + 1) * width + x] = upper;
        }
    }
}

/// Flux per target pixel^2 as a function of place, `value + along[0] x + along[1] y`.
#[derive(Clone, Copy)]
struct Plane {
    value: f64,
    along: [f64; 2],
}

/// Half of the central differences at a cell, shrunk until the plane is nowhere negative in it.
#[inline(always)]
fn slopes(cells: &[f64], width: usize, height: usize, x: usize, y: usize) -> [f64; 2] {
    let at = y * width + x;
    let left = if x > 0 { cells[at - 1] } else { 0.0 };
    let right = if x + 1 < width { cells[at + 1] } else { 0.0 };
    let below = if y > 0 { cells[at - width] } else { 0.0 };
    let above = if y + 1 < height {
        cells[at + width]
    } else {
        0.0
    };
    let (sx, sy) = (0.5 * (right - left), 0.5 * (above - below));
    let dip = 0.5 * (libm::fabs(sx) + libm::fabs(sy));
    let shrink = if dip > cells[at] {
        cells[at] / dip
    } else {
        1.0
    };
    [shrink * sx, shrink * sy]
}

/// Cells to be deposited. A kernel only so that it is compiled for the vectors of each level: it is plain
/// arithmetic on f64 in a fixed order.
struct Deposit<'a, 'b> {
    cells: &'a [f64],
    width: usize,
    height: usize,
    map: &'a PixelMap,
    target: &'a mut Target<'b>,
}

impl Kernel for Deposit<'_, '_> {
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        deposit_cells(self.cells, self.width, self.height, self.map, self.target);
    }
}

#[inline(always)]
fn deposit_cells(
    cells: &[f64],
    width: usize,
    height: usize,
    map: &PixelMap,
    target: &mut Target<'_>,
) {
    let shape = Parallelogram::new(&map.matrix);
    let (columns, rows) = (target.width as f64, target.height as f64);
    let (mx, my) = (0.5 * (width as f64 - 1.0), 0.5 * (height as f64 - 1.0));
    for y in 0..height {
        for x in 0..width {
            let flux = cells[y * width + x];
            if flux == 0.0 {
                continue;
            }
            let (u, v) = (x as f64 - mx, y as f64 - my);
            let cx = map.matrix[0] * u + map.matrix[1] * v + map.centre[0];
            let cy = map.matrix[2] * u + map.matrix[3] * v + map.centre[1];
            let (x0, x1) = (cx - shape.reach[0], cx + shape.reach[0]);
            let (y0, y1) = (cy - shape.reach[1], cy + shape.reach[1]);
            // Written so that a centre that is not a number lies outside.
            let touches = x1 > 0.0 && x0 < columns && y1 > 0.0 && y0 < rows;
            if !touches {
                continue;
            }
            let (left, right) = (floor(x0.max(0.0)), ceil(x1.min(columns)));
            let (below, above) = (floor(y0.max(0.0)), ceil(y1.min(rows)));
            let contained = x0 >= 0.0 && x1 <= columns && y0 >= 0.0 && y1 <= rows;
            if contained && right - left == 1 && above - below == 1 {
                target.values[below * target.width + left] += flux;
                continue;
            }
            let centre = [cx - left as f64, cy - below as f64];
            let plane = shape.plane(flux, slopes(cells, width, height, x, y), centre);
            let mut window = Window {
                values: &mut target.values[below * target.width + left..],
                stride: target.width,
                columns: right - left,
                rows: above - below,
            };
            shape.deposit(centre, &plane, &mut window);
        }
    }
}

/// Largest whole number not above a value that is not negative and at most a grid's side. (By way of `i32`,
/// which processors convert to in one step.)
#[inline(always)]
fn floor(value: f64) -> usize {
    value as i32 as usize
}

/// Smallest whole number not below a value that is not negative.
#[inline(always)]
fn ceil(value: f64) -> usize {
    let below = floor(value);
    below + usize::from((below as f64) < value)
}

/// One number for each side of a [`Parallelogram`]: along x, along y from its end, along x from the far corner, along y.
type Sides = [f64; 4];

/// Image of a unit cell: the same for all cells of a map.
struct Parallelogram {
    /// From the centre to where each side begins.
    start: [Sides; 2],
    /// From corner to corner.
    along: [Sides; 2],
    /// 1 over each part of it, see [`reciprocal`].
    per: [Sides; 2],
    /// Height of each side, with the sign with which it counts.
    rising: Sides,
    /// Half of the bounding box.
    reach: [f64; 2],
    /// Inverse of the matrix, row-major, and the area.
    inverse: [f64; 4],
    /// 1 over the area.
    density: f64,
    /// Factor of the cell's slopes: 0 for a bounding box, else 1.
    tilt: f64,
}

impl Parallelogram {
    fn new(m: &[f64; 4]) -> Self {
        let determinant = m[0] * m[3] - m[1] * m[2];
        // Written so that an area that is not a number counts as too thin.
        let solid = libm::fabs(determinant) >= MIN_WIDTH * largest_side(m);
        if !solid {
            let side = |a: f64, b: f64| (libm::fabs(a) + libm::fabs(b)).max(MIN_WIDTH);
            return Self::of([side(m[0], m[1]), 0.0, 0.0, side(m[2], m[3])], 0.0);
        }
        Self::of(*m, 1.0)
    }

    fn of(m: [f64; 4], tilt: f64) -> Self {
        let determinant = m[0] * m[3] - m[1] * m[2];
        // +1 if the corners run counter-clockwise.
        let turn = if determinant < 0.0 { -1.0 } else { 1.0 };
        let along = [[m[0], m[1], m[0], m[1]], [m[2], m[3], m[2], m[3]]];
        let start = |a: f64, b: f64| {
            let first = -0.5 * (a + b);
            [first, 0.5 * (a - b), 0.5 * (b - a), first]
        };
        Self {
            start: [start(m[0], m[1]), start(m[2], m[3])],
            per: along.map(|parts| parts.map(reciprocal)),
            rising: [turn * m[2], turn * m[3], -turn * m[2], -turn * m[3]],
            along,
            reach: [
                0.5 * (libm::fabs(m[0]) + libm::fabs(m[1])),
                0.5 * (libm::fabs(m[2]) + libm::fabs(m[3])),
            ],
            inverse: [m[3], -m[1], -m[2], m[0]].map(|v| v / determinant),
            density: 1.0 / libm::fabs(determinant),
            tilt,
        }
    }

    /// The cell's brightness as a function of place on the target.
    #[inline(always)]
    fn plane(&self, flux: f64, slope: [f64; 2], centre: [f64; 2]) -> Plane {
        let inverse = &self.inverse;
        let along = [
            self.tilt * (slope[0] * inverse[0] + slope[1] * inverse[2]) * self.density,
            self.tilt * (slope[0] * inverse[1] + slope[1] * inverse[3]) * self.density,
        ];
        let value = flux * self.density - along[0] * centre[0] - along[1] * centre[1];
        Plane { value, along }
    }

    /// Adds the integral of the plane over the overlap of the parallelogram with every pixel of the window:
    /// for each side `weight` times the integral over what lies in the pixel to the left of it (over dy, so a
    /// falling side counts negatively).
    ///
    /// With the side as `start + t along`, the part of it in a row is `low <= t <= high`; of that, a part
    /// runs within a column, a part to the right of it, across whose whole width the plane then counts,
    /// and the rest to the left. Clamped arithmetic instead of a walk from border to border: which parts
    /// are empty changes from cell to cell, and branches on it would be mispredicted. Sides, then columns, run
    /// side by side in vectors.
    #[inline(always)]
    fn deposit(&self, centre: [f64; 2], plane: &Plane, window: &mut Window<'_>) {
        let [gx, gy] = plane.along;
        let (mut x0, mut y0) = ([0.0; 4], [0.0; 4]);
        for side in 0..4 {
            x0[side] = centre[0] + self.start[0][side];
            y0[side] = centre[1] + self.start[1][side];
        }
        for row in 0..window.rows {
            let (mut low, mut high) = ([0.0; 4], [0.0; 4]);
            for side in 0..4 {
                let enter = (row as f64 - y0[side]) * self.per[1][side];
                let leave = (row as f64 + 1.0 - y0[side]) * self.per[1][side];
                // A falling side leaves the row below where it enters above.
                low[side] = between(lower(enter, leave), 0.0, 1.0);
                high[side] = between(upper(enter, leave), 0.0, 1.0);
            }
            let values = &mut window.values[row * window.stride..][..window.columns];
            for (block, values) in values.chunks_mut(COLUMNS).enumerate() {
                let mut sums = [0.0; COLUMNS];
                for side in 0..4 {
                    let (dx, dy) = (self.along[0][side], self.along[1][side]);
                    let (per, rising) = (self.per[0][side], self.rising[side]);
                    let (x0, y0) = (x0[side], y0[side]);
                    let (low, high) = (low[side], high[side]);
                    let skew = gx * dx * dx / 24.0 + gy * dx * dy / 12.0;
                    for (column, sum) in sums.iter_mut().enumerate() {
                        let border = (block * COLUMNS + column) as f64;
                        let left = between((border - x0) * per, low, high);
                        let right = between((border + 1.0 - x0) * per, low, high);
                        let (from, to) = (lower(left, right), upper(left, right));
                        let (beyond, end) = if dx >= 0.0 {
                            (right, high)
                        } else {
                            (low, right)
                        };
                        // Within the column. Means: of x^2 it is x^2 + dx^2 / 12, of x y it is x y + dx dy / 12.
                        let (length, middle) = (to - from, 0.5 * (from + to));
                        let (x, y) = (x0 + middle * dx, y0 + middle * dy);
                        let within = (x - border)
                            * (plane.value + gy * y + 0.5 * gx * (x + border))
                            + length * length * skew;
                        // To the right of it.
                        let y = y0 + 0.5 * (beyond + end) * dy;
                        let across = plane.value + gy * y + gx * (border + 0.5);
                        *sum += rising * (length * within + (end - beyond) * across);
                    }
                }
                for (value, sum) in values.iter_mut().zip(sums) {
                    *value += sum;
                }
            }
        }
    }
}

/// Columns that are computed side by side: as many as a cell that has not been enlarged may touch.
const COLUMNS: usize = 4;

/// The pixels that a cell may touch; coordinates have their origin at the window's lower left corner.
struct Window<'a> {
    values: &'a mut [f64],
    stride: usize,
    columns: usize,
    rows: usize,
}

/// `1 / v`, and a large number instead of infinity, which times 0 is 0.
fn reciprocal(v: f64) -> f64 {
    if libm::fabs(v) > 1e-300 {
        1.0 / v
    } else {
        1e300
    }
}

/// `value` moved into `low..=high`: as `clamp`, which checks its bounds.
#[inline(always)]
fn between(value: f64, low: f64, high: f64) -> f64 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}

/// The smaller of two numbers.
#[inline(always)]
fn lower(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// The larger of two numbers.
#[inline(always)]
fn upper(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}
