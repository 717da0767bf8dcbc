//! `galgen-train sersic`: best-fit Sersic galaxies of a training set, observed as its galaxies were. A model trained
//! on them is the denominator of the likelihood ratio of Zanisi et al. (2021, MNRAS 501, 4359).

use crate::data::set::{COLUMNS, TrainingSet};
use crate::evaluate::held_out::{HeldOut, NoiseOf};
use crate::evaluate::sersic::Fitter;
use galgen_core::measure;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::path::PathBuf;

/// Options of `galgen-train sersic`.
#[derive(clap::Args)]
pub struct SersicArgs {
    /// Training set of `galgen-train prepare`
    #[arg(long, value_name = "FILE")]
    pub set: PathBuf,
    /// Training set to write: the best-fit Sersic galaxy of each, with its PSF, noise and mask
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Seed of the noise
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only errors on the terminal
    #[arg(long)]
    pub quiet: bool,
}

/// One galaxy of the new set: its place in the old one, its stamp, axis ratio and concentration.
struct Mock {
    place: usize,
    /// What the observed light was divided by.
    sum: f64,
    stamp: Vec<f32>,
    axis_ratio: f64,
    concentration: f64,
}

/// Runs the command.
pub fn run(args: &SersicArgs) -> Result<(), String> {
    let set = TrainingSet::load(&args.set).map_err(|e| e.to_string())?;
    let bar = ProgressBar::new(set.len() as u64);
    if args.quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mocks: Vec<Mock> = (0..set.len())
        .into_par_iter()
        .filter_map(|place| {
            let mock = mock(&set, place, args.seed);
            bar.inc(1);
            mock
        })
        .collect();
    bar.finish_and_clear();
    if mocks.is_empty() {
        return Err(format!(
            "{}: no galaxy has a Sersic fit, so no set is written",
            args.set.display()
        ));
    }
    let (found, all) = (mocks.len(), set.len());
    chosen(&set, &mocks)
        .save(&args.output)
        .map_err(|e| e.to_string())?;
    if !args.quiet {
        println!(
            "{found} of {all} galaxies fitted: {}",
            args.output.display()
        );
    }
    Ok(())
}

/// `None` for a galaxy that has no fit, or a mock that cannot be measured.
fn mock(set: &TrainingSet, place: usize, seed: u64) -> Option<Mock> {
    let side = set.description.side;
    let galaxy = HeldOut {
        id: set.id[place] as u64,
        stamp: set.stamp(place),
        observed: set.observed(place),
        sky: f64::from(set.column("sky_sigma")?[place]),
        psf: set.psf(place),
        noise_acf: set.noise_acf(place),
        variance: set.variance(place),
        conditions: &[],
    };
    let mut fitter = Fitter::new(side, galaxy.psf).ok()?;
    let fit = fitter.fit(&galaxy.as_measured(), &galaxy.weights())?.galaxy;
    let mut light = fitter.draw(&fit);
    let window = galgen_core::stamp::window(side);
    light.iter_mut().zip(window).for_each(|(v, w)| *v *= w);
    let axis_ratio = measure::shape(&light, side)?.ellipse.axis_ratio;
    let concentration = measure::concentration(&light, side, axis_ratio)?;
    let mut stamp = galaxy.observed(light, seed, NoiseOf::Sersic);
    let sum = measure::total(&stamp);
    if sum.is_nan() || sum <= 0.0 {
        return None;
    }
    stamp
        .iter_mut()
        .for_each(|v| *v = (f64::from(*v) / sum) as f32);
    Some(Mock {
        place,
        sum,
        stamp,
        axis_ratio,
        concentration,
    })
}

/// The old set with the mocks' stamps and measures, all else as observed.
fn chosen(set: &TrainingSet, mocks: &[Mock]) -> TrainingSet {
    let column = |name: &str, old: &[f32]| -> Vec<f32> {
        let value = |m: &Mock| match name {
            "axis_ratio" => m.axis_ratio as f32,
            "concentration" => m.concentration as f32,
            "asymmetry" => 0.0,
            // In units of the stamp's sum.
            "sky_sigma" => (f64::from(old[m.place]) / m.sum) as f32,
            _ => old[m.place],
        };
        mocks.iter().map(value).collect()
    };
    let gather = |of: &dyn Fn(usize) -> Vec<f32>| mocks.iter().flat_map(|m| of(m.place)).collect();
    let mut description = set.description.clone();
    description.source = format!("{}: best-fit Sersic galaxies", description.source);
    description.accepted = mocks.len();
    TrainingSet {
        stamps: mocks.iter().flat_map(|m| m.stamp.iter().copied()).collect(),
        observed: mocks
            .iter()
            .flat_map(|m| set.observed(m.place).iter().copied())
            .collect(),
        psf_side: set.psf_side,
        psf: gather(&|i| set.psf(i).to_vec()),
        acf_side: set.acf_side,
        noise_acf: gather(&|i| set.noise_acf(i).to_vec()),
        variance: set
            .variance
            .as_ref()
            .map(|_| gather(&|i| set.variance(i).map(<[f32]>::to_vec).unwrap_or_default())),
        id: mocks.iter().map(|m| set.id[m.place]).collect(),
        columns: COLUMNS
            .iter()
            .zip(&set.columns)
            .map(|(name, old)| column(name, old))
            .collect(),
        description,
    }
}
