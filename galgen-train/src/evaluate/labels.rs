//! What the model is asked for in place of each held-out galaxy.

use crate::fit::flow_vae::measured;
use crate::samples::Samples;
use galgen_core::measure;
use galgen_infer::{DrawError, Model, Session};
use std::sync::Arc;

/// A galaxy like a held-out one, as the model means it.
pub(super) struct Asked {
    /// Physical conditions.
    pub conditions: Vec<f32>,
    /// Semi-major, in pixels.
    pub half_light_radius: f64,
}

/// What to ask for in place of each held-out galaxy.
///
/// The half-light radius is that of the model's own reconstruction: a training stamp has its nominal one as far as
/// `prepare` could tell through the point-spread function, which is a few percent off. A model with the PSF inside means the
/// galaxy before the PSF by its conditions, too, so that they are measured on the reconstruction, as in its training; what
/// cannot be measured there, and all conditions of other models, are those of the training set.
pub(super) fn of_held_out(model: &Arc<Model>, samples: &Samples) -> Result<Vec<Asked>, String> {
    let mut session = Session::new(model.clone());
    let mut made = vec![0.0; model.stamp_len()];
    let side = samples.side;
    let mut one = |&position: &usize| {
        let mut conditions = samples.conditions_of(position).to_vec();
        let refused = |e: DrawError| format!("object {}: {e}", samples.ids[position]);
        let stamp = samples.stamp(position);
        if model.takes_psf() {
            let psf = samples.psf(position);
            session.set_psf(psf, samples.psf_side()).map_err(refused)?;
            let measure = |stamp: &[f32], values: &mut [f32]| -> Result<(), DrawError> {
                for (value, condition) in values.iter_mut().zip(&samples.conditions.list) {
                    if let Some(found) = measured(&condition.name, stamp, side) {
                        *value = found as f32;
                    }
                }
                Ok(())
            };
            let agreed = session.agree(stamp, &mut conditions, &mut made, measure);
            agreed.map_err(refused)?;
        } else {
            let reconstructed = session.reconstruct(stamp, &conditions, &mut made);
            reconstructed.map_err(refused)?;
        }
        let radius = || {
            let axis_ratio = measure::shape(&made, side)?.ellipse.axis_ratio;
            measure::half_light_radius(&made, side, axis_ratio)
        };
        Ok(Asked {
            half_light_radius: radius().unwrap_or(samples.half_light_radius),
            conditions,
        })
    };
    samples.validation.iter().map(&mut one).collect()
}
