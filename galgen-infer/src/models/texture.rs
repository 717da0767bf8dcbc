//! The random detail of a drawn galaxy; the mathematics is in [`galgen_core::models::Texture`].

use super::{Failed, light};
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::elementary::log_normal;
use crate::lower::Plan;
use crate::weights::Weights;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::models::{self, MAX_STRENGTH};
use galgen_core::rng::Philox;

/// Mean and inverse deviation of the sum of four whole numbers, each uniform in 0 .. 2^16.
const FOUR_MEAN: f32 = 131_070.0;
const FOUR_SCALE: f32 = 2.642_899_8e-5;

/// A texture with packed weights.
pub(super) struct Texture {
    config: models::Texture,
    strength: Plan,
    kernel: [f32; 3],
    side: usize,
    simd: Simd,
}

/// What is written while a texture is drawn or counted.
pub(super) struct TextureScratch {
    /// `[side, side]` each.
    pub strength: Vec<f32>,
    field: Vec<f32>,
    /// `[bands, side, side]`: light times strength.
    pub light: Vec<f32>,
    /// Part of the variance that is left behind the point-spread function.
    pub share: f64,
}

/// Pixels of a plane, and of a stamp.
pub(super) struct TextureSizes {
    pub plane: usize,
    pub stamp: usize,
}

impl TextureSizes {
    /// Bytes that [`TextureScratch::new`] allocates.
    pub fn bytes(&self) -> usize {
        4 * (2 * self.plane + self.stamp)
    }
}

impl TextureScratch {
    pub fn new(sizes: &TextureSizes) -> Self {
        TextureScratch {
            strength: vec![0.0; sizes.plane],
            field: vec![0.0; sizes.plane],
            light: vec![0.0; sizes.stamp],
            share: 1.0,
        }
    }
}

impl Texture {
    pub fn new(
        config: &models::Texture,
        side: usize,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        Ok(Texture {
            strength: Plan::new(&config.strength, "texture", weights, simd)?,
            kernel: config.kernel().map(|k| k as f32),
            config: config.clone(),
            side,
            simd,
        })
    }

    /// Numbers of scratch of the net.
    pub fn plan_len(&self) -> usize {
        self.strength.scratch_len()
    }

    /// Takes the point-spread function of the stamps that are scored from now on.
    pub fn set_psf(&self, psf: &[f32], psf_side: usize, scratch: &mut TextureScratch) {
        scratch.share = self.config.share(psf, psf_side);
    }

    /// Leaves the strength for `z` in the scratch.
    pub fn set_strength(
        &self,
        z: &[f32],
        context: &[f32],
        plans: &mut [f32],
        scratch: &mut TextureScratch,
    ) {
        self.strength.run(z, context, &mut scratch.strength, plans);
        for s in &mut scratch.strength {
            *s = s.clamp(0.0, MAX_STRENGTH);
        }
    }

    /// Leaves `stamp` times the strength, which stands there, in the scratch.
    pub fn set_light(&self, stamp: &[f32], scratch: &mut TextureScratch) {
        let TextureScratch {
            strength, light, ..
        } = scratch;
        let planes = stamp.chunks_exact(strength.len());
        for (to, plane) in light.chunks_exact_mut(strength.len()).zip(planes) {
            for ((to, pixel), s) in to.iter_mut().zip(plane).zip(&*strength) {
                *to = pixel * s;
            }
        }
    }

    /// Draws the texture of `stamp`, under the strength that stands in the scratch.
    pub fn draw(
        &self,
        rng: &mut Philox,
        scratch: &mut TextureScratch,
        stamp: &mut [f32],
    ) -> Result<(), Failed> {
        let TextureScratch {
            strength,
            field,
            light: spare,
            ..
        } = scratch;
        let n = self.side;
        let spare = &mut spare[..n * n];
        white(rng, field);
        let [near, own, _] = self.kernel;
        for (from, to) in field.chunks_exact(n).zip(spare.chunks_exact_mut(n)) {
            for (x, to) in to.iter_mut().enumerate() {
                *to = own * from[x] + near * (from[(x + n - 1) % n] + from[(x + 1) % n]);
            }
        }
        for (y, to) in field.chunks_exact_mut(n).enumerate() {
            let row = |y: usize| &spare[y % n * n..][..n];
            let (above, here, below) = (row(y + n - 1), row(y), row(y + 1));
            for (((to, above), here), below) in to.iter_mut().zip(above).zip(here).zip(below) {
                *to = own * here + near * (above + below);
            }
        }
        log_normal(self.simd, strength, field);
        for plane in stamp.chunks_exact_mut(n * n) {
            for (pixel, factor) in plane.iter_mut().zip(&*field) {
                *pixel *= factor;
            }
        }
        light::rescale(stamp)
    }
}

/// Independent numbers of mean 0 and variance 1: whole numbers until the last step, so that they are the same everywhere.
fn white(rng: &mut Philox, out: &mut [f32]) {
    let mut words = [0; 64];
    for out in out.chunks_mut(words.len() / 2) {
        let words = &mut words[..2 * out.len()];
        rng.fill(words);
        for (out, words) in out.iter_mut().zip(words.as_chunks::<2>().0) {
            let sum: u32 = words.iter().map(|w| (w & 0xffff) + (w >> 16)).sum();
            *out = (sum as f32 - FOUR_MEAN) * FOUR_SCALE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::Stream;

    #[test]
    fn the_field_is_white_of_variance_1() {
        let mut g = vec![0.0; 1 << 20];
        white(&mut Philox::new(1, 2, Stream::Texture), &mut g);
        let mean = |f: &dyn Fn(usize) -> f64| {
            (0..g.len() - 64).map(f).sum::<f64>() / (g.len() - 64) as f64
        };
        let at = |i: usize| f64::from(g[i]);
        assert!(mean(&at).abs() < 4e-3);
        assert!((mean(&|i| at(i) * at(i)) - 1.0).abs() < 6e-3);
        // The kurtosis of four uniforms: 3 - 1.2 / 4.
        assert!((mean(&|i| at(i).powi(4)) - 2.7).abs() < 0.03);
        for lag in [1, 2, 64] {
            assert!(mean(&|i| at(i) * at(i + lag)).abs() < 4e-3);
        }
    }
}
