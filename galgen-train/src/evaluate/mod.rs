//! Drawn galaxies against held-out real ones: distances of their statistics beside two yardsticks, copies of training
//! galaxies, requested against measured conditions; in figures, for the model's card and as a report.
//!
//! For every held-out galaxy one galaxy is drawn under its conditions, convolved with its point-spread function, given
//! its noise and its mask, and measured by the same code. So are the best-fit Sersic galaxies, which are what
//! simulations use without a learned model.

pub mod bound;
pub mod card_file;
pub mod compare;
pub mod conditions;
pub mod draw;
pub mod fill;
pub mod held_out;
pub mod joint;
mod labels;
pub mod memorisation;
pub mod noise;
mod progress;
pub mod report;
pub mod sersic;
pub mod sharp;
pub mod spectrum;
pub mod statistics;
pub mod summary;
pub mod yardstick;

use crate::samples::Samples;
use compare::{Compared, Tables};
use conditions::Requested;
use draw::Artist;
use galgen_infer::Model;
use held_out::{HeldOut, NoiseOf};
use joint::Overlap;
use labels::Asked;
use memorisation::Memorisation;
use progress::Progress;
use rayon::prelude::*;
use sersic::Fitter;
use sharp::Outliers;
use std::collections::BTreeMap;
use std::sync::Arc;
use yardstick::Row;

/// Held-out galaxies below which distances and their floors mean nothing.
const FEWEST: usize = 8;

/// How an evaluation runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of the drawn galaxies, the noise and the random splits.
    pub seed: u64,
    /// The command that repeats it, for the report and the card.
    pub command: String,
    /// Held-out galaxies' own reconstructions in place of drawn galaxies: what a better prior could not mend.
    pub reconstructions: bool,
    /// No progress bar.
    pub quiet: bool,
}

/// Where an evaluation comes from.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Name of the model.
    pub model: String,
    /// Fingerprint in its card.
    pub fingerprint: String,
    /// PSF state in its card.
    pub psf: String,
    /// The command that repeats the evaluation.
    pub command: String,
    /// Name and version of this program.
    pub program: &'static str,
    /// Seed of the drawn galaxies, the noise and the random splits.
    pub seed: u64,
    /// See [`Options::reconstructions`].
    pub reconstructions: bool,
    /// Number of training stamps.
    pub training: usize,
    /// Number of held-out stamps.
    pub held_out: usize,
}

/// Everything that was found.
pub struct Evaluation {
    /// Where it comes from.
    pub provenance: Provenance,
    /// Side of the stamps in pixels.
    pub side: usize,
    /// Values of every statistic.
    pub tables: Tables,
    /// Distances and yardsticks.
    pub compared: Vec<Compared>,
    /// Overlap of drawn, real and Sersic galaxies with real ones; `None` with too few galaxies.
    pub overlaps: Option<[Overlap; 3]>,
    /// Nearest training galaxies.
    pub memorisation: Memorisation,
    /// Rough galaxies that a wide point-spread function would hide.
    pub outliers: [Outliers; 2],
    /// Requested against measured.
    pub requested: Vec<Requested>,
    /// Conditions for which there is no measurement.
    pub unmeasured_conditions: Vec<String>,
    /// Mean bound of ln p(x) in nats and the number of stamps.
    pub bound: (f64, usize),
    /// Held-out stamps as measured.
    pub held_out: Vec<Vec<f32>>,
    /// Drawn galaxies as observed.
    pub drawn: Vec<Vec<f32>>,
    /// Drawn galaxies before PSF and noise.
    pub intrinsic: Vec<Vec<f32>>,
    /// Best-fit Sersic galaxies as observed; `None` where no fit was found.
    pub sersic: Vec<Option<Vec<f32>>>,
    /// Training stamps that are shown as nearest ones, by their place among the training stamps.
    pub training: BTreeMap<usize, Vec<f32>>,
}

/// One held-out galaxy and its counterparts.
struct Measured {
    stamps: [Vec<f32>; 3],
    sersic: Option<Vec<f32>>,
    rows: [Row; 3],
}

