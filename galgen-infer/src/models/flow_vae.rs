//! Sampling, encoding and likelihood of the flow-VAE; the mathematics is in
//! [`galgen_core::models::FlowVae`].

use super::bound::{LN_2PI, clamp_log_variance, importance_weighted};
use super::light::Light;
use super::texture::{Texture, TextureSizes};
use super::{Failed, Observed, Scratch, Sizes, rounded};
use crate::error::LoadError;
use crate::flow::FlowPlan;
use crate::kernels::Simd;
use crate::lower::Plan;
use crate::model::DrawError;
use crate::weights::Weights;
use galgen_core::models::{FlowVae, Forward};
use galgen_core::rng::Philox;
use galgen_core::spec::TraceNoise;
use galgen_core::stamp::Geometry;

/// A flow-VAE with packed weights.
pub(crate) struct Engine {
    config: FlowVae,
    encoder: Plan,
    decoder: Plan,
    flow: FlowPlan,
    texture: Option<Texture>,
    light: Light,
    side: usize,
    bands: usize,
}

impl Engine {
    pub fn new(
        config: &FlowVae,
        geometry: &Geometry,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let texture = config.texture.as_ref();
        let texture = texture.map(|t| Texture::new(t, geometry.side, weights, simd));
        Ok(Engine {
            texture: texture.transpose()?,
            config: config.clone(),
            encoder: Plan::new(&config.encoder, "encoder", weights, simd)?,
            decoder: Plan::new(&config.decoder, "decoder", weights, simd)?,
            flow: FlowPlan::new(&config.flow, "flow", weights, simd)?,
            light: Light::new(geometry.side),
            side: geometry.side,
            bands: geometry.bands.len(),
        })
    }

    fn decode_into(
        &self,
        z: &[f32],
        context: &[f32],
        plans: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.decoder.run(z, context, out, plans);
        self.light.normalise(out)
    }

    fn encode_into(&self, stamp: &[f32], context: &[f32], scratch: &mut Scratch) {
        let intensity = self.config.intensity as f32;
        let psf = scratch.blur.as_ref().map_or(&[][..], |b| &b.plane);
        for (x, &pixel) in scratch.seen.iter_mut().zip(stamp.iter().chain(psf)) {
            *x = pixel * intensity;
        }
        let Scratch {
            seen, code, plans, ..
        } = scratch;
        self.encoder.run(seen, context, code, plans);
        clamp_log_variance(&mut code[self.config.latent..]);
    }

    /// ln p of the latent that stands in `scratch.u`, which is overwritten.
    fn log_prob_u(&self, context: &[f32], noise: TraceNoise, scratch: &mut Scratch) -> f64 {
        let Scratch { u, flow, .. } = scratch;
        let found = self.flow.log_prob(u, context, noise, flow);
        // A latent that cannot be followed through a continuous flow is far out.
        found.unwrap_or(f64::NEG_INFINITY)
    }

