//! Sampling, encoding and likelihood of the flow-VAE; the mathematics is in
//! [`galgen_core::models::FlowVae`].

use crate::error::LoadError;
use crate::flow::FlowPlan;
use crate::kernels::Simd;
use crate::lower::Plan;
use crate::render::fft::{Convolver, good_length};
use crate::weights::Weights;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::models::{FlowVae, Forward, LOG_VARIANCE, place_psf};
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::{Geometry, window};

/// ln(2 pi)
const LN_2PI: f64 = 1.837_877_066_409_345_5;

/// A flow-VAE with packed weights.
pub(crate) struct Engine {
    config: FlowVae,
    encoder: Plan,
    decoder: Plan,
    flow: FlowPlan,
    window: Vec<f32>,
    side: usize,
    bands: usize,
}

/// Everything that is written while drawing or scoring one object.
pub(crate) struct Scratch {
    plans: Vec<f32>,
    /// Input of the encoder: stamp and, if the model has one, point-spread function.
    seen: Vec<f32>,
    stamp: Vec<f32>,
    blur: Option<Blur>,
    code: Vec<f32>,
    z32: Vec<f32>,
    z: Vec<f64>,
    u: Vec<f64>,
    log_weights: LogSumExp,
}

/// The point-spread function of the stamps to be encoded and scored.
struct Blur {
    /// None: nothing to convolve with.
    set: bool,
    /// What the encoder sees of it.
    plane: Vec<f32>,
    convolver: Convolver,
    /// Side of the convolver's grid.
    grid: usize,
    /// `grid * grid`
    image: Vec<f64>,
}

impl Blur {
    fn new(side: usize) -> Self {
        // Room for functions of up to the stamp's side; light does not wrap around.
        let mut grid = good_length(2 * side);
        if !grid.is_multiple_of(2) {
            grid = good_length(4 * side);
        }
        let mut image = vec![0.0; grid * grid];
        image[0] = 1.0;
        let mut blur = Blur {
            set: false,
            plane: vec![0.0; side * side],
            convolver: Convolver::new(grid, grid, &image),
            grid,
            image,
        };
        place_psf(&[1.0], 1, &mut blur.plane, side);
        blur
    }

    fn set(&mut self, psf: &[f32], psf_side: usize, side: usize) {
        place_psf(psf, psf_side, &mut self.plane, side);
        self.set = psf_side > 1;
        let half = psf_side / 2;
        let grid = self.grid;
        self.image.fill(0.0);
        for (i, &value) in psf.iter().enumerate() {
            let y = (i / psf_side + grid - half) % grid;
            let x = (i % psf_side + grid - half) % grid;
            self.image[y * grid + x] = f64::from(value);
        }
        self.convolver.set_kernel(&self.image);
    }

    /// Convolves every plane of `stamp`, of side `side`, in place.
    fn apply(&mut self, stamp: &mut [f32], side: usize) {
        if !self.set {
            return;
        }
        let area = side * side;
        for plane in stamp.chunks_exact_mut(area) {
            for (to, &from) in self.image.iter_mut().zip(plane.iter()) {
                *to = f64::from(from);
            }
            self.convolver.convolve(&mut self.image[..area], side, side);
            for (to, &from) in plane.iter_mut().zip(&self.image) {
                *to = from as f32;
            }
        }
    }
}

/// A stamp to be scored. The conditions are given apart, standardised.
pub(crate) struct Observed<'a> {
    /// Unit sum, galaxy frame.
    pub stamp: &'a [f32],
    /// Sky noise of a pixel in units of the stamp's sum, or the model's typical one.
    pub sky: Option<f64>,
}

/// The decoder gave no light, negative light or not a number, or the flow left the range of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoLight;

impl Engine {
    pub fn new(
        config: &FlowVae,
        geometry: &Geometry,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        Ok(Engine {
            config: config.clone(),
            encoder: Plan::new(&config.encoder, "encoder", weights, simd)?,
            decoder: Plan::new(&config.decoder, "decoder", weights, simd)?,
            flow: FlowPlan::new(&config.flow, "flow", weights, simd)?,
            window: window(geometry.side),
            side: geometry.side,
            bands: geometry.bands.len(),
        })
    }

    pub fn latent(&self) -> usize {
        self.config.latent
    }

