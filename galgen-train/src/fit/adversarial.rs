//! The adversarial phase of a flow-VAE: the decoder learns against a [`Critic`] the detail that the pixel
//! likelihood averages away. Encoder and latent flow stay as they are.

use super::flow_vae::Setup;
use super::{Objective, Training, Validation, pictures};
use crate::checkpoint::Rival;
use crate::models::critic::{self, Critic};
use crate::models::flow_vae::{Batch, Learner, posterior_sample};
use crate::optim::Adam;
use crate::params::Parameters;
use crate::recipe::Adversarial;
use candle_core::{DType, Result, Tensor};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{DrawError, Model, Session};
use rayon::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

const DECODER: [&str; 1] = ["decoder."];
const KEY: u64 = 0x6164_7665_7273_6500;
/// Kinds of random numbers of a step.
const LATENT: u64 = 1;
const SKY: u64 = 2;
const SLOPE: [u64; 2] = [3, 4];
const POSTERIOR: u64 = 5;
const SHIFT: u64 = 6;
const VEIL: [u64; 2] = [7, 8];
const LIKELIHOOD: u64 = 9;
/// Step number of the random numbers of pictures, beyond those of training.
const PICTURES: u64 = 1 << 40;
/// Pixels by which the stamps are moved at most before the critic sees them: it learns galaxies, not places on the grid,
/// and has more to learn from (Zhao et al. 2020).
const LARGEST_SHIFT: u32 = 4;
/// Latents that a thread draws at a time.
const PART: usize = 8;
/// Decay of Adam's moments: adversaries change too fast for a long memory of the gradient's direction.
const BETAS: [f64; 2] = [0.0, 0.99];
/// The critic's slope is penalised in one step of so many, with so many times the weight (Karras et al. 2020).
const SLOPE_EVERY: u64 = 4;

/// The decoder against its critic.
pub struct AdversarialPhase<'s> {
    /// The stamps that the critic judges: what a wide point-spread function hides it does not see, and the decoder would
    /// make it up.
    setup: &'s Setup<'s>,
    /// All stamps, for the likelihood: where it holds nothing, the decoder forgets what the encoder means.
    whole: &'s Setup<'s>,
    stage: &'s Adversarial,
    critic: Critic,
    /// Draw latents from the finished flow, each a part of a batch.
    sessions: Mutex<Vec<Session>>,
    model: Arc<Model>,
    /// What critic and decoder see in a step.
    seen: RefCell<Option<(u64, Rc<Seen>)>>,
}

/// The stamps of a step, and what the critic gets: the same stamps and drawn ones, these with their way back to the decoder,
/// both under [`AdversarialPhase::veil`].
struct Seen {
    chosen: Vec<(usize, u8)>,
    veiled: Batch,
    drawn: Tensor,
}

impl<'s> AdversarialPhase<'s> {
    /// `model` holds the finished flow. Starts the critic if the training has none.
    pub fn new(
        setup: &'s Setup<'s>,
        whole: &'s Setup<'s>,
        stage: &'s Adversarial,
        model: Arc<Model>,
        training: &mut Training,
    ) -> std::result::Result<Self, super::FitError> {
        let context = setup.samples.conditions.len();
        let critic = Critic::new(
            &stage.critic_channels,
            &setup.geometry,
            setup.model.intensity,
            context,
        )?;
        if training.state.critic.is_none() {
            let specs = critic.tensors()?;
            let seed = setup.recipe.seed ^ KEY;
            training.state.critic = Some(Rival {
                parameters: Parameters::initialise(&specs, seed, DType::F32, &training.device)?,
                adam: Adam::default(),
            });
        }
        training.state.adam.betas = BETAS;
        if let Some(rival) = &mut training.state.critic {
            rival.adam.betas = BETAS;
        }
        Ok(AdversarialPhase {
            setup,
            whole,
            stage,
            critic,
            sessions: Mutex::default(),
            model,
            seen: RefCell::default(),
        })
    }

