//! `galgen-train prepare`: pictures of galaxies become a training set.

mod sheets;

use crate::data::galaxy::{Galaxy, Limits, Optics, blank_sky, correlation_side, prepare, psf_side};
use crate::data::noise::{Measured, SkyNoise};
use crate::data::psf::{Psf, SEEING_BETA};
use crate::data::reason::Reason;
use crate::data::set::{COLUMNS, Description, FORMAT_VERSION, SetError, TrainingSet};
use crate::data::source::{self, Entry, Reader, TableColumns};
use crate::data::stretch::Stretch;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of `galgen-train prepare`.
#[derive(Clone, Debug, clap::Args)]
pub struct PrepareArgs {
    /// Folder of JPEG, PNG or FITS pictures, FITS cube, or GalSim RealGalaxyCatalog; one galaxy at the
    /// centre of each picture.
    #[arg(long)]
    pub source: PathBuf,
    /// The training set to write (.safetensors).
    #[arg(long)]
    pub output: PathBuf,
    /// Name of the source, kept in the set.
    #[arg(long)]
    pub name: Option<String>,
    /// Whom to credit for the pictures, kept in the set and in the card of a model trained on it.
    #[arg(long, default_value = "")]
    pub credit: String,
    /// Display stretch of JPEG and PNG pictures, to be undone: linear, sky-server (SDSS), stiff (EFIGI), asinh:K or power:GAMMA.
    #[arg(long, default_value = "linear")]
    pub stretch: Stretch,
    /// How well the stretch is known, kept in the set.
    #[arg(long, default_value = "")]
    pub stretch_note: String,
    /// Colour channel to take: R, G or B (in SDSS composites the i, r and g band).
    #[arg(long, default_value = "G", value_parser = ["R", "G", "B"])]
    pub channel: String,
    /// Name of that channel's band.
    #[arg(long, default_value = "r")]
    pub band: String,
    /// CSV table with a row per picture; adds the position on the sky.
    #[arg(long)]
    pub table: Option<PathBuf>,
    /// Column of the table with the file name.
    #[arg(long, default_value = "file")]
    pub file_column: String,
    /// Column with the right ascension in degrees.
    #[arg(long, default_value = "ra_deg")]
    pub ra_column: String,
    /// Column with the declination in degrees.
    #[arg(long, default_value = "dec_deg")]
    pub dec_column: String,
    /// Arcseconds per picture pixel, if all pictures share it.
    #[arg(long)]
    pub pixel_scale: Option<f64>,
    /// Full width at half maximum of stars in picture pixels; 0 if unknown (no PSF, no star test).
    #[arg(long, default_value_t = 0.0)]
    pub psf_fwhm: f64,
    /// Profile of the PSF of that width: gaussian, or moffat with exponent 3.
    #[arg(long, default_value = "moffat", value_parser = ["gaussian", "moffat"])]
    pub psf_profile: String,
    /// How the PSF is known, kept in the set.
    #[arg(long, default_value = "")]
    pub psf_note: String,
    /// Correlation of the sky noise: measured on blank sky of the pictures, or white (independent pixels).
    #[arg(long, default_value = "measured", value_parser = ["measured", "white"])]
    pub noise: String,
    /// Smallest semi-major half-light radius in picture pixels, as observed.
    #[arg(long, default_value_t = 6.0)]
    pub min_hlr: f64,
    /// Lowest signal to noise in the half-light ellipse.
    #[arg(long, default_value_t = 15.0)]
    pub min_snr: f64,
    /// Most of the stamp's light that may come from beyond the picture.
    #[arg(long, default_value_t = 0.1)]
    pub max_missing_light: f64,
    /// Most of the stamp's area that may lie beyond the picture.
    #[arg(long, default_value_t = 0.78)]
    pub max_missing_area: f64,
    /// Most light of overlapping neighbours, as a fraction of the galaxy's.
    #[arg(long, default_value_t = 0.25)]
    pub max_neighbours: f64,
    /// Most saturated pixels, as a fraction of the half-light ellipse.
    #[arg(long, default_value_t = 0.04)]
    pub max_saturated: f64,
    /// Side of the stamps in pixels.
    #[arg(long, default_value_t = 64)]
    pub side: usize,
    /// Semi-major half-light radius of every stamp in pixels, before the PSF (estimated).
    #[arg(long, default_value_t = 8.0)]
    pub hlr_px: f64,
    /// Folder for contact sheets of the accepted and of each kind of rejected pictures.
    #[arg(long)]
    pub sheets: Option<PathBuf>,
    /// Read only the first pictures.
    #[arg(long)]
    pub limit: Option<usize>,
}

/// Why `prepare` stopped.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An option or a source cannot be used.
    #[error("{0}")]
    Input(String),
    /// The set cannot be written.
    #[error(transparent)]
    Set(#[from] SetError),
}

