//! Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019), with moments that
//! can be saved, and an exponential moving average of the weights (Polyak).

use crate::ops;
use crate::params::Parameters;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use std::collections::BTreeMap;

/// Gradients whose joint norm is larger are scaled down to it.
const CLIP_NORM: f64 = 100.0;

/// State of the optimiser: first and second moment of each parameter, and the number of steps made.
pub struct Adam {
    /// Decay of the first and the second moment; not part of the saved state.
    pub betas: [f64; 2],
    moments: BTreeMap<String, [Var; 2]>,
    step: u64,
}

impl Default for Adam {
    fn default() -> Self {
        let rule = ops::Adam::default();
        Adam {
            betas: [rule.beta1, rule.beta2],
            moments: BTreeMap::new(),
            step: 0,
        }
    }
}

impl Adam {
    /// One step on the parameters under `prefixes`; weights (not biases) decay. Returns the norm of
    /// the gradient before clipping.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        prefixes: &[&str],
        gradients: &GradStore,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<f64> {
        let all: Vec<&Tensor> = parameters
            .iter(prefixes)
            .filter_map(|(_, var)| gradients.get(var))
            .collect();
        let norm = ops::squares(&all)?.sqrt();
        let clip = if norm > CLIP_NORM {
            CLIP_NORM / norm
        } else {
            1.0
        };
        self.step += 1;
        for (name, var) in parameters.iter(prefixes) {
            let Some(g) = gradients.get(var) else {
                continue;
            };
            if !self.moments.contains_key(name) {
                let zeros = || Var::zeros(var.shape(), var.dtype(), var.device());
                self.moments.insert(name.to_string(), [zeros()?, zeros()?]);
            }
            let [first, second] = &self.moments[name];
            let decay = if name.ends_with(".weight") {
                weight_decay
            } else {
                0.0
            };
            let rule = ops::Adam {
                lr: learning_rate,
                weight_decay: decay,
                beta1: self.betas[0],
                beta2: self.betas[1],
                scale: clip,
                ..ops::Adam::default()
            };
            ops::adam_step(var, g, first, second, self.step, &rule)?;
        }
        Ok(norm)
    }

    /// Everything needed to continue: the number of steps, and tensors named `m.*` and `v.*`.
    pub fn state(&self) -> (u64, Vec<(String, Tensor)>) {
        let tensors = self.moments.iter().flat_map(|(name, [m, v])| {
            [
                (format!("m.{name}"), m.as_tensor().clone()),
                (format!("v.{name}"), v.as_tensor().clone()),
            ]
        });
        (self.step, tensors.collect())
    }

    /// The optimiser that [`Self::state`] described.
    pub fn from_state(
        step: u64,
        tensors: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self> {
        let mut halves: BTreeMap<String, [Option<Var>; 2]> = BTreeMap::new();
        for (key, tensor) in tensors {
            let (half, name) = match key.split_at_checked(2) {
                Some(("m.", name)) => (0, name),
                Some(("v.", name)) => (1, name),
                _ => candle_core::bail!("optimiser state: unexpected tensor `{key}`"),
            };
            halves.entry(name.to_string()).or_default()[half] = Some(Var::from_tensor(&tensor)?);
        }
        let mut moments = BTreeMap::new();
        for (name, pair) in halves {
            let [Some(m), Some(v)] = pair else {
                candle_core::bail!("optimiser state: one moment of `{name}` is missing");
            };
            moments.insert(name, [m, v]);
        }
        Ok(Adam {
            moments,
            step,
            ..Adam::default()
        })
    }
}

/// Decay of the weights' moving average after `step` steps: short memory at the start.
pub fn average_decay(step: u64) -> f64 {
    const FINAL: f64 = 0.999;
    ((1.0 + step as f64) / (10.0 + step as f64)).min(FINAL)
}

/// Moves `average` towards `parameters` under `prefixes`: average = decay average + (1 - decay) parameters.
pub fn update_average(
    average: &Parameters,
    parameters: &Parameters,
    prefixes: &[&str],
    decay: f64,
) -> Result<()> {
    for (name, var) in parameters.iter(prefixes) {
        average.decay_to(name, var.as_tensor(), decay)?;
    }
    Ok(())
}
