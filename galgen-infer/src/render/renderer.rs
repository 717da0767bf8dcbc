//! Stamps onto the caller's grid.

use super::affine::Affine;
use super::error::{RenderError, positive, within};
use super::fft::{Convolver, good_length};
use super::psf::Psf;
use super::resample::{PixelMap, Resampler, Target};
use alloc::vec;
use alloc::vec::Vec;

/// Side of a grid, a native stamp or a PSF image at most, in pixels.
pub const MAX_GRID_SIDE: usize = 4096;

/// Scratch memory of a [`Renderer`] at most, in bytes.
///
/// Without a PSF it takes 8 bytes per grid pixel, and for a native stamp of side 64 another 4 MiB to
/// refine magnified galaxies; with a PSF about 32 bytes per fine pixel of the grid and its margins.
pub const MAX_SCRATCH_BYTES: u64 = 1 << 30;

/// The image that a galaxy is rendered on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Pixels along x, 1 to [`MAX_GRID_SIDE`].
    pub width: usize,
    /// Pixels along y, 1 to [`MAX_GRID_SIDE`].
    pub height: usize,
    /// Side of a pixel in arcsec, above 0.
    pub pixel_scale: f64,
}

/// What became of the light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rendered {
    /// Share of the stamp's flux, all bands together, that fell on the grid: the sum of the image over
    /// `flux` times the sum of the stamp. The rest was cut off by the border, or scattered off by the
    /// PSF. 1 for a stamp without light.
    pub fraction_inside: f64,
}

/// Renders stamps of one size on one grid through one PSF. Owns all scratch: rendering allocates
/// nothing and cannot fail. One per thread.
///
/// # Accuracy
/// Flux is conserved to 1e-9, then rounded with the image to `f32`. Against exact integrals over pixels of
/// analytic galaxies whose stamp was turned, lensed and shifted (tests in `tests/tests/render`, the oracle
/// is GalSim): second moments are `A M A^T` to 5e-5 of their size and centroids right to 2e-5 of the
/// galaxy's rms radius; pixels of an exponential disc with a half-light radius of 8 pixels are right to 5e-3 of
/// the peak outside its innermost 3 pixels, and to 4e-2 there and at star-like knots (sigma 0.9 pixels of the
/// stamp), of which a stamp does not tell more. Behind a PSF of 9 pixels of the stamp 4e-4 of the peak is left. A galaxy much
/// smaller than the PSF, wherever in a pixel it lies, is right to 2e-3 of the peak.
///
/// With a PSF the light is deposited on a grid `k` times finer (`k` odd, 1 to 9, at least 4 fine pixels
/// per FWHM where that allows it) with a margin as wide as the kernel, convolved by FFT in `f64` without
/// wrapping, and binned.
#[derive(Clone, Debug)]
pub struct Renderer {
    side: usize,
    bands: usize,
    grid: Grid,
    /// Fine pixels per grid pixel.
    oversampling: usize,
    /// Fine pixels around the grid on every side.
    margin: usize,
    /// Whether the PSF is wide in fine pixels.
    smoothed: bool,
    resampler: Resampler,
    /// The grid and its margins, fine. // (height, width)
    fine: Vec<f64>,
    convolver: Option<Convolver>,
}

/// Sizes that follow from the grid and the PSF.
struct Layout {
    oversampling: usize,
    margin: usize,
    /// Fine pixels of grid and margins along x and y.
    fine: [usize; 2],
    /// Lengths of the transforms.
    circle: [usize; 2],
}

impl Layout {
    fn new(grid: &Grid, psf: Option<&Psf>) -> Self {
        let sides = [grid.width, grid.height];
        let Some(psf) = psf else {
            return Self {
                oversampling: 1,
                margin: 0,
                fine: sides,
                circle: [0, 0],
            };
        };
        let oversampling = psf.oversampling(grid.pixel_scale);
        let step = grid.pixel_scale / oversampling as f64;
        let margin = psf.radius(step, kernel_limit(grid, oversampling));
        let fine = sides.map(|side| oversampling * side + 2 * margin);
        let circle = [good_length(fine[0]), 2 * good_length(fine[1].div_ceil(2))];
        Self {
            oversampling,
            margin,
            fine,
            circle,
        }
    }

    fn bytes(&self, side: usize) -> u64 {
        let [width, height] = self.circle;
        let fine = self.fine[0] as u64 * self.fine[1] as u64;
        let convolution = match width {
            0 => 0,
            // The circle once more, while the kernel is laid out on it.
            _ => (Convolver::bytes(width, height) + 8 * width * height) as u64,
        };
        Resampler::bytes(side, side) + 8 * fine + convolution
    }
}

/// A kernel need not reach farther than from one side of the grid to the other.
fn kernel_limit(grid: &Grid, oversampling: usize) -> usize {
    oversampling * grid.width.max(grid.height)
}

impl Renderer {
    /// For native stamps `[bands, side, side]`.
    ///
    /// # Errors
    /// [`RenderError::OutOfRange`] for a side outside 1 to [`MAX_GRID_SIDE`], no band, or a pixel scale
    /// that is not above 0; [`RenderError::TooLarge`] if the scratch would pass [`MAX_SCRATCH_BYTES`].
    pub fn new(
        side: usize,
        bands: usize,
        grid: Grid,
        psf: Option<&Psf>,
    ) -> Result<Self, RenderError> {
        for (what, n) in [
            ("native stamp side", side),
            ("grid width", grid.width),
            ("grid height", grid.height),
        ] {
            within(
                what,
                n as f64,
                (1..=MAX_GRID_SIDE).contains(&n),
                "1 to 4096 pixels",
            )?;
        }
        within("number of bands", bands as f64, bands >= 1, "at least 1")?;
        positive("grid pixel scale in arcsec", grid.pixel_scale)?;
        let layout = Layout::new(&grid, psf);
        let found = layout.bytes(side);
        if found > MAX_SCRATCH_BYTES {
            return Err(RenderError::TooLarge {
                width: grid.width,
                height: grid.height,
                found,
                expected: MAX_SCRATCH_BYTES,
            });
        }
        Ok(Self {
            side,
            bands,
            grid,
            oversampling: layout.oversampling,
            margin: layout.margin,
            smoothed: psf
                .is_some_and(|psf| psf.smooths(grid.pixel_scale / layout.oversampling as f64)),
            resampler: Resampler::new(side, side),
            fine: vec![0.0; layout.fine[0] * layout.fine[1]],
            convolver: psf.map(|psf| convolver(psf, &grid, &layout)),
        })
    }

