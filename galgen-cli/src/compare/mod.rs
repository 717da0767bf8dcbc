//! `galgen compare`: samples of images under one model, or under the ratio of two (Zanisi et al. 2021, MNRAS 501, 4359).

mod figures;
mod properties;
mod report;
mod summary;

use crate::args::{CompareArgs, StampArgs};
use crate::failure::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::paths;
use crate::score::{Quantity, log_p};
use crate::source::{Entry, Source};
use crate::stamps;
use galgen_infer::Session;
use galgen_io::atomic::AtomicFile;
use properties::Property;
use std::path::{Path, PathBuf};

/// Fewest galaxies of a sample whose distribution means something.
const FEWEST: usize = 8;
/// Galaxies on each side of a contact sheet.
pub const SHOWN: usize = 16;

/// A stamp and its score.
pub type Scored = (Vec<f32>, f64);

/// A sample with all that is known of its galaxies, in the order of its file.
pub struct Sample {
    /// Its name in the report.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// ln p(x) in nats; NaN where it could not be evaluated.
    pub log_p: Vec<f64>,
    /// ln p(x) under the second model.
    pub against: Option<Vec<f64>>,
    /// Values of each property.
    pub properties: Vec<Vec<f64>>,
    /// The stamps of the highest and of the lowest score, with their scores.
    pub extremes: [Vec<Scored>; 2],
}

impl Sample {
    /// What the sample is judged by: ln p(x), or ln of the ratio of both models' densities.
    pub fn score(&self) -> Vec<f64> {
        match &self.against {
            None => self.log_p.clone(),
            Some(other) => self.log_p.iter().zip(other).map(|(a, b)| a - b).collect(),
        }
    }
}

/// Everything that the report shows.
pub struct Comparison {
    /// Name of the model, and of the one it is divided by.
    pub models: Vec<String>,
    /// What the models evaluate.
    pub quantity: Quantity,
    /// Side and bands of the stamps.
    pub side: usize,
    /// Rows of the file go down, as in plain images.
    pub y_down: bool,
    /// The properties that scores are held against.
    pub properties: Vec<Property>,
    /// The first is the reference.
    pub samples: Vec<Sample>,
    /// Draws of a bound, and seed of all random numbers.
    pub draws: u32,
    pub seed: u64,
}

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<Outcome, Failure> {
    check(args)?;
    let files = [Some(&args.model), args.against.as_ref()];
    let models = files
        .into_iter()
        .flatten()
        .map(|path| ModelFile::open(Some(path)))
        .collect::<Result<Vec<_>, _>>()?;
    let quantity = check_models(&models)?;
    let geometry = &models[0].model.card().geometry;
    let properties = properties::of(geometry, &args.properties);
    check_columns(args, &models[0], &properties)?;
    let mut out = AtomicFile::create(&args.out)?;
    let json = args.json.as_deref().map(AtomicFile::create).transpose()?;
    let (mut samples, mut failed) = (Vec::new(), 0);
    for (name, path) in &args.samples {
        let (sample, problems) = scored(args, &models, &properties, name, path)?;
        failed += problems;
        samples.push(sample);
    }
    let comparison = Comparison {
        models: models.iter().map(|m| m.model.card().name.clone()).collect(),
        quantity,
        side: geometry.side,
        y_down: geometry.half_light_radius.is_none(),
        properties,
        samples,
        draws: args.draws.get(),
        seed: args.seed,
    };
    let found = summary::of(&comparison);
    out.put(report::html(&comparison, &found).as_bytes())?;
    if let Some(mut json) = json {
        json.put(format!("{:#}\n", found.json(&comparison)).as_bytes())?;
        json.commit()?;
    }
    out.commit()?;
    if !args.quiet {
        eprint!("{}", found.text(&comparison));
    }
    Ok(Outcome::after(failed))
}

/// What the models evaluate, which must be of one kind for a ratio.
fn check_models(models: &[ModelFile]) -> Result<Quantity, Failure> {
    let first = models[0].model.card();
    let quantity = Quantity::of(&first.model);
    for other in models[1..].iter().map(|file| file.model.card()) {
        let (name, against) = (&first.name, &other.name);
        let kind = Quantity::of(&other.model);
        if kind != quantity {
            return Err(Failure::Usage(format!(
                "{name} evaluates {}, {against} {}: a ratio needs two models of one kind",
                quantity.name(),
                kind.name()
            )));
        }
        let radii = [first, other].map(|card| card.geometry.half_light_radius);
        if radii[0] != radii[1] {
            let text = |radius: Option<f64>| match radius {
                Some(radius) => format!("galaxies of half-light radius {radius} pixels"),
                None => "plain images".into(),
            };
            return Err(Failure::Usage(format!(
                "{name} is of {}, {against} of {}: a ratio needs two models of the same stamps",
                text(radii[0]),
                text(radii[1])
            )));
        }
    }
    Ok(quantity)
}