    /// ln p(stamp | z) in intensity units over the pixels inside the stamp's circle. `texture` has the deviation of each
    /// pixel by texture, and is empty where there is none.
    fn log_pixels(&self, observed: &Observed, decoded: &[f32], texture: &[f32], share: f64) -> f64 {
        let noise = &self.config.noise;
        let intensity = self.config.intensity;
        let sky = observed.sky.map_or(noise.typical_sky, |s| s * intensity);
        let mut sum = 0.0;
        for (i, (&x, &m)) in observed.stamp.iter().zip(decoded).enumerate() {
            if self.light.inside(i) {
                let model = f64::from(m) * intensity;
                let residual = f64::from(x) * intensity - model;
                let deviation = texture.get(i).map_or(0.0, |&s| f64::from(s) * intensity);
                let variance = noise.variance(model, sky) + share * deviation * deviation;
                sum += residual * residual / variance + libm::log(variance) + LN_2PI;
            }
        }
        -0.5 * sum
    }
}

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        self.config.latent
    }

    fn sizes(&self, _items: usize) -> Sizes {
        let plans = [&self.encoder, &self.decoder].map(Plan::scratch_len);
        let texture = self.texture.as_ref().map_or(0, Texture::plan_len);
        let longest = plans[0].max(plans[1]).max(texture);
        let planes = self.bands + self.config.forward.planes();
        Sizes {
            plans: longest,
            flow: self.flow.sizes(1),
            outcomes: 0,
            seen: planes * self.light.plane(),
            stamp: self.bands * self.light.plane(),
            blur: self.takes_psf().then_some(self.side),
            texture: self.texture.as_ref().map(|_| TextureSizes {
                plane: self.light.plane(),
                stamp: self.bands * self.light.plane(),
            }),
            code: 2 * self.config.latent,
            latent: self.config.latent,
            sampler: None,
        }
    }

    fn takes_psf(&self) -> bool {
        self.config.forward == Forward::Psf
    }

    fn set_psf(&self, psf: &[f32], psf_side: usize, scratch: &mut Scratch) {
        if let Some(blur) = &mut scratch.blur {
            blur.set(psf, psf_side, self.side);
        }
        if let (Some(texture), Some(scratch)) = (&self.texture, &mut scratch.texture) {
            texture.set_psf(psf, psf_side, scratch);
        }
    }

    fn draw_latent(
        &self,
        rng: &mut Philox,
        context: &[f32],
        scratch: &mut Scratch,
        z: &mut [f32],
    ) -> Result<(), Failed> {
        self.flow.draw_base(rng, &mut scratch.z);
        let drawn = self
            .flow
            .generate(&mut scratch.z, context, &mut scratch.flow);
        drawn?;
        rounded(&scratch.z, z)
    }

    fn scatter(&self, _rng: &mut Philox, _out: &mut [f32]) {
        unreachable!("a flow-VAE draws galaxies, whose noise is the renderer's");
    }

    fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.decode_into(z, context, &mut scratch.plans, out)
    }

    fn draw_texture(
        &self,
        rng: &mut Philox,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let Scratch { plans, texture, .. } = scratch;
        let (Some(texture), Some(scratch)) = (&self.texture, texture) else {
            return Ok(());
        };
        texture.set_strength(z, context, plans, scratch);
        texture.draw(rng, scratch, out)
    }

    fn texture_strength(&self, z: &[f32], context: &[f32], scratch: &mut Scratch, out: &mut [f32]) {
        let Scratch { plans, texture, .. } = scratch;
        match (&self.texture, texture) {
            (Some(texture), Some(scratch)) => {
                texture.set_strength(z, context, plans, scratch);
                out.copy_from_slice(&scratch.strength);
            }
            _ => out.fill(0.0),
        }
    }

    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), DrawError> {
        let latent = self.config.latent;
        self.encode_into(stamp, context, scratch);
        mean.copy_from_slice(&scratch.code[..latent]);
        log_variance.copy_from_slice(&scratch.code[latent..]);
        Ok(())
    }

    fn log_prob_latent(&self, z: &[f64], context: &[f32], scratch: &mut Scratch) -> f64 {
        scratch.u.copy_from_slice(z);
        self.log_prob_u(context, TraceNoise::default(), scratch)
    }

    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        self.encode_into(observed.stamp, context, scratch);
        Ok(importance_weighted(samples, rng, scratch, |scratch| {
            let log_prior = self.log_prob_u(context, observed.noise, scratch);
            let Scratch {
                plans,
                stamp,
                blur,
                texture: counted,
                z32,
                ..
            } = scratch;
            let log_pixels = match self.decode_into(z32, context, plans, stamp) {
                Ok(()) => {
                    if let (Some(texture), Some(counted)) = (&self.texture, &mut *counted) {
                        texture.set_strength(z32, context, plans, counted);
                        texture.set_light(stamp, counted);
                        if let Some(blur) = &mut *blur {
                            blur.apply(&mut counted.light, self.side);
                        }
                    }
                    if let Some(blur) = blur {
                        blur.apply(stamp, self.side);
                    }
                    let (deviation, share) = match counted {
                        Some(counted) => (&counted.light[..], counted.share),
                        None => (&[][..], 0.0),
                    };
                    self.log_pixels(observed, stamp, deviation, share)
                }
                Err(_) => f64::NEG_INFINITY,
            };
            log_pixels + log_prior
        }))
    }
}
