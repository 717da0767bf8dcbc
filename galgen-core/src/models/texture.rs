//! The texture of a flow-VAE.

use super::check;
use crate::math::act::Act;
use crate::spec::{Layer, Net, Shape, SpecError, TensorSpec};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Largest strength s: larger ones of the net, and negative ones of a net that has those, are clamped.
pub const MAX_STRENGTH: f32 = 1.0;

/// Structure that a latent vector cannot hold: knots, dust, fragments of arms. It is drawn at random, as strong as the model
/// says for each place of each galaxy.
///
/// A drawn galaxy is m exp(s g - s^2 / 2), divided by its sum: m is the decoder's light, s a map that a net makes of the
/// latent, and g a field of mean 0 and variance 1, the same in all bands: independent numbers, each the sum of four uniform
/// ones (nearly normal, at most 3.5 deviations from 0), shared with the neighbours by a kernel of 3 x 3 pixels that
/// wraps around the stamp's border.
///
/// The likelihood adds its variance to that of [`PixelNoise`](super::PixelNoise), to first order in s and as independent
/// between pixels: that of pixel x behind a point-spread function h is share * (h * (m s))(x)^2 with share = sum of
/// (h * kernel)^2. That is the variance of what is drawn where s is small, m s varies slowly over h, and the pixels that h spans hold
/// little of the light: that the division by the sum takes some of it back is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texture {
    /// Weight t of each of a pixel's neighbours beside its own of 1, along each axis: 0 (independent pixels) to 1.
    pub neighbour: f64,
    /// z and context to the strength s of each pixel, `[1, side, side]`.
    pub strength: Net,
}

/// Sizes from which a texture is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TexturePreset {
    /// Channels of the net from a map of 4 x 4 on, each map twice as wide as the one before; the strength on the last one is
    /// enlarged to the stamp's side.
    pub channels: Vec<usize>,
    /// See [`Texture::neighbour`].
    pub neighbour: f64,
}

impl TexturePreset {
    /// The texture of these sizes for stamps of `side` pixels, a latent of so many numbers, and a context.
    pub(super) fn build(
        &self,
        side: usize,
        latent: usize,
        context: usize,
    ) -> Result<Texture, SpecError> {
        let stages = self.channels.len();
        let fits = (1..usize::BITS as usize - 2).contains(&stages) && {
            let last = 4usize << (stages - 1);
            last <= side && side.is_multiple_of(last)
        };
        if !fits || self.channels.contains(&0) {
            let problem = format!(
                "{:?}, expected numbers of 1 or more for maps of 4, 8, ... pixels that divide the stamp's {side}",
                self.channels
            );
            return Err(SpecError::new("texture.channels", problem));
        }
        let mut layers = Vec::new();
        if context > 0 {
            layers.push(Layer::AppendContext);
        }
        layers.extend([
            Layer::linear(16 * self.channels[0]),
            Layer::Activation(Act::Silu),
            Layer::Reshape(Shape::square(self.channels[0], 4)),
        ]);
        for &channels in &self.channels[1..] {
            layers.extend([
                Layer::UpsampleNearest { factor: 2 },
                Layer::conv(channels, 3, 1),
                Layer::Activation(Act::Silu),
            ]);
        }
        layers.extend([Layer::conv(1, 3, 1), Layer::Activation(Act::Softplus)]);
        let factor = side / (4 << (stages - 1));
        if factor > 1 {
            layers.push(Layer::UpsampleNearest { factor });
        }
        Ok(Texture {
            neighbour: self.neighbour,
            strength: Net {
                input: Shape::Vector(latent),
                context,
                layers,
            },
        })
    }
}

impl Texture {
    /// The kernel along one axis; its square over both axes has a sum of 1.
    pub fn kernel(&self) -> [f64; 3] {
        let t = self.neighbour;
        let norm = libm::sqrt(1.0 + 2.0 * t * t);
        [t / norm, 1.0 / norm, t / norm]
    }

    /// The part of the variance that is left behind a point-spread function of sum 1, row-major `side * side`: 1 without one.
    ///
    /// # Panics
    /// If `psf` is no square of that side.
    pub fn share(&self, psf: &[f32], side: usize) -> f64 {
        assert_eq!(psf.len(), side * side, "a square");
        let kernel = self.kernel();
        let n = side as isize;
        let mut sum = 0.0;
        for y in -1..=n {
            for x in -1..=n {
                let mut value = 0.0;
                for (dy, ky) in (-1..=1).zip(kernel) {
                    for (dx, kx) in (-1..=1).zip(kernel) {
                        let (y, x) = (y + dy, x + dx);
                        if (0..n).contains(&y) && (0..n).contains(&x) {
                            value += ky * kx * f64::from(psf[(y * n + x) as usize]);
                        }
                    }
                }
                sum += value * value;
            }
        }
        sum
    }

    /// Checks it against the model, and lists its tensors, `texture.*`.
    pub(super) fn tensors(
        &self,
        geometry: &Geometry,
        latent: usize,
        width: usize,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        if !(0.0..=1.0).contains(&self.neighbour) {
            let problem = format!("{}, expected a weight of 0 to 1", self.neighbour);
            return Err(SpecError::new("texture.neighbour", problem));
        }
        let map = Shape::square(1, geometry.side);
        check::net("texture", &self.strength, Shape::Vector(latent), map, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn texture(neighbour: f64) -> Texture {
        let preset = TexturePreset {
            channels: vec![4, 2],
            neighbour,
        };
        preset.build(32, 6, 2).unwrap()
    }

    #[test]
    fn kernels_keep_the_variance_and_blurs_take_it() {
        for t in [0.0, 0.3, 1.0] {
            let texture = texture(t);
            assert!((texture.share(&[1.0], 1) - 1.0).abs() < 1e-12);
        }
        // Four equal pixels leave a quarter of white noise, and more of what they have in common.
        let square = [0.25, 0.25, 0.0, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0];
        assert!((texture(0.0).share(&square, 3) - 0.25).abs() < 1e-12);
        assert!(texture(0.5).share(&square, 3) > 0.5);
    }

    #[test]
    fn presets_that_do_not_fit_are_refused() {
        let build = |channels: &[usize], side| {
            let preset = TexturePreset {
                channels: channels.to_vec(),
                neighbour: 0.2,
            };
            preset.build(side, 6, 0)
        };
        let texture = build(&[4, 2, 2], 64).unwrap();
        assert_eq!(texture.strength.output(), Ok(Shape::square(1, 64)));
        assert!(build(&[], 64).is_err() && build(&[4, 0], 64).is_err());
        assert!(build(&[4, 4, 4, 4, 4, 4], 64).is_err() && build(&[4, 4, 4], 40).is_err());
        assert!(build(&[1; 80], 64).is_err());
    }
}
