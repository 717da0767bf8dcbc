//! Sampling and likelihood of densities by flows; the mathematics is in [`galgen_core::models::FlowModel`]. The latent is
//! the noise: encoding and decoding are the flow in its two directions, and exact.

use super::bound::LogSumExp;
use super::{NoLight, Observed, Scratch, Sizes, rounded};
use crate::error::LoadError;
use crate::flow::FlowPlan;
use crate::kernels::Simd;
use crate::model::DrawError;
use crate::weights::Weights;
use galgen_core::models::FlowModel;
use galgen_core::rng::Philox;

/// A flow with packed weights.
pub(crate) struct Engine {
    config: FlowModel,
    flow: FlowPlan,
    /// Whether weights were stored in 16 bits.
    half: bool,
}

impl Engine {
    pub fn new(config: &FlowModel, weights: &Weights, simd: Simd) -> Result<Self, LoadError> {
        Ok(Engine {
            config: config.clone(),
            flow: FlowPlan::new(&config.flow, "flow", weights, simd)?,
            half: weights.any_half(),
        })
    }

    /// Whether the density is one of these pixels.
    fn check_observed(&self, observed: &Observed) -> Result<(), DrawError> {
        let refuse = |field, found, expected| {
            Err(DrawError::Argument {
                field,
                found,
                expected,
            })
        };
        if let Some(found) = observed.sky {
            return refuse(
                "sky",
                found,
                "none: the density of a flow has no noise of its own",
            );
        }
        match observed.stamp.iter().find(|&&x| !self.config.knows(x)) {
            Some(&found) => {
                let expected = "a grey level of the model, k / (levels - 1)";
                refuse("pixel", f64::from(found), expected)
            }
            None => Ok(()),
        }
    }
}

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        self.flow.dim()
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            flow: self.flow.sizes(),
            latent: self.flow.dim(),
            ..Sizes::default()
        }
    }

    fn half_precision(&self) -> bool {
        self.half
    }

    fn draw_latent(
        &self,
        rng: &mut Philox,
        _context: &[f32],
        scratch: &mut Scratch,
        z: &mut [f32],
    ) -> Result<(), NoLight> {
        self.flow.draw_base(rng, &mut scratch.z);
        rounded(&scratch.z, z)
    }

    /// A decoded image is a draw already.
    fn scatter(&self, _rng: &mut Philox, _out: &mut [f32]) {}

    fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), NoLight> {
        for (to, &z) in scratch.z.iter_mut().zip(z) {
            *to = f64::from(z);
        }
        let made = self
            .flow
            .generate(&mut scratch.z, context, &mut scratch.flow);
        for x in &mut scratch.z {
            *x = self.config.pixel(*x);
        }
        let finite = made
            .map_err(|_| NoLight)
            .and_then(|_| rounded(&scratch.z, out));
        finite.inspect_err(|_| out.fill(0.0))
    }

    /// The noise that an image comes from; of grey levels, that of the middle of each.
    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) {
        for (x, &pixel) in scratch.u.iter_mut().zip(stamp) {
            *x = self.config.point(pixel, None);
        }
        let made = self
            .flow
            .normalise(&mut scratch.u, context, &mut scratch.flow);
        for (mean, &z) in mean.iter_mut().zip(&scratch.u) {
            // The session refuses what is no number.
            *mean = if made.is_ok() { z as f32 } else { f32::NAN };
        }
        log_variance.fill(f32::NEG_INFINITY);
    }

    fn log_prob_latent(&self, z: &[f64], _context: &[f32], _scratch: &mut Scratch) -> f64 {
        self.flow.log_base(z)
    }

    /// Exact; of grey levels the importance-weighted bound over their noise, with `samples` draws of it.
    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        self.check_observed(observed)?;
        let samples = self.config.levels.map_or(1, |_| samples);
        let mut sum = LogSumExp::default();
        for _ in 0..samples {
            for (x, &pixel) in scratch.u.iter_mut().zip(observed.stamp) {
                *x = self.config.point(pixel, Some(rng));
            }
            sum.add(
                self.flow
                    .log_prob(&mut scratch.u, context, &mut scratch.flow)?,
            );
        }
        Ok(sum.value() - libm::log(f64::from(samples)))
    }
}
