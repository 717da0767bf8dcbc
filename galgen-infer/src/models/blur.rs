//! What lies between a galaxy's light and its observed stamp.

use crate::render::fft::{Convolver, good_length};
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::models::place_psf;

/// The point-spread function of the stamps to be encoded and scored.
pub(super) struct Blur {
    /// None: nothing to convolve with.
    set: bool,
    /// What the encoder sees of it.
    pub plane: Vec<f32>,
    convolver: Convolver,
    /// Side of the convolver's grid.
    grid: usize,
    /// `grid * grid`
    image: Vec<f64>,
}

impl Blur {
    /// None, for stamps of this side.
    pub fn new(side: usize) -> Self {
        let grid = Self::grid(side);
        let mut image = vec![0.0; grid * grid];
        image[0] = 1.0;
        let mut blur = Blur {
            set: false,
            plane: vec![0.0; side * side],
            convolver: Convolver::new(grid, grid, &image),
            grid,
            image,
        };
        place_psf(&[1.0], 1, &mut blur.plane, side);
        blur
    }

    /// Side of the convolver's grid: room for functions of up to the stamp's side; light does not wrap around.
    fn grid(side: usize) -> usize {
        // The convolver takes an even side.
        2 * good_length(side)
    }

    /// Bytes that [`Blur::new`] allocates.
    pub fn bytes(side: usize) -> usize {
        let grid = Self::grid(side);
        4 * side * side + 8 * grid * grid + Convolver::bytes(grid, grid)
    }

    /// Takes a function of odd side, at most the stamp's, and of sum 1.
    pub fn set(&mut self, psf: &[f32], psf_side: usize, side: usize) {
        place_psf(psf, psf_side, &mut self.plane, side);
        self.set = psf_side > 1;
        let half = psf_side / 2;
        let grid = self.grid;
        self.image.fill(0.0);
        for (i, &value) in psf.iter().enumerate() {
            let y = (i / psf_side + grid - half) % grid;
            let x = (i % psf_side + grid - half) % grid;
            self.image[y * grid + x] = f64::from(value);
        }
        self.convolver.set_kernel(&self.image);
    }

    /// Convolves every plane of `stamp`, of side `side`, in place.
    pub fn apply(&mut self, stamp: &mut [f32], side: usize) {
        if !self.set {
            return;
        }
        let area = side * side;
        for plane in stamp.chunks_exact_mut(area) {
            for (to, &from) in self.image.iter_mut().zip(plane.iter()) {
                *to = f64::from(from);
            }
            self.convolver.convolve(&mut self.image[..area], side, side);
            for (to, &from) in plane.iter_mut().zip(&self.image) {
                *to = from as f32;
            }
        }
    }
}

#[test]
fn every_side_has_a_grid() {
    for side in 1..=512 {
        let grid = Blur::grid(side);
        assert!(grid.is_multiple_of(2) && grid >= 2 * side, "{side}: {grid}");
    }
    // The next good length is odd.
    for side in [181, 302] {
        let mut blur = Blur::new(side);
        let mut psf = [0.0; 9];
        psf[5] = 1.0;
        blur.set(&psf, 3, side);
        let mut stamp = alloc::vec![0.0; side * side];
        stamp[side + 1] = 1.0;
        blur.apply(&mut stamp, side);
        assert!((stamp[side + 2] - 1.0).abs() < 1e-6, "{side}");
    }
}
