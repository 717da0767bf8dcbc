//! Training of any family: weights, optimiser, averages, history, checkpoint, progress. What is learned in a
//! phase and how that is validated is an [`Objective`] of the family, see [`flow_vae`], [`vae`], [`density`] and
//! [`pixel_cnn`].
//!
//! Every random number depends on (seed, step) only and the state is saved whole, so a training that
//! was stopped and continued ends with the same weights as one that was not.

mod adversarial;
pub mod density;
pub mod flow_vae;
mod latents;
mod pictures;
pub mod pixel_cnn;
mod start;
pub mod vae;

pub use start::Start;

use crate::checkpoint::{self, Phase, Record, State};
use crate::optim::{Adam, average_decay, update_average};
use crate::params::Parameters;
use crate::recipe::Stage;
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor};
use galgen_core::condition::Conditions;
use galgen_core::stamp::Geometry;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Name of the checkpoint in the output directory.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Where a training computes and writes, and where it begins.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Directory of the checkpoint and the pictures.
    pub directory: &'a Path,
    /// Where to compute.
    pub device: &'a Device,
    /// The model whose weights come first; without it they are random.
    pub start: Option<&'a Start>,
    /// Continue the checkpoint in `directory` instead of refusing it.
    pub resume: bool,
    /// Show nothing on the terminal.
    pub quiet: bool,
}

impl<'a> Run<'a> {
    /// A training from random weights on the CPU, without a word.
    pub fn new(directory: &'a Path) -> Self {
        Run {
            directory,
            device: &Device::Cpu,
            start: None,
            resume: false,
            quiet: true,
        }
    }
}

/// What is trained on what.
pub struct Subject<'a, R> {
    /// The recipe.
    pub recipe: &'a R,
    /// Name of the model, for the titles of figures.
    pub name: &'a str,
    /// Seed of every random number.
    pub seed: u64,
    /// A number that differs for other data.
    pub data: u64,
    /// Stamps that it makes.
    pub geometry: &'a Geometry,
    /// What the model is asked for.
    pub conditions: &'a Conditions,
}

/// A training in progress, of whatever family.
pub struct Training {
    /// Weights, averages, optimiser, history.
    pub state: State,
    /// Name of the model.
    pub name: String,
    /// Seed of every random number.
    pub seed: u64,
    /// Directory of the checkpoint and the pictures.
    pub directory: PathBuf,
    /// Where to compute.
    pub device: Device,
    /// [`Start::provenance`] of the model that came first.
    pub start: Option<serde_json::Value>,
    identity: String,
    pub(crate) quiet: bool,
}

/// What one phase of a training learns.
pub trait Objective {
    /// Label of the progress bar.
    fn title(&self) -> &'static str;

    /// Beginnings of the names of the parameters that learn.
    fn prefixes(&self) -> &[&'static str];

    /// Whether the weights of the best validation are kept as [`State::best`].
    fn keeps_best(&self) -> bool;

    /// What comes before the loss of `step`, such as a step of an adversary.
    fn prepare(&self, _training: &mut Training, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Loss of `step` under [`State::parameters`], and the objects of its batch.
    fn loss(&self, training: &Training, step: u64) -> Result<(Tensor, Vec<u64>)>;

    /// Loss of the held-out part under [`State::average`].
    fn validate(&self, training: &Training) -> Result<Validation>;

    /// Draws what can be seen of the training after a validation.
    fn draw(&self, training: &Training) -> std::result::Result<(), String>;
}

/// Loss of the held-out part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The whole loss.
    pub loss: f64,
    /// Its KL part, 0 where there is none.
    pub divergence: f64,
}

/// Why a training stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Configuration and networks do not fit.
    #[error("the model of the recipe is inconsistent: {0}")]
    Model(#[from] galgen_core::spec::SpecError),
    /// An operation failed.
    #[error("training: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The loss is not a number.
    #[error(
        "the loss is {loss} at {phase:?} step {step}, on the batch of objects {ids:?}: lower the learning \
         rate, or look at those stamps; the last checkpoint is from before"
    )]
    NotFinite {
        /// The loss.
        loss: f32,
        /// Phase of the step.
        phase: Phase,
        /// Number of the step.
        step: u64,
        /// Objects of the batch.
        ids: Vec<u64>,
    },
    /// A checkpoint, picture or model cannot be written or read.
    #[error("{0}")]
    File(String),
}

impl Training {
    /// Starts a training of `subject` in `phase` with the parameters that `initial` makes or those of [`Run::start`], or
    /// continues the checkpoint in the directory.
    pub fn open(
        run: &Run,
        subject: &Subject<impl Serialize>,
        phase: Phase,
        initial: impl FnOnce() -> Result<Parameters>,
    ) -> std::result::Result<Self, FitError> {
        let start = run.start.map(Start::digest);
        let identity =
            checkpoint::identity(subject.recipe, subject.data, start).map_err(FitError::File)?;
        let directory = run.directory;
        let path = directory.join(CHECKPOINT);
        let state = match (path.exists(), run.resume) {
            (true, true) => {
                checkpoint::load(&path, &identity, run.device).map_err(FitError::File)?
            }
            (true, false) => {
                let problem = format!(
                    "{} exists: continue it with --resume, or choose another --out",
                    path.display()
                );
                return Err(FitError::File(problem));
            }
            (false, true) => {
                let problem = format!("{} does not exist: nothing to resume", path.display());
                return Err(FitError::File(problem));
            }
            (false, false) => {
                let parameters = initial()?;
                if let Some(start) = run.start {
                    let copied = start.copy_to(&parameters, subject.geometry, subject.conditions);
                    copied.map_err(FitError::File)?;
                }
                State {
                    phase,
                    step: 0,
                    average: parameters.copy()?,
                    best: parameters.copy()?,
                    best_loss: f64::INFINITY,
                    parameters,
                    adam: Adam::default(),
                    history: Vec::new(),
                    critic: None,
                    labels: None,
                }
            }
        };
        std::fs::create_dir_all(directory)
            .map_err(|e| FitError::File(format!("{}: {e}", directory.display())))?;
        Ok(Training {
            state,
            name: subject.name.into(),
            seed: subject.seed,
            directory: directory.into(),
            device: run.device.clone(),
            start: run.start.map(|s| s.provenance().clone()),
            identity,
            quiet: run.quiet,
        })
    }

