//! Sampling and likelihood of densities by flows; the mathematics is in [`galgen_core::models::FlowModel`]. The latent is
//! the noise: encoding and decoding are the flow in its two directions, and exact.

use super::bound::LogSumExp;
use super::{Failed, Observed, Scratch, Sizes, rounded};
use crate::error::LoadError;
use crate::flow::{FlowPlan, Noises, Unsolved, default_noise};
use crate::kernels::Simd;
use crate::model::DrawError;
use crate::weights::Weights;
use galgen_core::models::FlowModel;
use galgen_core::rng::Philox;
use galgen_core::spec::Direction;

/// Numbers of items that are computed together at most: those of the largest stamps.
const MOST_NUMBERS: usize = 1 << 22;

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
    fn check(&self, stamp: &[f32]) -> Result<(), DrawError> {
        match stamp.iter().find(|&&x| !self.config.knows(x)) {
            Some(&found) => Err(DrawError::Argument {
                field: "pixel",
                found: f64::from(found),
                expected: "a grey level of the model, k / (levels - 1)",
            }),
            None => Ok(()),
        }
    }
}

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        self.flow.dim()
    }

    fn batch(&self, items: usize) -> usize {
        // No larger than the largest stamp needs alone.
        let most = (MOST_NUMBERS / self.flow.dim().max(1)).max(1);
        if self.flow.shares_weights() {
            items.min(most)
        } else {
            1
        }
    }

    fn sizes(&self, items: usize) -> Sizes {
        Sizes {
            flow: self.flow.sizes(items),
            latent: items * self.flow.dim(),
            outcomes: items,
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
    ) -> Result<(), Failed> {
        let noise = &mut scratch.z[..self.flow.dim()];
        self.flow.draw_base(rng, noise);
        rounded(noise, z)
    }

    /// A decoded image is a draw already.
    fn scatter(&self, _rng: &mut Philox, _out: &mut [f32]) {}

    fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let mut decoded = [Ok(())];
        self.decode_batch(z, context, scratch, out, &mut decoded);
        let [decoded] = decoded;
        decoded
    }

    fn decode_batch(
        &self,
        z: &[f32],
        contexts: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
        decoded: &mut [Result<(), Failed>],
    ) {
        let (dim, items) = (self.flow.dim(), decoded.len());
        let (values, outcomes) = (
            &mut scratch.z[..items * dim],
            &mut scratch.outcomes[..items],
        );
        for (to, &z) in values.iter_mut().zip(z) {
            *to = f64::from(z);
        }
        let direction = Direction::Generate;
        self.flow.run_batch(
            direction,
            values,
            contexts,
            &default_noise,
            outcomes,
            &mut scratch.flow,
        );
        let rows = values.chunks_exact_mut(dim).zip(out.chunks_exact_mut(dim));
        for ((values, out), (outcome, decoded)) in rows.zip(outcomes.iter().zip(decoded)) {
            for x in values.iter_mut() {
                *x = self.config.pixel(*x);
            }
            let made = outcome.map_err(Failed::Unsolved);
            *decoded = made.and_then(|_| rounded(values, out));
            if decoded.is_err() {
                out.fill(0.0);
            }
        }
    }

    fn has_log_densities(&self) -> bool {
        self.config.levels.is_none()
    }

    fn log_densities(
        &self,
        stamps: &[f32],
        contexts: &[f32],
        noise: Noises<'_>,
        scratch: &mut Scratch,
        out: &mut [Result<f64, Unsolved>],
    ) {
        let values = &mut scratch.u[..stamps.len()];
        for (x, &pixel) in values.iter_mut().zip(stamps) {
            *x = f64::from(pixel);
        }
        self.flow
            .log_prob_batch(values, contexts, noise, out, &mut scratch.flow);
    }

    /// The noise that an image comes from; of grey levels, that of the middle of each.
    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), DrawError> {
        self.check(stamp)?;
        let values = &mut scratch.u[..self.flow.dim()];
        for (x, &pixel) in values.iter_mut().zip(stamp) {
            *x = self.config.point(pixel, None);
        }
        let log_det = self.flow.normalise(values, context, &mut scratch.flow)?;
        if log_det == f64::NEG_INFINITY {
            return Err(DrawError::Outside);
        }
        for (mean, &z) in mean.iter_mut().zip(&*values) {
            *mean = z as f32;
        }
        log_variance.fill(f32::NEG_INFINITY);
        Ok(())
    }

    fn log_prob_latent(&self, z: &[f64], _context: &[f32], _scratch: &mut Scratch) -> f64 {
        self.flow.log_base(z)
    }

    /// Exact, but for an estimated trace; of grey levels the importance-weighted bound over their noise, with `samples` draws of it.
    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        self.check(observed.stamp)?;
        let samples = self.config.levels.map_or(1, |_| samples);
        let mut sum = LogSumExp::default();
        for _ in 0..samples {
            let values = &mut scratch.u[..self.flow.dim()];
            for (x, &pixel) in values.iter_mut().zip(observed.stamp) {
                *x = self.config.point(pixel, Some(rng));
            }
            let flow = &mut scratch.flow;
            sum.add(self.flow.log_prob(values, context, observed.noise, flow)?);
        }
        Ok(sum.value() - libm::log(f64::from(samples)))
    }
}
