//! Conditions of held-out galaxies as the model means them.

use crate::fit::flow_vae::measured;
use crate::samples::Samples;
use galgen_infer::{DrawError, Model, Session};
use std::sync::Arc;

/// Conditions of each held-out galaxy. A model with the PSF inside means the galaxy before the PSF, so that
/// they are measured on its own reconstruction, as in its training; what cannot be measured there, and all
/// conditions of other models, are those of the training set.
pub(super) fn of_held_out(model: &Arc<Model>, samples: &Samples) -> Result<Vec<Vec<f32>>, String> {
    let mut session = Session::new(model.clone());
    let mut made = vec![0.0; model.stamp_len()];
    let mut one = |&position: &usize| {
        let mut values = samples.conditions_of(position).to_vec();
        if !model.takes_psf() {
            return Ok(values);
        }
        let refused = |e: DrawError| format!("object {}: {e}", samples.ids[position]);
        let psf = samples.psf(position);
        session.set_psf(psf, samples.psf_side()).map_err(refused)?;
        let measure = |stamp: &[f32], values: &mut [f32]| -> Result<(), DrawError> {
            for (value, condition) in values.iter_mut().zip(&samples.conditions.list) {
                if let Some(found) = measured(&condition.name, stamp, samples.side) {
                    *value = found as f32;
                }
            }
            Ok(())
        };
        session
            .agree(samples.stamp(position), &mut values, &mut made, measure)
            .map_err(refused)?;
        Ok(values)
    };
    samples.validation.iter().map(&mut one).collect()
}
