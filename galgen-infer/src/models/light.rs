//! From a decoder's output to a galaxy's light.

use super::Failed;
use alloc::vec::Vec;
use galgen_core::stamp::window;

/// The border window of a galaxy's stamp, `[side, side]`.
pub(super) struct Light {
    window: Vec<f32>,
}

impl Light {
    pub fn new(side: usize) -> Self {
        Light {
            window: window(side),
        }
    }

    /// Pixels of one band.
    pub fn plane(&self) -> usize {
        self.window.len()
    }

    /// Whether pixel `i` of a stamp lies inside its circle, where the likelihood is defined.
    pub fn inside(&self, i: usize) -> bool {
        self.window[i % self.window.len()] > 0.0
    }

    /// Multiplies `stamp` by the window and divides it by its sum.
    pub fn normalise(&self, stamp: &mut [f32]) -> Result<(), Failed> {
        for plane in stamp.chunks_exact_mut(self.window.len()) {
            for (pixel, window) in plane.iter_mut().zip(&self.window) {
                *pixel *= window;
            }
        }
        rescale(stamp)
    }
}

/// Divides `stamp` by its sum.
pub(super) fn rescale(stamp: &mut [f32]) -> Result<(), Failed> {
    let mut sum = 0.0;
    let mut negative = false;
    for pixel in &*stamp {
        sum += f64::from(*pixel);
        negative |= *pixel < 0.0;
    }
    if negative || !(sum.is_finite() && sum > 0.0) {
        stamp.fill(0.0);
        return Err(Failed::NoLight);
    }
    for pixel in stamp {
        *pixel = (f64::from(*pixel) / sum) as f32;
    }
    Ok(())
}
