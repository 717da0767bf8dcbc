//! Autoregressive models of images: ln p(image) = sum over pixels of ln p(pixel | pixels before it), in the
//! order in which images are read (van den Oord et al. 2016; Salimans et al. 2017; galaxies: Zanisi et
//! al. 2021).
//!
//! One net gives the parameters of every pixel's distribution at once, from pixels before it only. That is
//! checked on the spec: a net that looks ahead is refused.

mod head;
mod preset;

pub use head::{Head, MIN_DEVIATION, MIN_LOG_SCALE};
pub use preset::{Body, PixelCnnPreset};

use super::check;
use crate::condition::Conditions;
use crate::spec::{Net, Offset, Shape, SpecError, TensorSpec};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Configuration of the family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelCnn {
    /// Image `[1, n, n]` (and conditions) to the parameters of its pixels `[parameters, n, n]`.
    pub net: Net,
    /// What the parameters mean.
    pub head: Head,
}

impl PixelCnn {
    /// Checks the parts against each other, and that no pixel sees itself or a later one; lists all tensors:
    /// `net.*`.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        if geometry.half_light_radius.is_some() {
            let problem = "a half-light radius with a PixelCNN, expected none: its images are not in a galaxy's frame";
            return Err(SpecError::new("geometry", problem));
        }
        if geometry.bands.len() != 1 {
            let found = geometry.bands.len();
            let problem = format!(
                "{found} bands, expected 1: the order of bands within a pixel is not modelled, train one model a band"
            );
            return Err(SpecError::new("geometry", problem));
        }
        self.head.check()?;
        let image = Shape::square(1, geometry.side);
        let parameters = Shape::square(self.head.parameters(), geometry.side);
        let width = conditions.width();
        let tensors = check::net("net", &self.net, image, parameters, width)?;
        self.check_causality()?;
        Ok(tensors)
    }

    fn check_causality(&self) -> Result<(), SpecError> {
        let last = self.net.last_pixels().map_err(|e| SpecError {
            layer: format!("net.{}", e.layer),
            ..e
        })?;
        match last.iter().flatten().max() {
            Some(&seen) if seen >= Offset::HERE => {
                let what = if seen == Offset::HERE {
                    "itself".into()
                } else {
                    format!(
                        "one {} rows below and {} columns to the right",
                        seen.rows, seen.columns
                    )
                };
                let problem = format!(
                    "the distribution of a pixel depends on {what}, expected on pixels before it only: mask or shift the convolutions"
                );
                Err(SpecError::new("net", problem))
            }
            _ => Ok(()),
        }
    }
}