    fn seen(&self, training: &Training, step: u64) -> Result<Rc<Seen>> {
        let mut kept = self.seen.borrow_mut();
        if let Some((of, seen)) = &*kept
            && *of == step
        {
            return Ok(seen.clone());
        }
        let samples = &self.setup.samples;
        let seed = self.setup.recipe.seed ^ KEY;
        let chosen = samples.choose(seed, step, self.stage.stage.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let learner = self
            .setup
            .learner(&training.state.parameters, &training.device)?;
        let drawn = self.observed(training, &learner, &batch, step, &chosen)?;
        let veil = |kind| self.veil(training, &learner, &batch, &chosen, step, kind);
        let seen = Rc::new(Seen {
            drawn: (drawn + veil(VEIL[1])?)?,
            veiled: Batch {
                stamps: (&batch.stamps + veil(VEIL[0])?)?,
                ..batch
            },
            chosen,
        });
        *kept = Some((step, seen.clone()));
        Ok(seen)
    }

    /// White noise that raises the sky's to what the likelihood takes for it. Faint light of the real stamps that is not the
    /// galaxy's (compression, residues of the sky) would tell them from drawn ones, and the decoder would imitate it.
    fn veil(
        &self,
        training: &Training,
        learner: &Learner,
        batch: &Batch,
        chosen: &[(usize, u8)],
        step: u64,
        kind: u64,
    ) -> Result<Tensor> {
        let (b, _, n, _) = batch.stamps.dims4()?;
        let white = training.normals(self.key(kind), step, b, n * n)?;
        let white = white.reshape((b, 1, n, n))?.broadcast_mul(&batch.sky)?;
        let raised = |&(position, _): &(usize, u8)| {
            let factor = self.setup.samples.noise_correlation(position);
            (1.0 - factor.powi(-2)).max(0.0).sqrt()
        };
        let raised = chosen.iter().map(raised).collect();
        let raised = Tensor::from_vec(raised, (b, 1, 1, 1), white.device())?;
        learner.windowed(&white.broadcast_mul(&raised)?)
    }

    /// How far both sides' stamps are moved in `step`, down and right.
    fn shift(&self, step: u64) -> [isize; 2] {
        let mut rng = Philox::new(self.key(SHIFT), step, Stream::Training);
        [0; 2].map(|_| rng.below(2 * LARGEST_SHIFT + 1) as isize - LARGEST_SHIFT as isize)
    }

    fn key(&self, kind: u64) -> u64 {
        self.setup.recipe.seed ^ KEY ^ kind
    }

    /// Draws of the flow under the conditions of `chosen`, `[b, latent]`.
    fn latents(&self, training: &Training, step: u64, chosen: &[(usize, u8)]) -> Result<Tensor> {
        let latent = self.setup.model.latent;
        let mut z = vec![0f32; chosen.len() * latent];
        let first = step * chosen.len() as u64;
        let samples = &self.setup.samples;
        let (key, sessions, model) = (self.key(LATENT), &self.sessions, &self.model);
        z.par_chunks_mut(PART * latent)
            .enumerate()
            .try_for_each(|(part, z)| {
                let kept = sessions.lock().expect("sessions are only moved").pop();
                let mut session = kept.unwrap_or_else(|| Session::new(model.clone()));
                for (i, z) in z.chunks_exact_mut(latent).enumerate() {
                    let at = part * PART + i;
                    let conditions = samples.conditions_of(chosen[at].0);
                    session.sample_latent(key, first + at as u64, conditions, z)?;
                }
                sessions
                    .lock()
                    .expect("sessions are only moved")
                    .push(session);
                Ok(())
            })
            .map_err(|e: DrawError| candle_core::Error::wrap(e))?;
        Tensor::from_vec(z, (chosen.len(), latent), &training.device)
    }

    /// Drawn galaxies as the telescope of each stamp of `batch` would see them, sky and window included.
    fn observed(
        &self,
        training: &Training,
        learner: &Learner,
        batch: &Batch,
        step: u64,
        chosen: &[(usize, u8)],
    ) -> Result<Tensor> {
        let z = self.latents(training, step, chosen)?;
        let decoded = learner.decode(&z, batch.context.as_ref())?;
        let n = self.setup.samples.side;
        let white = training.normals(self.key(SKY), step, chosen.len(), n * n)?;
        let sky = self.setup.samples.sky_noise(chosen, &white)?;
        // The galaxy is under the window already, in front of the point-spread function: under a second one it would be
        // fainter at the border than real ones are, and the decoder would make up for that.
        learner.inside(&learner.observe(batch, &decoded)?)? + learner.windowed(&sky)?
    }
}

impl Objective for AdversarialPhase<'_> {
    fn title(&self) -> &'static str {
        "adversarial"
    }

    fn prefixes(&self) -> &[&'static str] {
        &DECODER
    }

    fn keeps_best(&self) -> bool {
        false
    }

    /// A step of the critic.
    fn prepare(&self, training: &mut Training, step: u64) -> Result<()> {
        let seen = self.seen(training, step)?;
        let n = self.setup.samples.side;
        let normals = |kind| {
            let white = training.normals(self.key(kind), step, seen.chosen.len(), n * n)?;
            white.reshape((seen.chosen.len(), 1, n, n))
        };
        let (e0, e1) = (normals(SLOPE[0])?, normals(SLOPE[1])?);
        let rate = self.stage.critic_learning_rate * self.stage.stage.learning_rate_at(step)
            / self.stage.stage.learning_rate;
        let Some(rival) = &mut training.state.critic else {
            candle_core::bail!("the adversarial phase has a critic")
        };
        let slope = (SLOPE_EVERY as f64 * self.stage.penalty, [&e0, &e1]);
        let slope = step.is_multiple_of(SLOPE_EVERY).then_some(slope);
        let (parameters, drawn) = (&rival.parameters, seen.drawn.detach());
        let shift = self.shift(step);
        let loss = self
            .critic
            .critic_loss(parameters, &seen.veiled, &drawn, shift, slope)?;
        let gradients = loss.backward()?;
        rival
            .adam
            .step(&rival.parameters, &[critic::PREFIX], &gradients, rate, 0.0)?;
        Ok(())
    }

    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)> {
        // The decoder is still the one that the critic saw.
        let seen = self.seen(training, step)?;
        let Seen { veiled, drawn, .. } = &*seen;
        let Some(rival) = &training.state.critic else {
            candle_core::bail!("the adversarial phase has a critic")
        };
        let adversarial =
            self.critic
                .decoder_loss(&rival.parameters, veiled, drawn, self.shift(step))?;
        // The likelihood keeps the decoder true to the encoder's latents.
        let (samples, key) = (&self.whole.samples, self.key(LIKELIHOOD));
        let chosen = samples.choose(key, step, self.stage.stage.batch);
        let batch = samples.batch(&chosen, &training.device)?;
        let learner = self
            .setup
            .learner(&training.state.parameters, &training.device)?;
        let (mean, log_variance) = learner.encode(&batch)?;
        let latent = self.setup.model.latent;
        let normals = training.normals(self.key(POSTERIOR), step, chosen.len(), latent)?;
        let z = posterior_sample(&mean, &log_variance, &normals)?.detach();
        let decoded = learner.decode(&z, batch.context.as_ref())?;
        let likelihood = learner.log_likelihood(&batch, &decoded)?.mean_all()?;
        let loss = (adversarial - (likelihood * self.stage.likelihood)?)?;
        let mut ids = self.setup.ids(&seen.chosen);
        ids.extend(self.whole.ids(&chosen));
        Ok((loss, ids))
    }

    /// -ELBO of the sharpened decoder: how much of the likelihood the detail costs.
    fn validate(&self, training: &Training) -> Result<Validation> {
        self.whole.bound(training)
    }

    fn draw(&self, training: &Training) -> std::result::Result<(), String> {
        let label = "adversarial loss (training), -ELBO in nats (held out)";
        pictures::curves(training, "loss-adversarial.png", label)?;
        self.drawn(training)
    }
}