/// Draws, observes, measures and compares.
///
/// # Errors
/// A model that does not fit the samples, too few held-out galaxies, or a galaxy that cannot be drawn.
pub fn evaluate(
    model: &Arc<Model>,
    samples: &Samples,
    options: &Options,
) -> Result<Evaluation, String> {
    check(model, samples)?;
    let asked = labels::of_held_out(model, samples)?;
    let pairs = samples.validation.iter().zip(&asked);
    let held_out: Vec<HeldOut> = pairs
        .map(|(&p, asked)| of(samples, p, &asked.conditions))
        .collect();
    // Stamps of other models have the point-spread function in them.
    let intrinsic = model.takes_psf();
    let side = samples.side;
    let seed = options.seed;

    let progress = Progress::new(options.quiet, "drawing and measuring", held_out.len());
    let measured: Vec<Measured> = held_out
        .par_iter()
        .zip(&asked)
        .map_init(
            || Artist::new(model),
            |artist, (galaxy, asked)| {
                let artist = artist.as_mut().map_err(|e| e.clone())?;
                let conditions = galaxy.conditions;
                let light = match options.reconstructions {
                    true => artist.reconstruct(seed, galaxy)?,
                    false => {
                        let size = asked.half_light_radius;
                        artist.draw(seed, galaxy.id, conditions, size)?.0
                    }
                };
                let seen = match intrinsic {
                    true => galaxy.blurred(&light),
                    false => light.clone(),
                };
                let measured = measure(galaxy, light, seen, samples.half_light_radius, seed);
                progress.step();
                measured
            },
        )
        .collect::<Result<_, String>>()?;
    progress.finish();

    let table = |i: usize| measured.iter().map(|m| m.rows[i].clone()).collect();
    let tables = Tables {
        held_out: table(0),
        drawn: table(1),
        sersic: table(2),
    };
    let progress = Progress::new(options.quiet, "comparing", compare::rows());
    let compared = compare::compare(&tables, seed, || progress.step());
    let overlaps = compare::overlaps(&tables, seed);
    progress.finish();

    let image =
        |i: usize| -> Vec<Vec<f32>> { measured.iter().map(|m| m.stamps[i].clone()).collect() };
    let [real, drawn, light] = [0, 1, 2].map(image);
    let fwhm: Vec<f32> = samples
        .validation
        .iter()
        .map(|&p| samples.psf_fwhm(p))
        .collect();
    let progress = Progress::new(
        options.quiet,
        "through the sharpest telescopes",
        held_out.len(),
    );
    let outliers = sharp::outliers(&held_out, &fwhm, intrinsic, &light, seed, || {
        progress.step()
    });
    progress.finish();
    let training: Vec<Vec<f32>> = samples
        .training
        .par_iter()
        .map(|&p| of(samples, p, &[]).as_measured())
        .collect();
    let progress = Progress::new(
        options.quiet,
        "nearest training galaxies",
        2 * held_out.len(),
    );
    let memorisation = Memorisation::of(&training, &real, &drawn, side, || progress.step());
    progress.finish();
    let shown = [&memorisation.held_out, &memorisation.drawn]
        .into_iter()
        .flatten();
    let training = shown
        .map(|n| (n.training, training[n.training].clone()))
        .collect();

    let population: Vec<(&Asked, &[f32])> = asked
        .iter()
        .zip(&light)
        .map(|(asked, stamp)| (asked, stamp.as_slice()))
        .collect();
    let mut artist = Artist::new(model)?;
    let geometry = (side, samples.half_light_radius);
    let conditions = &model.card().conditions;
    let requested = conditions::compare(&mut artist, conditions, &population, geometry, seed)?;
    let measurable = conditions::measurable(conditions);
    let unmeasured = conditions.list.iter().map(|c| c.name.clone());
    let unmeasured = unmeasured.filter(|name| measurable.iter().all(|(_, m)| m != name));

    let card = model.card();
    Ok(Evaluation {
        provenance: Provenance {
            model: card.name.clone(),
            fingerprint: card.fingerprint.clone(),
            psf: card.psf.clone(),
            command: options.command.clone(),
            program: concat!("galgen-train ", env!("CARGO_PKG_VERSION")),
            seed,
            reconstructions: options.reconstructions,
            training: samples.training.len(),
            held_out: held_out.len(),
        },
        side,
        tables,
        compared,
        overlaps,
        memorisation,
        outliers,
        requested,
        unmeasured_conditions: unmeasured.collect(),
        bound: bound::bound(model, &held_out, seed)?,
        held_out: real,
        drawn,
        intrinsic: light,
        sersic: measured.into_iter().map(|m| m.sersic).collect(),
        training,
    })
}

