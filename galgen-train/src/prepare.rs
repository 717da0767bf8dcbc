//! `galgen-train prepare`: pictures of galaxies become a training set.

mod optics;
mod sheets;
mod table;

use crate::data::catalogue::{TableColumns, add_positions};
use crate::data::galaxy::{Limits, prepare, psf_side};
use crate::data::reason::Reason;
use crate::data::set::SetError;
use crate::data::source::{self, Entry, Reader};
use crate::data::stretch::Stretch;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of `galgen-train prepare`.
#[derive(Clone, Debug, clap::Args)]
pub struct PrepareArgs {
    /// Folder of JPEG, PNG or FITS pictures, FITS cube, or GalSim RealGalaxyCatalog, one galaxy at the
    /// centre of each picture; with --sky-images a FITS image of the sky or a folder of them.
    ///
    /// Of a RealGalaxyCatalog each galaxy's own point-spread function and the catalogue's noise correlation are used:
    /// `prepare --source real_galaxy_catalog.fits --pixel-scale 0.03 --min-hlr 4 --output cosmos.safetensors`.
    /// Stamps drawn with GalSim, one point-spread function each (or one for all):
    /// `prepare --source stamps.fits --psf-file psfs.fits --output drawn.safetensors`.
    #[arg(long)]
    pub source: PathBuf,
    /// The source is a linear FITS image of the sky (.fits, .fits.bz2), or a folder of them: galaxies are found
    /// in it, the point-spread function is measured on its stars.
    ///
    /// `prepare --sky-images --source frame.fits.bz2 --pixel-scale 0.396 --min-hlr 3 --output frame.safetensors`.
    #[arg(long)]
    pub sky_images: bool,
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
    /// FITS file of point-spread functions in picture pixels, the detector's pixel included: a cube with a
    /// plane for each picture in order, or one plane for all.
    #[arg(long, conflicts_with = "psf_fwhm")]
    pub psf_file: Option<PathBuf>,
    /// Full width at half maximum of stars in picture pixels, used instead of the source's own point-spread
    /// functions; 0 if unknown (without any other no PSF and no star test).
    #[arg(long, default_value_t = 0.0)]
    pub psf_fwhm: f64,
    /// Profile of the PSF of that width: gaussian, or moffat with exponent 3.
    #[arg(long, default_value = "moffat", value_parser = ["gaussian", "moffat"])]
    pub psf_profile: String,
    /// How the PSF is known, kept in the set.
    #[arg(long, default_value = "")]
    pub psf_note: String,
    /// Correlation of the sky noise: the source's own (of a RealGalaxyCatalog; of other sources measured), measured
    /// on blank sky of the pictures, or white (independent pixels).
    #[arg(long, default_value = "own", value_parser = ["own", "measured", "white"])]
    pub noise: String,
    /// Standard deviation of the sky noise in a picture pixel; without it measured in each picture.
    #[arg(long)]
    pub noise_sigma: Option<f64>,
    /// Photo-electrons per unit of the pictures: the galaxies' own noise goes into the set's variance.
    #[arg(long)]
    pub gain: Option<f64>,
    /// Noise of the galaxies themselves where no gain is known: measured against the light where the optics pass no
    /// structure, and extended to all scales with the sky's spectrum (photons) or as white noise (display:
    /// levels and compression of a picture). Goes into the set's variance.
    #[arg(long, default_value = "none", value_parser = ["none", "photons", "display"], conflicts_with = "gain")]
    pub noise_of_light: String,
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
    /// Side of the point-spread functions in stamp pixels, odd; without it half of the stamp's side.
    #[arg(long)]
    pub psf_side: Option<usize>,
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

/// Pictures in memory at once.
const TOGETHER: usize = 64;

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
    let (entries, stars) = entries(args).map_err(PrepareError::Input)?;
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
    let known = optics::known(args, &mut reader, &entries, stars).map_err(PrepareError::Input)?;
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        // Files are read one after the other; galaxies are independent of each other.
        let read: Vec<_> = entries
            .by_ref()
            .take(TOGETHER)
            .map(|entry| {
                let picture = reader.read(&entry);
                let both = picture.and_then(|p| Ok((p, known.optics_of(&mut reader, &entry)?)));
                (entry, both)
            })
            .collect();
        let prepared: Vec<_> = read
            .into_par_iter()
            .map(|(entry, read)| {
                let galaxy = read.map(|(picture, optics)| prepare(&picture, &optics, &limits));
                bar.inc(1);
                (entry, galaxy)
            })
            .collect();
        for (entry, galaxy) in prepared {
            let galaxy = galaxy.unwrap_or_else(|problem| {
                unreadable.push(format!("{}: {problem}", entry.path.display()));
                Err(Reason::Unreadable)
            });
            match galaxy {
                Ok(galaxy) => accepted.push((entry, galaxy)),
                Err(reason) => rejected.entry(reason).or_default().push(entry),
            }
        }
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
    Ok(table::set(args, known, accepted, &rejected).save(&args.output)?)
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
    let psf = side_of_psf(args);
    if psf.is_multiple_of(2) || psf > args.side {
        return Err(format!(
            "--psf-side {psf}: expected an odd number up to the side, {}",
            args.side
        ));
    }
    let positive = [("--hlr-px", args.hlr_px), ("--min-hlr", args.min_hlr)];
    let optional = [
        ("--pixel-scale", args.pixel_scale),
        ("--noise-sigma", args.noise_sigma),
        ("--gain", args.gain),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, v)| Some((name, v?)));
    for (name, value) in positive.into_iter().chain(given) {
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

/// The pictures, and the number of stars that the point-spread functions were measured on.
fn entries(args: &PrepareArgs) -> Result<(Vec<Entry>, usize), String> {
    let (mut entries, stars) = if args.sky_images {
        source::sky_images(&args.source, optics::given(args).as_ref())?
    } else {
        (source::entries(&args.source)?, 0)
    };
    if let Some(path) = &args.psf_file {
        source::add_psfs(&mut entries, path)?;
    }
    entries.truncate(args.limit.unwrap_or(usize::MAX));
    if let Some(table) = &args.table {
        let columns = TableColumns {
            file: &args.file_column,
            ra: &args.ra_column,
            dec: &args.dec_column,
        };
        let absent = add_positions(&mut entries, table, &columns)?;
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
    Ok((entries, stars))
}

fn side_of_psf(args: &PrepareArgs) -> usize {
    args.psf_side.unwrap_or(psf_side(args.side))
}

fn limits(args: &PrepareArgs) -> Limits {
    Limits {
        side: args.side,
        psf_side: side_of_psf(args),
        hlr_px: args.hlr_px,
        min_hlr: args.min_hlr,
        min_snr: args.min_snr,
        max_missing_light: args.max_missing_light,
        max_missing_area: args.max_missing_area,
        max_neighbours: args.max_neighbours,
        max_saturated: args.max_saturated,
    }
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
