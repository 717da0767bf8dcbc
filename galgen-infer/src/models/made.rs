//! Sampling and likelihood of masked networks; the mathematics is in [`galgen_core::models::MadeModel`]. The latent are
//! independent uniform numbers u, and an element is 1 where u is below its probability.

use super::{Failed, Observed, Scratch, Sizes, rounded};
use crate::error::LoadError;
use crate::flow::Masked;
use crate::kernels::Simd;
use crate::model::DrawError;
use crate::weights::Weights;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::math::act::{sigmoid, softplus};
use galgen_core::models::MadeModel;
use galgen_core::rng::Philox;
use galgen_core::spec::ranks;

/// A masked network with packed weights.
pub(crate) struct Engine {
    net: Masked,
    /// The element that comes first, second, ...
    order: Vec<usize>,
    half: bool,
}

impl Engine {
    pub fn new(config: &MadeModel, weights: &Weights, simd: Simd) -> Result<Self, LoadError> {
        let n = config.net.input.len();
        let ranks = ranks(&config.order, n);
        let mut order = vec![0; n];
        for (element, &rank) in ranks.iter().enumerate() {
            order[rank as usize] = element;
        }
        for tensor in config.net.tensors("net")? {
            weights.check_shape(&tensor.name, &tensor.shape)?;
        }
        let net = Masked::new(&config.net, &ranks, 1, "net", weights, simd)?;
        match &net {
            Masked::Layers(layers) => layers.cost().check("net")?,
            // Drawing evaluates it for each element.
            Masked::Plan(plan) => plan.cost().repeated(n as u64).check("net")?,
        }
        Ok(Engine {
            net,
            order,
            half: weights.any_half(),
        })
    }

    /// The logits of the elements of `scratch.seen` into `scratch.code`.
    fn logits(&self, context: &[f32], scratch: &mut Scratch) {
        let Scratch {
            seen, code, plans, ..
        } = scratch;
        match &self.net {
            Masked::Layers(net) => {
                for (input, &i) in net.input(plans, 0).iter_mut().zip(&self.order) {
                    *input = seen[i];
                }
                net.run(context, 1, plans);
                for (&logit, &i) in net.output(plans, 1, 0..1).iter().zip(&self.order) {
                    code[i] = logit;
                }
            }
            Masked::Plan(plan) => plan.run(seen, context, code, plans),
        }
    }
}

impl super::Engine for Engine {
    fn latent(&self) -> usize {
        self.order.len()
    }

    fn sizes(&self, _items: usize) -> Sizes {
        let plans = match &self.net {
            Masked::Layers(net) => net.scratch_len(1),
            Masked::Plan(plan) => plan.scratch_len(),
        };
        let n = self.order.len();
        Sizes {
            plans,
            seen: n,
            code: n,
            latent: n,
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
        scratch.z.fill_with(|| rng.uniform());
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
    ) -> Result<(), Failed> {
        let one = |z: f32, logit: f32| f32::from(f64::from(z) < sigmoid(f64::from(logit)));
        if let Masked::Layers(net) = &self.net {
            let values = &mut scratch.plans;
            net.start(context, 1, values);
            for (rank, &i) in self.order.iter().enumerate() {
                net.finish(rank, 1, 1, values);
                out[i] = one(z[i], net.output(values, 1, 0..1)[rank]);
                net.input(values, 0)[rank] = out[i];
                net.know(rank, 1, values);
            }
            return Ok(());
        }
        scratch.seen.fill(0.0);
        for &i in &self.order {
            self.logits(context, scratch);
            out[i] = one(z[i], scratch.code[i]);
            scratch.seen[i] = out[i];
        }
        Ok(())
    }

    /// The middle of the uniform numbers that give each element.
    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), DrawError> {
        super::binary(stamp)?;
        scratch.seen.copy_from_slice(stamp);
        self.logits(context, scratch);
        for ((mean, &logit), &x) in mean.iter_mut().zip(&scratch.code).zip(stamp) {
            let p = sigmoid(f64::from(logit));
            *mean = if x > 0.5 { 0.5 * p } else { 0.5 * (1.0 + p) } as f32;
        }
        log_variance.fill(f32::NEG_INFINITY);
        Ok(())
    }

    fn log_prob_latent(&self, z: &[f64], _context: &[f32], _scratch: &mut Scratch) -> f64 {
        let inside = z.iter().all(|z| (0.0..=1.0).contains(z));
        if inside { 0.0 } else { f64::NEG_INFINITY }
    }

    /// Exact.
    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        _samples: u32,
        _rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError> {
        super::binary(observed.stamp)?;
        scratch.seen.copy_from_slice(observed.stamp);
        self.logits(context, scratch);
        let towards = |x: f32, logit: f32| if x > 0.5 { -logit } else { logit };
        let pairs = observed.stamp.iter().zip(&scratch.code);
        let sum: f64 = pairs
            .map(|(&x, &logit)| -softplus(f64::from(towards(x, logit))))
            .sum();
        Ok(if sum.is_nan() { f64::NEG_INFINITY } else { sum })
    }
}
