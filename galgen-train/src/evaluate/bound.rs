//! How likely held-out galaxies are under the model.

use super::held_out::HeldOut;
use galgen_infer::{DrawError, Model, Session};
use std::sync::Arc;

/// Posterior draws of the importance-weighted bound.
pub const DRAWS: u32 = 64;
/// Held-out stamps whose bound is averaged.
const STAMPS: usize = 100;

/// Mean importance-weighted bound (Burda et al. 2016) in nats of evenly chosen held-out stamps, with the
/// model's typical sky noise, and their number.
pub fn bound(model: &Arc<Model>, held_out: &[HeldOut], seed: u64) -> Result<(f64, usize), String> {
    let mut session = Session::new(model.clone());
    let step = (held_out.len() / STAMPS).max(1);
    let (mut sum, mut count) = (0.0, 0);
    for galaxy in held_out.iter().step_by(step).take(STAMPS) {
        let HeldOut {
            id,
            stamp,
            conditions,
            psf,
            ..
        } = *galaxy;
        let refused = |e: DrawError| format!("object {id}: {e}");
        if model.takes_psf() {
            session.set_psf(psf, psf.len().isqrt()).map_err(refused)?;
        }
        sum += session
            .log_likelihood(stamp, conditions, None, DRAWS, seed, id)
            .map_err(refused)?;
        count += 1;
    }
    Ok((sum / count as f64, count))
}