/// Prepares the pictures, prints a table of counts and writes the set and the sheets.
pub fn run(args: &PrepareArgs) -> Result<(), PrepareError> {
    check(args).map_err(PrepareError::Input)?;
    let entries = entries(args).map_err(PrepareError::Input)?;
    let limits = limits(args);
    let channel = match args.channel.as_str() {
        "R" => 0,
        "G" => 1,
        _ => 2,
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left");
    let bar = ProgressBar::new(entries.len() as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut accepted = Vec::new();
    let mut rejected: BTreeMap<Reason, Vec<Entry>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    let mut reader = Reader::new(channel, args.stretch);
    let (optics, known) = optics(args, &mut reader, &entries);
    for entry in entries {
        let result = match reader.read(&entry) {
            Ok(picture) => prepare(&picture, &optics, &limits),
            Err(problem) => {
                unreadable.push(format!("{}: {problem}", entry.path.display()));
                Err(Reason::Unreadable)
            }
        };
        match result {
            Ok(galaxy) => accepted.push((entry, galaxy)),
            Err(reason) => rejected.entry(reason).or_default().push(entry),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for line in unreadable.iter().take(10) {
        eprintln!("unreadable: {line}");
    }
    report(accepted.len(), &rejected);
    if let Some(folder) = &args.sheets {
        sheets::sheets(folder, &mut reader, &accepted, &rejected).map_err(PrepareError::Input)?;
    }
    if accepted.is_empty() {
        return Err(PrepareError::Input(format!(
            "{}: no picture was accepted, so no set is written; see the counts above",
            args.source.display()
        )));
    }
    Ok(set(args, known, accepted, &rejected).save(&args.output)?)
}

/// The options' own rules.
fn check(args: &PrepareArgs) -> Result<(), String> {
    if !galgen_core::stamp::SIDE_RANGE.contains(&args.side) {
        return Err(format!(
            "--side {}: expected {:?}",
            args.side,
            galgen_core::stamp::SIDE_RANGE
        ));
    }
    let positive = [("--hlr-px", args.hlr_px), ("--min-hlr", args.min_hlr)];
    let scale = args.pixel_scale.map(|v| ("--pixel-scale", v));
    for (name, value) in positive.into_iter().chain(scale) {
        if !(value > 0.0 && value.is_finite()) {
            return Err(format!("{name} {value}: expected a positive number"));
        }
    }
    if args.hlr_px > args.side as f64 / 5.0 {
        return Err(format!(
            "--hlr-px {}: expected at most a fifth of the side, {}",
            args.hlr_px, args.side
        ));
    }
    let at_least_zero = [
        ("--psf-fwhm", args.psf_fwhm),
        ("--min-snr", args.min_snr),
        ("--max-missing-light", args.max_missing_light),
        ("--max-missing-area", args.max_missing_area),
        ("--max-neighbours", args.max_neighbours),
        ("--max-saturated", args.max_saturated),
    ];
    match at_least_zero
        .iter()
        .find(|(_, v)| !(*v >= 0.0 && v.is_finite()))
    {
        Some((name, value)) => Err(format!("{name} {value}: expected a number of at least 0")),
        None => Ok(()),
    }
}

fn entries(args: &PrepareArgs) -> Result<Vec<Entry>, String> {
    let mut entries = source::entries(&args.source)?;
    entries.truncate(args.limit.unwrap_or(usize::MAX));
    if let Some(table) = &args.table {
        let columns = TableColumns {
            file: &args.file_column,
            ra: &args.ra_column,
            dec: &args.dec_column,
        };
        let absent = source::add_positions(&mut entries, table, &columns)?;
        if absent == entries.len() {
            return Err(format!(
                "{}: column '{}' names none of the {absent} pictures, such as {}; give the column of the file names with --file-column",
                table.display(),
                args.file_column,
                entries[0].name
            ));
        }
        if absent > 0 {
            eprintln!(
                "{absent} of {} pictures are not in {}: no position",
                entries.len(),
                table.display()
            );
        }
    }
    Ok(entries)
}

fn limits(args: &PrepareArgs) -> Limits {
    Limits {
        side: args.side,
        hlr_px: args.hlr_px,
        min_hlr: args.min_hlr,
        min_snr: args.min_snr,
        max_missing_light: args.max_missing_light,
        max_missing_area: args.max_missing_area,
        max_neighbours: args.max_neighbours,
        max_saturated: args.max_saturated,
    }
}

/// Pictures on whose blank sky the noise is measured.
const SKY_PICTURES: usize = 200;

/// How the optics are known, for the set's description.
struct Known {
    psf: String,
    noise: String,
}

/// The PSF asked for and the noise of the pictures.
fn optics(args: &PrepareArgs, reader: &mut Reader, entries: &[Entry]) -> (Optics, Known) {
    let (psf, profile) = match args.psf_profile.as_str() {
        "gaussian" => (Psf::gaussian(args.psf_fwhm), "Gaussian".to_string()),
        _ => (
            Psf::moffat(args.psf_fwhm, SEEING_BETA),
            format!("Moffat, exponent {SEEING_BETA}"),
        ),
    };
    let profile = if args.psf_fwhm > 0.0 {
        format!("{profile}, FWHM {} source pixels", args.psf_fwhm)
    } else {
        "not known: the resampling's kernel alone".into()
    };
    let white = (SkyNoise::white(), "white in source pixels".to_string());
    let (noise, source) = if args.noise == "white" {
        white
    } else {
        let mut measured = Measured::default();
        let step = entries.len().div_ceil(SKY_PICTURES).max(1);
        for entry in entries.iter().step_by(step) {
            let sky = reader
                .read(entry)
                .ok()
                .map(|picture| blank_sky(&picture, &psf));
            if let Some(Ok((light, blank))) = sky {
                measured.add(&light, &blank);
            }
        }
        let source = format!(
            "mean autocorrelation of the blank sky of {} pictures, in source pixels, then through each galaxy's map",
            measured.pictures()
        );
        measured.noise().map_or(white, |noise| (noise, source))
    };
    let psf_text = [profile, args.psf_note.clone()].join("; ");
    let known = Known {
        psf: psf_text.trim_end_matches("; ").into(),
        noise: source,
    };
    (Optics { psf, noise }, known)
}

fn report(accepted: usize, rejected: &BTreeMap<Reason, Vec<Entry>>) {
    println!("{:>16} {accepted:6}", "accepted");
    for reason in Reason::ALL {
        println!(
            "{:>16} {:6}",
            reason.name(),
            rejected.get(&reason).map_or(0, Vec::len)
        );
    }
}

/// The accepted galaxies as a training set.
fn set(
    args: &PrepareArgs,
    known: Known,
    accepted: Vec<(Entry, Galaxy)>,
    rejected: &BTreeMap<Reason, Vec<Entry>>,
) -> TrainingSet {
    let name = args
        .source
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let description = Description {
        format_version: FORMAT_VERSION,
        side: args.side,
        hlr_px: args.hlr_px,
        band: args.band.clone(),
        source: args.name.clone().unwrap_or(name),
        credit: args.credit.clone(),
        stretch: [args.stretch.to_string(), args.stretch_note.clone()]
            .join("; ")
            .trim_end_matches("; ")
            .into(),
        psf: known.psf,
        noise: known.noise,
        pixel_scale_arcsec: args.pixel_scale,
        accepted: accepted.len(),
        rejected: Reason::ALL
            .iter()
            .map(|r| (r.name().to_string(), rejected.get(r).map_or(0, Vec::len)))
            .collect(),
        options: format!("{:?}", limits(args)),
    };
    let scale = args.pixel_scale.map_or(f32::NAN, |s| s as f32);
    let value = |column: &str, entry: &Entry, galaxy: &Galaxy| match column {
        "sky_sigma" => galaxy.sky_sigma,
        "axis_ratio" => galaxy.axis_ratio,
        "concentration" => galaxy.concentration,
        "asymmetry" => galaxy.asymmetry,
        "half_light_radius_px" => galaxy.half_light_radius_px,
        "psf_fwhm_px" => galaxy.psf_fwhm_px,
        "source_half_light_radius_px" => galaxy.source_half_light_radius_px,
        "source_half_light_radius_arcsec" => galaxy.source_half_light_radius_px * scale,
        "source_scale" => galaxy.source_scale,
        "source_x_px" => galaxy.source_centre.0,
        "source_y_px" => galaxy.source_centre.1,
        "source_flux" => galaxy.source_flux,
        "source_position_angle_deg" => galaxy.source_position_angle_deg,
        "signal_to_noise" => galaxy.signal_to_noise,
        "missing_light" => galaxy.missing_light,
        "ra_deg" => entry.position.map_or(f32::NAN, |p| p.0 as f32),
        "dec_deg" => entry.position.map_or(f32::NAN, |p| p.1 as f32),
        _ => unreachable!("COLUMNS names no other quantity"),
    };
    let columns = COLUMNS
        .iter()
        .map(|c| accepted.iter().map(|(e, g)| value(c, e, g)).collect())
        .collect();
    let gather = |part: fn(&Galaxy) -> &[f32]| {
        accepted
            .iter()
            .flat_map(|(_, g)| part(g).iter().copied())
            .collect()
    };
    TrainingSet {
        description,
        columns,
        id: accepted.iter().map(|(e, _)| e.id()).collect(),
        stamps: gather(|g| &g.stamp),
        psf_side: psf_side(args.side),
        psf: gather(|g| &g.psf),
        acf_side: correlation_side(args.side),
        noise_acf: gather(|g| &g.noise_acf),
        variance: None,
        observed: accepted
            .iter()
            .flat_map(|(_, g)| g.observed.iter().copied())
            .collect(),
    }
}