    pub fn scratch(&self) -> Scratch {
        let plans = [&self.encoder, &self.decoder].map(Plan::scratch_len);
        let longest = plans[0].max(plans[1]).max(self.flow.scratch_len());
        Scratch {
            plans: vec![0.0; longest],
            seen: vec![0.0; self.encoder_input()],
            stamp: vec![0.0; self.bands * self.window.len()],
            blur: match self.config.forward {
                Forward::Direct => None,
                Forward::Psf => Some(Blur::new(self.side)),
            },
            code: vec![0.0; 2 * self.config.latent],
            z32: vec![0.0; self.config.latent],
            z: vec![0.0; self.config.latent],
            u: vec![0.0; self.config.latent],
            log_weights: LogSumExp::default(),
        }
    }

    fn encoder_input(&self) -> usize {
        (self.bands + self.config.forward.planes()) * self.window.len()
    }

    /// Whether observed stamps are blurred versions of the model's.
    pub fn forward(&self) -> Forward {
        self.config.forward
    }

    /// The point-spread function of the stamps that are encoded and scored from now on: odd side, at most
    /// the stamp's, of sum 1. Ignored by a model of [`Forward::Direct`].
    pub fn set_psf(&self, psf: &[f32], psf_side: usize, scratch: &mut Scratch) {
        if let Some(blur) = &mut scratch.blur {
            blur.set(psf, psf_side, self.side);
        }
    }

    /// Draws the shape of object `id`: unit sum, galaxy frame.
    pub fn draw(
        &self,
        seed: u64,
        id: u64,
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), NoLight> {
        self.latent_into_scratch(seed, id, context, scratch)?;
        self.decode_into(&scratch.z32, context, &mut scratch.plans, out)
    }

    /// The latent of object `id`.
    pub fn draw_latent(
        &self,
        seed: u64,
        id: u64,
        context: &[f32],
        scratch: &mut Scratch,
        z: &mut [f32],
    ) -> Result<(), NoLight> {
        self.latent_into_scratch(seed, id, context, scratch)?;
        z.copy_from_slice(&scratch.z32);
        Ok(())
    }

    /// Leaves the latent of object `id` in `scratch.z32`.
    fn latent_into_scratch(
        &self,
        seed: u64,
        id: u64,
        context: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), NoLight> {
        let mut rng = Philox::new(seed, id, Stream::Latent);
        scratch.z.fill_with(|| rng.normal());
        self.flow
            .generate(&mut scratch.z, context, &mut scratch.plans);
        for (z32, &z) in scratch.z32.iter_mut().zip(&scratch.z) {
            *z32 = z as f32;
        }
        // A saturating activation of the decoder would make numbers of it again.
        if scratch.z32.iter().any(|z| !z.is_finite()) {
            return Err(NoLight);
        }
        Ok(())
    }