    /// Bytes that [`new`](Self::new) allocates for stamps of `side` on `grid` without a point-spread function.
    pub(crate) fn bytes(side: usize, grid: &Grid) -> u64 {
        Layout::new(grid, None).bytes(side)
    }

    /// The grid.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Values of a native stamp, `bands * side * side`.
    pub fn native_len(&self) -> usize {
        self.bands * self.side * self.side
    }

    /// Values of an image, `bands * height * width`.
    pub fn image_len(&self) -> usize {
        self.bands * self.grid.height * self.grid.width
    }

    /// Draws one stamp; overwrites `out`.
    ///
    /// `native` is `[bands, side, side]`, finite; values below 0 count as 0. `affine` maps its pixels to
    /// arcsec, `offset_arcsec` is the galaxy's centre from the centre of the grid, and `flux` multiplies
    /// (for a lensed galaxy: `flux * mu`). `out` is `[bands, height, width]`, each pixel the flux in it;
    /// not negative if `flux` is not. A galaxy whose offset is not finite lies off the grid.
    ///
    /// # Panics
    /// If a slice has not the length of [`native_len`](Self::native_len) or
    /// [`image_len`](Self::image_len).
    pub fn render(
        &mut self,
        native: &[f32],
        affine: &Affine,
        offset_arcsec: [f64; 2],
        flux: f64,
        out: &mut [f32],
    ) -> Rendered {
        assert_eq!(
            native.len(),
            self.native_len(),
            "native stamp: number of values"
        );
        assert_eq!(
            out.len(),
            self.image_len(),
            "rendered image: number of values"
        );
        let map = self.map(affine, offset_arcsec);
        let stamps = native.chunks_exact(self.side * self.side);
        let images = out.chunks_exact_mut(self.grid.width * self.grid.height);
        let (mut inside, mut whole) = (0.0, 0.0);
        for (stamp, image) in stamps.zip(images) {
            whole += self.deposit(stamp, &map);
            inside += self.bin(flux, image);
        }
        let fraction_inside = if whole > 0.0 {
            (inside / whole).min(1.0)
        } else {
            1.0
        };
        Rendered { fraction_inside }
    }

    /// Pixels of the stamp to fine pixels.
    fn map(&self, affine: &Affine, offset: [f64; 2]) -> PixelMap {
        let step = self.grid.pixel_scale / self.oversampling as f64;
        let middle = |side: usize| 0.5 * (self.oversampling * side) as f64 + self.margin as f64;
        PixelMap {
            matrix: affine.matrix().map(|v| v / step),
            centre: [
                middle(self.grid.width) + offset[0] / step,
                middle(self.grid.height) + offset[1] / step,
            ],
        }
    }

    /// Fills the fine image with one band as the PSF shows it; returns the flux of the stamp.
    fn deposit(&mut self, stamp: &[f32], map: &PixelMap) -> f64 {
        let width = self.oversampling * self.grid.width + 2 * self.margin;
        let height = self.oversampling * self.grid.height + 2 * self.margin;
        self.fine.fill(0.0);
        let mut target = Target {
            values: &mut self.fine,
            width,
            height,
        };
        let whole = self
            .resampler
            .deposit(stamp, map, self.smoothed, &mut target);
        if let Some(convolver) = &mut self.convolver {
            convolver.convolve(&mut self.fine, width, height);
        }
        whole
    }

    /// Sums fine pixels into `image`, times `flux`; returns the sum without it.
    ///
    /// Where nothing is, rounding leaves crumbs of either sign, some 1e-16 of the peak: the negative
    /// ones are dropped.
    fn bin(&self, flux: f64, image: &mut [f32]) -> f64 {
        let (k, margin) = (self.oversampling, self.margin);
        let width = k * self.grid.width + 2 * margin;
        let mut inside = 0.0;
        for (y, row) in image.chunks_exact_mut(self.grid.width).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let mut sum = 0.0;
                for j in 0..k {
                    let start = (margin + k * y + j) * width + margin + k * x;
                    for value in &self.fine[start..start + k] {
                        sum += value;
                    }
                }
                let sum = sum.max(0.0);
                inside += sum;
                *pixel = (sum * flux) as f32;
            }
        }
        inside
    }
}

/// Lays the kernel out on the circle with its centre at the origin.
fn convolver(psf: &Psf, grid: &Grid, layout: &Layout) -> Convolver {
    let [width, height] = layout.circle;
    let step = grid.pixel_scale / layout.oversampling as f64;
    let kernel = psf.kernel(step, kernel_limit(grid, layout.oversampling));
    let radius = kernel.radius;
    let mut circle = vec![0.0; width * height];
    for (i, row) in kernel.values.chunks_exact(2 * radius + 1).enumerate() {
        let y = (i + height - radius) % height;
        for (j, &value) in row.iter().enumerate() {
            circle[y * width + (j + width - radius) % width] = value;
        }
    }
    Convolver::new(width, height, &circle)
}
