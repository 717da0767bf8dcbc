//! Intrinsic stamps from the engine, exactly as large and as turned as the training stamps are.

use super::held_out::HeldOut;
use galgen_core::object::{Object, SizeDefinition};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::render::{Grid, Renderer};
use galgen_infer::{Drawn, Model, Session};
use std::sync::Arc;

/// Draws the light of single galaxies on the grid of the training stamps.
pub struct Artist {
    session: Session,
    renderer: Renderer,
}

impl Artist {
    /// Of `model`, whose stamps have one band.
    pub fn new(model: &Arc<Model>) -> Result<Self, String> {
        let geometry = &model.card().geometry;
        if geometry.bands.len() != 1 {
            return Err(format!(
                "the model has {} bands ({}); training sets, and so this evaluation, have one",
                geometry.bands.len(),
                geometry.bands.join(", ")
            ));
        }
        let grid = Grid {
            width: geometry.side,
            height: geometry.side,
            pixel_scale: 1.0,
        };
        let renderer = Renderer::new(geometry.side, 1, grid, None).map_err(|e| e.to_string())?;
        Ok(Self {
            session: Session::new(model.clone()),
            renderer,
        })
    }

    /// A stamp of unit flux before the PSF, `[side, side]`, and what the engine says of it: a galaxy of the semi-major
    /// `half_light_radius`, in pixels, at the position angle 0.
    pub fn draw(
        &mut self,
        seed: u64,
        id: u64,
        conditions: &[f32],
        half_light_radius: f64,
    ) -> Result<(Vec<f32>, Drawn), String> {
        let object = Object {
            half_light_radius,
            size_definition: SizeDefinition::SemiMajor,
            ..Object::new(id, conditions)
        };
        let mut stamp = vec![0.0; self.renderer.image_len()];
        let drawn = self
            .session
            .sample_rendered(
                seed,
                &object,
                [0.0; 2],
                &mut self.renderer,
                None,
                &mut stamp,
            )
            .map_err(|e| e.to_string())?;
        Ok((stamp, drawn))
    }

    /// The light that the model sees in the stamp of `galaxy`: a draw of its latent's posterior, decoded. // (side, side)
    pub fn reconstruct(&mut self, seed: u64, galaxy: &HeldOut) -> Result<Vec<f32>, String> {
        let session = &mut self.session;
        let model = session.model().clone();
        let mut latent = vec![0.0; model.latent()];
        let mut log_variance = latent.clone();
        if model.takes_psf() {
            let set = session.set_psf(galaxy.psf, galaxy.psf.len().isqrt());
            set.map_err(|e| e.to_string())?;
        }
        let (stamp, conditions) = (galaxy.stamp, galaxy.conditions);
        session
            .encode(stamp, conditions, &mut latent, &mut log_variance)
            .map_err(|e| e.to_string())?;
        let mut rng = Philox::new(seed, galaxy.id, Stream::Posterior);
        for (z, variance) in latent.iter_mut().zip(&log_variance) {
            *z += ((0.5 * f64::from(*variance)).exp() * rng.normal()) as f32;
        }
        let mut light = vec![0.0; stamp.len()];
        session
            .decode(&latent, conditions, &mut light)
            .map_err(|e| e.to_string())?;
        Ok(light)
    }
}