    /// Whether the training computes on the processor.
    pub fn on_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// Makes steps of `objective` up to step `end` of `stage`, or until none is `left`; `true` at the end.
    pub fn run_phase(
        &mut self,
        stage: &Stage,
        end: u64,
        objective: &impl Objective,
        left: &mut u64,
    ) -> std::result::Result<bool, FitError> {
        let bar = self.bar(objective.title(), stage.steps);
        let mut sum = Mean::default();
        while self.state.step < end && *left > 0 {
            objective.prepare(self, self.state.step)?;
            let (loss, ids) = objective.loss(self, self.state.step)?;
            let value = loss.to_scalar::<f32>()?;
            self.check_finite(value, &ids)?;
            self.advance(stage, objective.prefixes(), &loss.backward()?)?;
            sum.add(f64::from(value));
            bar.set_position(self.state.step);
            bar.set_message(format!("loss {:.2}", sum.value()));
            *left -= 1;
            if stage.validates(self.state.step) {
                let validation = objective.validate(self)?;
                // A step may have ruined the weights; the checkpoint must stay from before.
                self.check_finite(validation.loss as f32, &ids)?;
                if objective.keeps_best() {
                    self.keep_best(validation.loss)?;
                }
                let record = Record {
                    phase: self.state.phase,
                    step: self.state.step,
                    training: sum.take(),
                    validation: validation.loss,
                    divergence: validation.divergence,
                };
                self.record(record, &bar)?;
                objective.draw(self).map_err(FitError::File)?;
            }
        }
        bar.finish_and_clear();
        Ok(self.state.step >= end)
    }

    /// Optimiser step on the parameters under `prefixes`, and their moving average.
    pub fn advance(
        &mut self,
        stage: &Stage,
        prefixes: &[&str],
        gradients: &GradStore,
    ) -> Result<()> {
        let state = &mut self.state;
        let rate = stage.learning_rate_at(state.step);
        state.adam.step(
            &state.parameters,
            prefixes,
            gradients,
            rate,
            stage.weight_decay,
        )?;
        let decay = average_decay(state.step);
        update_average(&state.average, &state.parameters, prefixes, decay)?;
        state.step += 1;
        Ok(())
    }

    /// Goes on to `phase`, with a fresh optimiser.
    pub fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.step = 0;
        self.state.adam = Adam::default();
        self.state.best_loss = f64::INFINITY;
    }

    /// Copies all averaged weights to the best ones if `loss` is the lowest of the phase.
    fn keep_best(&mut self, loss: f64) -> Result<()> {
        if loss < self.state.best_loss {
            self.state.best_loss = loss;
            for (name, var) in self.state.average.iter(&[""]) {
                self.state.best.set(name, &var.as_tensor().copy()?)?;
            }
        }
        Ok(())
    }

    /// Standard normals `[count, size]` that belong to (`key`, `step`).
    pub fn normals(&self, key: u64, step: u64, count: usize, size: usize) -> Result<Tensor> {
        crate::ops::normals(key, step, (count, size), &self.device)
    }

    /// An error if `loss` is not a number, with the objects `ids` of the batch.
    pub fn check_finite(&self, loss: f32, ids: &[u64]) -> std::result::Result<(), FitError> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(FitError::NotFinite {
            loss,
            phase: self.state.phase,
            step: self.state.step,
            ids: ids.to_vec(),
        })
    }

    /// Appends to the history and saves a checkpoint.
    pub fn record(
        &mut self,
        record: Record,
        bar: &ProgressBar,
    ) -> std::result::Result<(), FitError> {
        self.state.history.push(record);
        if !self.quiet {
            bar.suspend(|| {
                eprintln!(
                    "{:?} step {}: training {:.2}, validation {:.2} (KL {:.2}) nats a stamp",
                    record.phase,
                    record.step,
                    record.training,
                    record.validation,
                    record.divergence
                );
            });
        }
        self.save()
    }

    /// Writes the checkpoint.
    pub fn save(&self) -> std::result::Result<(), FitError> {
        let path = self.directory.join(CHECKPOINT);
        checkpoint::save(&path, &self.identity, &self.state).map_err(FitError::File)
    }

    /// A progress bar that stands at the state's step.
    pub fn bar(&self, name: &'static str, steps: u64) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(
            "{prefix:4} [{bar:40}] {pos}/{len} steps  {msg}  {per_sec}  {eta} left",
        );
        let bar = ProgressBar::new(steps)
            .with_prefix(name)
            .with_position(self.state.step);
        bar.reset_eta();
        bar.with_style(style.expect("a valid template"))
    }
}

/// Running mean.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    fn value(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    fn take(&mut self) -> f64 {
        let value = self.value();
        *self = Mean::default();
        value
    }
}
