//! Intrinsic stamps from the engine, exactly as large and as turned as the training stamps are.

use galgen_core::object::{Object, SizeDefinition};
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
}