impl AdversarialPhase<'_> {
    /// Held-out galaxies beside draws under their conditions through the same telescope.
    fn drawn(&self, training: &Training) -> std::result::Result<(), String> {
        let samples = &self.setup.samples;
        let chosen: Vec<(usize, u8)> = pictures::spread(&samples.validation)
            .into_iter()
            .map(|position| (position, 0))
            .collect();
        let make = || -> Result<[Vec<f32>; 2]> {
            let learner = self
                .setup
                .learner(&training.state.average, &training.device)?;
            let batch = samples.batch(&chosen, &training.device)?;
            let observed = self.observed(training, &learner, &batch, PICTURES, &chosen)?;
            let z = self.latents(training, PICTURES, &chosen)?;
            let intrinsic = learner.decode(&z, batch.context.as_ref())?;
            Ok([
                observed.flatten_all()?.to_vec1()?,
                intrinsic.flatten_all()?.to_vec1()?,
            ])
        };
        let [observed, intrinsic] = make().map_err(|e| e.to_string())?;
        let real: Vec<&[f32]> = chosen.iter().map(|&(p, _)| samples.stamp(p)).collect();
        pictures::pairs(
            training,
            "draws-observed.png",
            &self.setup.geometry,
            ("held-out galaxies", &real),
            ("draws through the same telescope", &observed),
        )?;
        pictures::pairs(
            training,
            "draws-intrinsic.png",
            &self.setup.geometry,
            ("held-out galaxies", &real),
            ("draws without point-spread function and noise", &intrinsic),
        )
    }
}