    /// The unit-sum stamp of latent `z`.
    pub fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), NoLight> {
        self.decode_into(z, context, &mut scratch.plans, out)
    }

    fn decode_into(
        &self,
        z: &[f32],
        context: &[f32],
        plans: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), NoLight> {
        self.decoder.run(z, context, out, plans);
        let mut sum = 0.0;
        let mut negative = false;
        for plane in out.chunks_exact_mut(self.window.len()) {
            for (pixel, window) in plane.iter_mut().zip(&self.window) {
                *pixel *= window;
                sum += f64::from(*pixel);
                negative |= *pixel < 0.0;
            }
        }
        if negative || !(sum.is_finite() && sum > 0.0) {
            out.fill(0.0);
            return Err(NoLight);
        }
        for pixel in out {
            *pixel = (f64::from(*pixel) / sum) as f32;
        }
        Ok(())
    }

    /// Mean and ln variance of the posterior of z, for a unit-sum stamp.
    pub fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) {
        let latent = self.config.latent;
        self.encode_into(stamp, context, scratch);
        mean.copy_from_slice(&scratch.code[..latent]);
        log_variance.copy_from_slice(&scratch.code[latent..]);
    }

    fn encode_into(&self, stamp: &[f32], context: &[f32], scratch: &mut Scratch) {
        let latent = self.config.latent;
        let intensity = self.config.intensity as f32;
        let psf = scratch.blur.as_ref().map_or(&[][..], |b| &b.plane);
        for (x, &pixel) in scratch.seen.iter_mut().zip(stamp.iter().chain(psf)) {
            *x = pixel * intensity;
        }
        self.encoder.run(
            &scratch.seen,
            context,
            &mut scratch.code,
            &mut scratch.plans,
        );
        for v in &mut scratch.code[latent..] {
            *v = v.clamp(LOG_VARIANCE[0], LOG_VARIANCE[1]);
        }
    }

    /// ln p(z | context) under the flow; minus infinity where the networks overflow.
    pub fn log_prob_latent(&self, z: &[f64], context: &[f32], scratch: &mut Scratch) -> f64 {
        scratch.u.copy_from_slice(z);
        self.log_prob_u(context, scratch)
    }

    /// ln p of the latent that stands in `scratch.u`, which is overwritten.
    fn log_prob_u(&self, context: &[f32], scratch: &mut Scratch) -> f64 {
        let log_det = self
            .flow
            .normalise(&mut scratch.u, context, &mut scratch.plans);
        let log_prob = log_det + scratch.u.iter().map(|&u| log_normal(u)).sum::<f64>();
        // So far out that the networks overflow.
        if log_prob.is_nan() {
            f64::NEG_INFINITY
        } else {
            log_prob
        }
    }

    /// Importance-weighted lower bound (Burda et al. 2016) of ln p(stamp | context) with `samples`
    /// posterior draws; with one, an unbiased draw of the evidence lower bound.
    pub fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> f64 {
        let latent = self.config.latent;
        self.encode_into(observed.stamp, context, scratch);
        scratch.log_weights = LogSumExp::default();
        for _ in 0..samples {
            let mut log_posterior = 0.0;
            for i in 0..latent {
                let log_variance = f64::from(scratch.code[latent + i]);
                let normal = rng.normal();
                let deviation = libm::exp(0.5 * log_variance);
                let z = f64::from(scratch.code[i]) + deviation * normal;
                // The decoder sees f32; the flow is evaluated where the decoder is.
                scratch.z32[i] = z as f32;
                scratch.u[i] = f64::from(scratch.z32[i]);
                log_posterior += log_normal(normal) - 0.5 * log_variance;
            }
            let log_prior = self.log_prob_u(context, scratch);
            let Scratch {
                plans,
                stamp,
                blur,
                z32,
                ..
            } = scratch;
            let log_pixels = match self.decode_into(z32, context, plans, stamp) {
                Ok(()) => {
                    if let Some(blur) = blur {
                        blur.apply(stamp, self.side);
                    }
                    self.log_pixels(observed, stamp)
                }
                Err(NoLight) => f64::NEG_INFINITY,
            };
            scratch
                .log_weights
                .add(log_pixels + log_prior - log_posterior);
        }
        scratch.log_weights.value() - libm::log(f64::from(samples))
    }

    /// ln p(stamp | z) in intensity units over the pixels inside the stamp's circle.
    fn log_pixels(&self, observed: &Observed, decoded: &[f32]) -> f64 {
        let noise = &self.config.noise;
        let intensity = self.config.intensity;
        let sky = observed.sky.map_or(noise.typical_sky, |s| s * intensity);
        let plane = self.window.len();
        let mut sum = 0.0;
        for (i, (&x, &m)) in observed.stamp.iter().zip(decoded).enumerate() {
            if self.window[i % plane] > 0.0 {
                let model = f64::from(m) * intensity;
                let residual = f64::from(x) * intensity - model;
                let variance = noise.variance(model, sky);
                sum += residual * residual / variance + libm::log(variance) + LN_2PI;
            }
        }
        -0.5 * sum
    }
}

/// ln of the standard normal density.
fn log_normal(x: f64) -> f64 {
    -0.5 * (x * x + LN_2PI)
}

/// Running ln(sum exp(x)) that does not overflow.
#[derive(Clone, Copy)]
struct LogSumExp {
    largest: f64,
    /// Sum of exp(x - largest).
    sum: f64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        LogSumExp {
            largest: f64::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl LogSumExp {
    /// Adds a term; one that is minus infinity, or not a number, adds nothing.
    fn add(&mut self, x: f64) {
        if x.is_nan() || x == f64::NEG_INFINITY {
            return;
        }
        if x <= self.largest {
            self.sum += libm::exp(x - self.largest);
        } else {
            self.sum = self.sum * libm::exp(self.largest - x) + 1.0;
            self.largest = x;
        }
    }

    fn value(&self) -> f64 {
        self.largest + libm::log(self.sum)
    }
}
