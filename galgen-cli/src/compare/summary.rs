//! The samples' scores in numbers.

use super::{Comparison, Sample};
use galgen_core::rng::{Philox, Stream};
use galgen_io::report::number;
use galgen_io::samples::{
    area_under_curve, deviation, kolmogorov_smirnov, mean, quantile, rank_correlation, wasserstein,
};
use serde_json::{Value, json};

/// Resamplings of the error bars.
pub const RESAMPLINGS: usize = 200;
/// Share of the reference beyond either of the limits of the typical.
const TAIL: f64 = 0.025;

/// One sample beside the reference.
pub struct Against {
    /// Galaxies with a score.
    pub count: usize,
    /// Mean and median of the score, with the bootstrap's standard error of the mean.
    pub mean: (f64, f64),
    pub median: f64,
    /// Distance and p-value of Kolmogorov and Smirnov.
    pub ks: (f64, f64),
    /// Probability that a galaxy of the reference has the higher score, with its error.
    pub auroc: (f64, f64),
    /// Wasserstein distance in nats.
    pub wasserstein: f64,
    /// Shares below and above the central 95 % of the reference.
    pub atypical: [f64; 2],
    /// Rank correlation of the score with each property.
    pub correlations: Vec<f64>,
}

/// All samples, the reference first.
pub struct Summary {
    /// In the order of the samples.
    pub samples: Vec<Against>,
}

/// Finite scores of a sample.
pub fn finite(sample: &Sample) -> Vec<f64> {
    let score = sample.score().into_iter();
    score.filter(|v| v.is_finite()).collect()
}

/// A sample drawn anew from itself, with replacement; number `id` of that seed.
pub fn resampled(values: &[f64], seed: u64, id: u64) -> Vec<f64> {
    let mut rng = Philox::new(seed, id, Stream::Training);
    (0..values.len())
        .map(|_| values[rng.below(values.len() as u32) as usize])
        .collect()
}

/// Compares every sample with the first.
pub fn of(comparison: &Comparison) -> Summary {
    let reference = finite(&comparison.samples[0]);
    let limits = [TAIL, 1.0 - TAIL].map(|q| quantile(&reference, q));
    let samples = comparison.samples.iter().enumerate();
    let against = |(place, sample): (usize, &Sample)| {
        let scores = finite(sample);
        let share = |f: &dyn Fn(f64) -> bool| {
            scores.iter().filter(|v| f(**v)).count() as f64 / scores.len() as f64
        };
        let again = |repeat: usize| {
            let id = (place * RESAMPLINGS + repeat) as u64;
            let scores = resampled(&scores, comparison.seed, 2 * id);
            let reference = resampled(&reference, comparison.seed, 2 * id + 1);
            (mean(&scores), area_under_curve(&reference, &scores))
        };
        let (means, areas): (Vec<f64>, Vec<f64>) = (0..RESAMPLINGS).map(again).unzip();
        Against {
            count: scores.len(),
            mean: (mean(&scores), deviation(&means)),
            median: quantile(&scores, 0.5),
            ks: kolmogorov_smirnov(&reference, &scores),
            auroc: (area_under_curve(&reference, &scores), deviation(&areas)),
            wasserstein: wasserstein(&reference, &scores),
            atypical: [share(&|v| v < limits[0]), share(&|v| v > limits[1])],
            correlations: sample
                .properties
                .iter()
                .map(|values| rank_correlation(values, &sample.score()))
                .collect(),
        }
    };
    Summary {
        samples: samples.map(against).collect(),
    }
}

impl Summary {
    /// For programs.
    pub fn json(&self, comparison: &Comparison) -> Value {
        let samples = comparison.samples.iter().zip(&self.samples);
        let samples = samples.map(|(sample, a)| {
            let names = comparison.properties.iter().map(|p| p.name.clone());
            let correlations: serde_json::Map<String, Value> =
                names.zip(a.correlations.iter().map(|c| json!(c))).collect();
            json!({
                "name": sample.name,
                "file": sample.path.file_name().map(|n| n.to_string_lossy()),
                "stamps": sample.log_p.len(),
                "scored": a.count,
                "mean": a.mean.0, "mean_error": a.mean.1, "median": a.median,
                "ks": a.ks.0, "ks_p": a.ks.1,
                "auroc": a.auroc.0, "auroc_error": a.auroc.1,
                "wasserstein": a.wasserstein,
                "share_below_typical": a.atypical[0], "share_above_typical": a.atypical[1],
                "rank_correlation": correlations,
                "mean_log_p": mean(&sample.log_p.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>()),
            })
        });
        json!({
            "models": comparison.models,
            "score": if comparison.models.len() == 2 { "ln ratio" } else { "ln p" },
            "p": comparison.quantity.name(),
            "draws": comparison.draws,
            "seed": comparison.seed,
            "samples": samples.collect::<Vec<_>>(),
        })
    }

    /// For a terminal.
    pub fn text(&self, comparison: &Comparison) -> String {
        let width = comparison.samples.iter().map(|s| s.name.len()).max();
        let width = width.unwrap_or(0);
        let samples = comparison.samples.iter().zip(&self.samples);
        let line = |(i, (sample, a)): (usize, (&Sample, &Against))| {
            let beside = if i == 0 {
                "reference".into()
            } else {
                let p = if a.ks.1 < 1e-6 {
                    "< 1e-6".into()
                } else {
                    number(a.ks.1)
                };
                format!(
                    "KS {} (p {p}), AUROC {} +- {}",
                    number(a.ks.0),
                    number(a.auroc.0),
                    number(a.auroc.1)
                )
            };
            format!(
                "{:width$}  {} stamps, mean {:.2} +- {:.2} nats; {beside}\n",
                sample.name, a.count, a.mean.0, a.mean.1
            )
        };
        samples.enumerate().map(line).collect()
    }
}
