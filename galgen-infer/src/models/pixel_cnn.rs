//! Likelihood and drawing of autoregressive models of images; the mathematics is in
//! [`galgen_core::models::PixelCnn`].
//!
//! ln p, means and parameters of all pixels take one evaluation of the net, drawing takes the work of one
//! (see [`crate::causal`]). Heads are computed in f64.

use super::{Failed, Observed, Scratch, Sizes};
use crate::causal::CausalPlan;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::Plan;
use crate::model::DrawError;
use crate::weights::Weights;
use galgen_core::models::{Head, PixelCnn};
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::Geometry;

/// Blocks of random numbers that belong to a pixel.
const BLOCKS: u32 = 2;

/// An autoregressive model with packed weights.
pub(crate) struct Engine {
    head: Head,
    /// All pixels at once.
    plan: Plan,
    /// One after the other.
    causal: CausalPlan,
    pixels: usize,
    /// Some weights were stored in 16 bits.
    half: bool,
}

impl Engine {
    pub fn new(
        config: &PixelCnn,
        geometry: &Geometry,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let plan = Plan::direct(&config.net, "net", weights, simd)?;
        let causal = CausalPlan::new(&config.net, "net", weights, simd)?;
        debug_assert_eq!(
            2 * causal.multiply_adds(),
            plan.flops(),
            "work of one image"
        );
        Ok(Engine {
            head: config.head,
            plan,
            causal,
            pixels: geometry.pixels(),
            half: weights.any_half(),
        })
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// Leaves the parameters `[parameters, n, n]` of all pixels in `scratch.code`.
    fn evaluate(&self, image: &[f32], context: &[f32], scratch: &mut Scratch) {
        let Scratch { code, plans, .. } = scratch;
        self.plan.run(image, context, code, plans);
    }

    /// Calls `visit` with (pixel, its parameters) for all pixels.
    pub fn each_pixel(
        &self,
        image: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mut visit: impl FnMut(usize, &mut [f64]),
    ) {
        self.evaluate(image, context, scratch);
        let Scratch { code, u, .. } = scratch;
        for i in 0..self.pixels {
            let parameters = code[i..].iter().step_by(self.pixels);
            for (to, &from) in u.iter_mut().zip(parameters) {
                *to = f64::from(from);
            }
            visit(i, u);
        }
    }

    /// The parameters of all pixels `[parameters, n, n]` as the net gives them.
    pub fn parameters(
        &self,
        image: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        self.evaluate(image, context, scratch);
        out.copy_from_slice(&scratch.code);
    }

    /// An error unless the head can judge all pixels.
    pub fn check(&self, image: impl IntoIterator<Item = f32>) -> Result<(), DrawError> {
        match image
            .into_iter()
            .find(|&pixel| !self.head.knows(f64::from(pixel)))
        {
            None => Ok(()),
            Some(found) => Err(DrawError::Argument {
                field: "pixel",
                found: f64::from(found),
                expected: match self.head {
                    Head::Bernoulli => "0 or 1: binarise the image first",
                    Head::Categorical { .. } | Head::DiscretisedLogistic { .. } => {
                        "a level of the model, k / (levels - 1): scale the image to 0 to 1 and round it"
                    }
                    Head::Gaussian | Head::GaussianMixture { .. } => "finite numbers",
                },
            }),
        }
    }

    /// Image `id` under `seed`: pixels with a value in `given` have it, the others are drawn from their
    /// distribution given all before them. `visit` is called with (pixel, its parameters) in reading order.
    pub fn draw(
        &self,
        [seed, id]: [u64; 2],
        given: impl Fn(usize) -> Option<f32>,
        context: &[f32],
        scratch: &mut Scratch,
        image: &mut [f32],
        mut visit: impl FnMut(usize, &[f64]),
    ) -> Result<(), Failed> {
        let Scratch { sampler, u, .. } = scratch;
        let state = sampler.as_mut().expect("made by `scratch`");
        let mut rng = Philox::new(seed, id, Stream::Pixel);
        let mut finite = true;
        self.causal.draw(context, state, image, |i, parameters| {
            for (to, &from) in u.iter_mut().zip(parameters) {
                *to = f64::from(from);
            }
            visit(i, u);
            let value = given(i).unwrap_or_else(|| {
                rng.skip_to(BLOCKS * i as u32);
                self.head.draw(u, &mut rng)
            });
            finite &= value.is_finite() && parameters.iter().all(|p| p.is_finite());
            value
        });
        match finite {
            true => Ok(()),
            false => Err(Failed::NoLight),
        }
    }
}

/// There is no latent: [`Session`](crate::Session) says so before it asks.
const NO_LATENT: &str = "an autoregressive model has no latent";

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        0
    }

    fn sizes(&self, _items: usize) -> Sizes {
        let parameters = self.head.parameters();
        Sizes {
            plans: self.plan.scratch_len(),
            stamp: self.pixels,
            code: parameters * self.pixels,
            latent: parameters,
            sampler: Some(self.causal.sizes()),
            ..Sizes::default()
        }
    }

    fn autoregressive(&self) -> Option<&Engine> {
        Some(self)
    }

    fn draw_latent(
        &self,
        _rng: &mut Philox,
        _context: &[f32],
        _scratch: &mut Scratch,
        _z: &mut [f32],
    ) -> Result<(), Failed> {
        unreachable!("{NO_LATENT}")
    }

    fn scatter(&self, _rng: &mut Philox, _out: &mut [f32]) {
        unreachable!("{NO_LATENT}")
    }

    fn decode(
        &self,
        _z: &[f32],
        _context: &[f32],
        _scratch: &mut Scratch,
        _out: &mut [f32],
    ) -> Result<(), Failed> {
        unreachable!("{NO_LATENT}")
    }

    fn encode(
        &self,
        _stamp: &[f32],
        _context: &[f32],
        _scratch: &mut Scratch,
        _mean: &mut [f32],
        _log_variance: &mut [f32],
    ) -> Result<(), DrawError> {
        unreachable!("{NO_LATENT}")
    }

    fn log_prob_latent(&self, _z: &[f64], _context: &[f32], _scratch: &mut Scratch) -> f64 {
        unreachable!("{NO_LATENT}")
    }

    /// Exact: `samples` and `rng` are not used.
    fn half_precision(&self) -> bool {
        self.half
    }

    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        _samples: u32,
        _rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        let image = observed.stamp;
        self.check(image.iter().copied())?;
        let mut sum = 0.0;
        self.each_pixel(image, context, scratch, |i, parameters| {
            sum += self.head.log_prob(parameters, f64::from(image[i]));
        });
        Ok(sum)
    }
}
