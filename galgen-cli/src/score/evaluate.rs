//! Scoring a batch of stamps, by one thread.

use super::table::{Row, Score};
use crate::args::Metric;
use galgen_core::measure;
use galgen_infer::{DrawError, Session};

/// Draws whose mean is the column `elbo`.
const ELBO_DRAWS: u64 = 16;
/// Rounds in which measured conditions and the reconstruction that they are measured on are brought to
/// agree, as in training.
const ROUNDS: usize = 2;

/// Consecutive stamps with what is known about them.
pub struct Batch {
    pub entries: Vec<Entry>,
    /// Row-major `[entries, bands, side, side]`.
    pub stamps: Vec<f32>,
}

/// What is known about a stamp.
pub struct Entry {
    pub row: u64,
    pub id: u64,
    /// For each condition of the model its value, or what to measure instead.
    pub conditions: Vec<Given>,
    /// Sky noise of a pixel, in the stamp's unit.
    pub sky: Option<f64>,
    /// Point-spread function and its side, if the stamp has one.
    pub psf: Option<(Vec<f32>, usize)>,
}

/// A condition of a stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given {
    Value(f64),
    Measured(Measure),
}

/// A condition that can be measured on the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    AxisRatio,
    Concentration,
}

impl Measure {
    /// The measurement of the condition called `name`.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "axis_ratio" => Some(Self::AxisRatio),
            "concentration" => Some(Self::Concentration),
            _ => None,
        }
    }

    /// `light` is the stamp, all bands added; `axis_ratio` that of its ellipses.
    fn on(self, light: &[f32], side: usize, axis_ratio: f64) -> Option<f64> {
        match self {
            Self::AxisRatio => Some(axis_ratio),
            Self::Concentration => measure::concentration(light, side, axis_ratio),
        }
    }
}

/// Scores stamps; one per thread.
pub struct Evaluator {
    session: Session,
    seed: u64,
    samples: u32,
    metric: Metric,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
}

impl Evaluator {
    pub fn new(session: Session, seed: u64, samples: u32, metric: Metric) -> Self {
        let latent = session.model().latent();
        let (mean, log_variance) = (vec![0.0; latent], vec![0.0; latent]);
        Self {
            session,
            seed,
            samples,
            metric,
            mean,
            log_variance,
        }
    }

    /// Scores all stamps of a batch.
    pub fn score(&mut self, batch: Batch) -> Vec<Row> {
        let stamps = batch.stamps.chunks_exact(self.session.model().stamp_len());
        let entries = batch.entries.into_iter().zip(stamps);
        entries
            .map(|(entry, stamp)| Row {
                row: entry.row,
                id: entry.id,
                score: self.one(&entry, stamp),
            })
            .collect()
    }

    fn one(&mut self, entry: &Entry, stamp: &[f32]) -> Result<Score, String> {
        let refused = |e: DrawError| e.to_string();
        if let Some((psf, side)) = &entry.psf {
            self.session.set_psf(psf, *side).map_err(refused)?;
        }
        let mut conditions = self.conditions(entry, stamp)?;
        let mut asked: Vec<f32> = conditions.iter().map(|&c| c as f32).collect();
        let measured = entry
            .conditions
            .iter()
            .any(|c| matches!(c, Given::Measured(_)));
        if entry.psf.is_some() && measured {
            let mut decoded = vec![0.0; stamp.len()];
            for _ in 0..ROUNDS {
                self.session
                    .encode(stamp, &asked, &mut self.mean, &mut self.log_variance)
                    .and_then(|_| self.session.decode(&self.mean, &asked, &mut decoded))
                    .map_err(refused)?;
                conditions = self.conditions(entry, &decoded)?;
                asked = conditions.iter().map(|&c| c as f32).collect();
            }
        }
        self.evaluate(entry, &asked, stamp, conditions)
            .map_err(|e| e.to_string())
    }

    fn evaluate(
        &mut self,
        entry: &Entry,
        asked: &[f32],
        stamp: &[f32],
        conditions: Vec<f64>,
    ) -> Result<Score, DrawError> {
        let flags = self
            .session
            .encode(stamp, asked, &mut self.mean, &mut self.log_variance)?;
        let z: Vec<f64> = self.mean.iter().map(|&z| f64::from(z)).collect();
        let log_prob_latent = self.session.log_prob_latent(&z, asked)?;
        let mut score = Score {
            log_likelihood: f64::NAN,
            elbo: f64::NAN,
            log_prob_latent,
            flags,
            conditions,
        };
        if self.metric == Metric::Loglik {
            let mut bound = |samples, seed| {
                self.session
                    .log_likelihood(stamp, asked, entry.sky, samples, seed, entry.id)
            };
            score.log_likelihood = bound(self.samples, self.seed)?;
            let mut sum = 0.0;
            // Seeds of their own: independent of the draws above and of each other.
            for draw in 1..=ELBO_DRAWS {
                sum += bound(1, self.seed.wrapping_add(draw))?;
            }
            score.elbo = sum / ELBO_DRAWS as f64;
        }
        Ok(score)
    }

    /// Given and measured conditions, in the model's order.
    fn conditions(&self, entry: &Entry, stamp: &[f32]) -> Result<Vec<f64>, String> {
        let card = self.session.model().card();
        let side = card.geometry.side;
        let all_given = entry
            .conditions
            .iter()
            .all(|c| matches!(c, Given::Value(_)));
        let light = if all_given {
            Vec::new()
        } else {
            sum_bands(stamp, side * side)
        };
        let given = card
            .conditions
            .position("axis_ratio")
            .map(|i| entry.conditions[i]);
        let axis_ratio = match given {
            Some(Given::Value(q)) => Some(q),
            _ if all_given => None,
            _ => measure::shape(&light, side).map(|m| m.ellipse.axis_ratio),
        };
        let named = card.conditions.list.iter().zip(&entry.conditions);
        named
            .map(|(condition, given)| {
                let value = match *given {
                    Given::Value(value) => Some(value),
                    Given::Measured(measure) => {
                        axis_ratio.and_then(|q| measure.on(&light, side, q))
                    }
                };
                let cause =
                    "cannot be measured on this stamp, expected a galaxy with positive flux";
                value.ok_or_else(|| format!("{} {cause}", condition.name))
            })
            .collect()
    }
}

fn sum_bands(stamp: &[f32], plane: usize) -> Vec<f32> {
    let mut light = vec![0.0; plane];
    for band in stamp.chunks_exact(plane) {
        light
            .iter_mut()
            .zip(band)
            .for_each(|(sum, pixel)| *sum += pixel);
    }
    light
}