/// Whether the model can be compared with the samples at all.
fn check(model: &Model, samples: &Samples) -> Result<(), String> {
    let card = model.card();
    let geometry = &card.geometry;
    let Some(half_light_radius) = geometry.half_light_radius else {
        return Err(
            "the model draws plain images, and only galaxies in the galaxy frame can be evaluated"
                .into(),
        );
    };
    let (found, expected) = (
        (samples.side, samples.half_light_radius),
        (geometry.side, half_light_radius),
    );
    if found != expected {
        return Err(format!(
            "the training sets have stamps of side {} with a half-light radius of {} pixels, the model draws side {} \
             with {}: use the recipe and the sets that the model was trained with",
            found.0, found.1, expected.0, expected.1
        ));
    }
    let names = |c: &galgen_core::condition::Conditions| -> Vec<String> {
        c.list.iter().map(|c| c.name.clone()).collect()
    };
    let (found, expected) = (names(&samples.conditions), names(&card.conditions));
    if found != expected {
        return Err(format!(
            "the recipe has the conditions ({}), the model ({}): use the recipe that the model was trained with",
            found.join(", "),
            expected.join(", ")
        ));
    }
    enough(samples)
}

/// Whether there are enough held-out galaxies for figures.
///
/// # Errors
/// If not: how many there are and should be.
pub fn enough(samples: &Samples) -> Result<(), String> {
    match samples.validation.len() {
        FEWEST.. => Ok(()),
        count => Err(format!(
            "{count} held-out galaxies, expected at least {FEWEST}: use larger sets or a larger validation fraction"
        )),
    }
}

/// What a stamp of `samples` was observed with; a single value is no PSF and white noise.
fn of<'a>(samples: &'a Samples, position: usize, conditions: &'a [f32]) -> HeldOut<'a> {
    HeldOut {
        id: samples.ids[position],
        stamp: samples.stamp(position),
        observed: samples.observed(position),
        sky: samples.sky(position),
        psf: samples.psf(position),
        noise_acf: samples.noise_acf(position),
        variance: samples.variance(position),
        conditions,
    }
}

/// Measures one held-out galaxy, the drawn one, whose `light` is `seen` through the same optics, and its Sersic galaxy.
fn measure(
    galaxy: &HeldOut,
    light: Vec<f32>,
    seen: Vec<f32>,
    half_light_radius: f64,
    seed: u64,
) -> Result<Measured, String> {
    let real = galaxy.as_measured();
    let drawn = galaxy.observed(seen, seed, NoiseOf::Drawn);
    let mut fitter = Fitter::new(galaxy.side(), galaxy.psf)?;
    let mut row = |stamp: &[f32]| statistics::row(stamp, galaxy, half_light_radius, &mut fitter);
    let (real_row, fit) = row(&real);
    let (drawn_row, _) = row(&drawn);
    let sersic = fit.map(|fit| {
        let mut light = fitter.draw(&fit);
        let window = galgen_core::stamp::window(galaxy.side());
        light.iter_mut().zip(window).for_each(|(v, w)| *v *= w);
        galaxy.observed(light, seed, NoiseOf::Sersic)
    });
    let sersic_row = match &sersic {
        Some(stamp) => statistics::row(stamp, galaxy, half_light_radius, &mut fitter).0,
        None => statistics::unmeasured(),
    };
    Ok(Measured {
        rows: [real_row, drawn_row, sersic_row],
        stamps: [real, drawn, light],
        sersic,
    })
}
