//! Densities by normalising flows, of images or of named columns of numbers: p(x) is exact, and a draw is noise taken
//! back through the flow.
//!
//! Pixels of `levels` grey levels, given as k / (levels - 1), are taken as (k + u) / levels with u uniform in (0, 1)
//! (Theis et al. 2016), so that a density on \[0, 1\] describes them; the mean of ln p over u is then a lower bound of
//! ln P(k) + D ln levels. Other data are taken as they are. What comes before the flow proper, such as the logit, is
//! part of its transforms and of its density.

mod nets;
mod preset;

pub use preset::{FlowNetwork, FlowPreset, Mix};

use super::check;
use crate::condition::Conditions;
use crate::rng::Philox;
use crate::spec::{Flow, Shape, SpecError, TensorSpec};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Numbers of grey levels.
const LEVELS: core::ops::RangeInclusive<u32> = 2..=65_536;
/// How far a pixel may be from a grey level, in levels: f32 holds 65,536 of them to 0.004.
const SLACK: f64 = 0.01;

/// Configuration of a density by a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowModel {
    /// Grey levels of a pixel; `None`: pixels, or columns, are real numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
    /// On the pixels, as a vector or as a map of \[bands, side, side\], under the conditions as context.
    pub flow: Flow,
}

impl FlowModel {
    /// Checks the flow against the data and lists its tensors, `flow.*`.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        if geometry.half_light_radius.is_some() {
            let problem = "galaxies in their own frame, expected plain images or columns";
            return Err(SpecError::new("geometry", problem));
        }
        if let Some(levels) = self.levels.filter(|l| !LEVELS.contains(l)) {
            let problem = format!("{levels}, expected {LEVELS:?}");
            return Err(SpecError::new("levels", problem));
        }
        check::context("flow", self.flow.context, conditions.width())?;
        let expected = [
            Shape::Vector(geometry.pixels()),
            Shape::square(geometry.bands.len(), geometry.side),
        ];
        if !expected.contains(&self.flow.shape) {
            let found = self.flow.shape;
            let [vector, map] = expected;
            let problem = format!("shape {found:?}, expected {vector:?} or {map:?}");
            return Err(SpecError::new("flow", problem));
        }
        self.flow.tensors("flow").map_err(|e| SpecError {
            layer: format!("flow.{}", e.layer),
            ..e
        })
    }

    /// Whether `pixel` is a value that the density knows: a grey level, or any number.
    pub fn knows(&self, pixel: f32) -> bool {
        match self.levels {
            None => pixel.is_finite(),
            Some(levels) => {
                let steps = f64::from(pixel) * f64::from(levels - 1);
                let level = libm::round(steps);
                (steps - level).abs() < SLACK && level >= 0.0 && level < f64::from(levels)
            }
        }
    }

    /// The point of the flow that stands for `pixel`, with uniform noise of `rng`, or in the middle of the level
    /// without.
    pub fn point(&self, pixel: f32, rng: Option<&mut Philox>) -> f64 {
        let Some(levels) = self.levels else {
            return f64::from(pixel);
        };
        let level = libm::round(f64::from(pixel) * f64::from(levels - 1));
        let noise = rng.map_or(0.5, Philox::uniform);
        (level + noise) / f64::from(levels)
    }

    /// The pixel for a point of the flow: the grey level that it lies in, the nearest outside of \[0, 1\].
    pub fn pixel(&self, point: f64) -> f64 {
        let Some(levels) = self.levels else {
            return point;
        };
        let last = f64::from(levels - 1);
        libm::floor(point * f64::from(levels)).clamp(0.0, last) / last
    }

    /// -ln p in bits of each of `dimensions` numbers, for grey levels: of the level itself.
    pub fn bits(&self, log_prob: f64, dimensions: usize) -> f64 {
        let levels = self.levels.map_or(0.0, |l| libm::log(f64::from(l)));
        (levels - log_prob / dimensions as f64) / core::f64::consts::LN_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use alloc::vec;

    #[test]
    fn a_pixel_survives_its_noise() {
        for levels in [2, 16, 256, 65_536] {
            let model = FlowModel {
                levels: Some(levels),
                flow: Flow::vector(1, 0, vec![]),
            };
            let mut rng = Philox::new(1, 2, Stream::Posterior);
            for k in (0..levels).step_by((levels / 16).max(1) as usize) {
                let pixel = k as f32 / (levels - 1) as f32;
                assert!(model.knows(pixel));
                for rng in [None, Some(&mut rng)] {
                    let point = model.point(pixel, rng);
                    assert!(point > 0.0 && point < 1.0);
                    assert_eq!(model.pixel(point) as f32, pixel);
                }
            }
            assert!(!model.knows(-0.4) && !model.knows(1.5) && !model.knows(f32::NAN));
        }
    }

    /// A uniform density costs log2(levels) bits a pixel.
    #[test]
    fn bits_are_those_of_a_level() {
        let model = FlowModel {
            levels: Some(256),
            flow: Flow::vector(1, 0, vec![]),
        };
        assert!((model.bits(0.0, 784) - 8.0).abs() < 1e-12);
    }
}