fn check(args: &CompareArgs) -> Result<(), Failure> {
    let usage = |problem: String| Err(Failure::Usage(problem));
    if args.samples.len() < 2 {
        return usage(
            "one --sample, expected two or more: the reference first, as --sample observed=FILE --sample simulated=FILE"
                .into(),
        );
    }
    for (i, (name, _)) in args.samples.iter().enumerate() {
        if args.samples[..i].iter().any(|(other, _)| other == name) {
            return usage(format!(
                "two samples are named {name}: each needs its own name"
            ));
        }
    }
    let names: Vec<&str> = args.samples.iter().map(|(name, _)| &name[..]).collect();
    for (flag, named) in [("--labels", &args.labels), ("--psf", &args.psf)] {
        if let Some((name, _)) = named.iter().find(|(n, _)| !names.contains(&&n[..])) {
            return usage(format!(
                "{flag} {name}=...: no sample of that name, expected one of {}",
                names.join(", ")
            ));
        }
    }
    let named = [&args.samples, &args.labels, &args.psf];
    let inputs = named.into_iter().flatten().map(|(_, path)| Some(path));
    let inputs = inputs.chain([Some(&args.model), args.against.as_ref()]);
    paths::distinct(inputs, [Some(&args.out), args.json.as_ref()])
}

/// What a sample lacks is missed before the first one is scored.
fn check_columns(
    args: &CompareArgs,
    model: &ModelFile,
    properties: &[Property],
) -> Result<(), Failure> {
    for (name, path) in &args.samples {
        let quiet = StampArgs {
            quiet: true,
            ..stamp_args(args, name, path)
        };
        let mut source = stamps::open(&quiet, model, args.sky_sigma.as_deref())?;
        properties::columns(properties, &mut source)?;
    }
    Ok(())
}

/// How a sample is read.
fn stamp_args(args: &CompareArgs, name: &str, path: &Path) -> StampArgs {
    let of_sample = |named: &[(String, PathBuf)]| {
        let own = named.iter().find(|(sample, _)| sample == name);
        own.map(|(_, file)| file.clone())
    };
    StampArgs {
        stamps: path.to_path_buf(),
        model: None,
        labels: of_sample(&args.labels),
        psf: of_sample(&args.psf),
        binarise: args.binarise,
        threads: args.threads,
        quiet: args.quiet,
    }
}

/// Scores a sample under each model; with the number of galaxies that failed.
fn scored(
    args: &CompareArgs,
    models: &[ModelFile],
    properties: &[Property],
    name: &str,
    path: &Path,
) -> Result<(Sample, u64), Failure> {
    let stamp_args = stamp_args(args, name, path);
    let sky = args.sky_sigma.as_deref();
    let (draws, seed) = (args.draws.get(), args.seed);
    let (mut scores, mut failed) = (Vec::new(), 0);
    let mut values = vec![Vec::new(); properties.len()];
    for (place, file) in models.iter().enumerate() {
        let mut source = stamps::open(&stamp_args, file, sky)?;
        let measured = if place == 0 { properties } else { &[] };
        let columns = properties::columns(measured, &mut source)?;
        let work = |session: &mut Session, entry: &Entry, asked: &[f32], stamp: &[f32]| {
            session.accept_half_precision(args.half_precision);
            let score = log_p(session, entry, asked, stamp, draws, seed)?;
            let geometry = &session.model().card().geometry;
            let at = entry.row as usize;
            let row = properties::row(measured, &columns, at, stamp, geometry, entry.sky);
            Ok((score, row))
        };
        let mut log_p = Vec::with_capacity(source.count());
        failed += stamps::for_each(&stamp_args, file, &mut source, &work, |done| {
            let row = match done.result {
                Ok((_, (score, row))) => {
                    log_p.push(score);
                    row
                }
                Err(_) => {
                    log_p.push(f64::NAN);
                    vec![f64::NAN; measured.len()]
                }
            };
            values.iter_mut().zip(row).for_each(|(v, x)| v.push(x));
            Ok(())
        })?;
        scores.push(log_p);
    }
    let mut scores = scores.into_iter();
    let mut sample = Sample {
        name: name.into(),
        path: path.into(),
        log_p: scores.next().expect("one model"),
        against: scores.next(),
        properties: values,
        extremes: [Vec::new(), Vec::new()],
    };
    let finite = sample.score().iter().filter(|v| v.is_finite()).count();
    if finite < FEWEST {
        return Err(Failure::Failed(format!(
            "{}: {finite} of {} stamps have a score, expected {FEWEST} or more",
            path.display(),
            sample.log_p.len()
        )));
    }
    let mut source = stamps::open(
        &StampArgs {
            quiet: true,
            ..stamp_args
        },
        &models[0],
        sky,
    )?;
    sample.extremes = extremes(&sample.score(), &mut source)?;
    Ok((sample, failed))
}

/// Stamps of the highest and of the lowest finite scores.
fn extremes(score: &[f64], source: &mut Source) -> Result<[Vec<Scored>; 2], Failure> {
    let mut order: Vec<usize> = (0..score.len()).filter(|&i| score[i].is_finite()).collect();
    order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
    let shown = SHOWN.min(order.len());
    let mut read = |rows: &[usize]| {
        rows.iter()
            .map(|&row| Ok((source.batch(row, 1)?.stamps, score[row])))
            .collect::<Result<Vec<_>, Failure>>()
    };
    let highest = read(&order[..shown])?;
    order.reverse();
    Ok([highest, read(&order[..shown])?])
}
