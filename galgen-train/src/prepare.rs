//! `galgen-train prepare`: pictures of galaxies become a training set.

use crate::data::galaxy::{Galaxy, Limits, Picture, prepare};
use crate::data::reason::Reason;
use crate::data::set::{COLUMNS, Description, FORMAT_VERSION, SetError, TrainingSet};
use crate::data::source::{self, Entry, Reader, TableColumns};
use crate::data::stretch::Stretch;
use galgen_io::sheet::{SheetOptions, Tile, sheet};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Full width at half maximum of the seeing in picture pixels; 0 if unknown (no star test).
    #[arg(long, default_value_t = 0.0)]
    pub psf_fwhm: f64,
    /// Smallest semi-major half-light radius in picture pixels.
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
    /// Semi-major half-light radius of every stamp in pixels.
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
    for entry in entries {
        let result = match reader.read(&entry) {
            Ok(picture) => prepare(&picture, &limits),
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
        sheets(folder, &mut reader, &accepted, &rejected).map_err(PrepareError::Input)?;
    }
    if accepted.is_empty() {
        return Err(PrepareError::Input(format!(
            "{}: no picture was accepted, so no set is written; see the counts above",
            args.source.display()
        )));
    }
    Ok(set(args, accepted, &rejected).save(&args.output)?)
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
        psf_fwhm: args.psf_fwhm,
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

/// The accepted galaxies as a training set.
fn set(
    args: &PrepareArgs,
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
        "source_half_light_radius_px" => galaxy.source_half_light_radius_px,
        "source_half_light_radius_arcsec" => galaxy.source_half_light_radius_px * scale,
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
    TrainingSet {
        description,
        columns,
        id: accepted.iter().map(|(e, _)| e.id()).collect(),
        stamps: accepted
            .iter()
            .flat_map(|(_, g)| g.stamp.iter().copied())
            .collect(),
        observed: accepted
            .iter()
            .flat_map(|(_, g)| g.observed.iter().copied())
            .collect(),
    }
}

/// Pictures on a contact sheet, and how many to a row.
const ON_SHEET: usize = 100;
const IN_ROW: usize = 10;

fn sheets(
    folder: &Path,
    reader: &mut Reader,
    accepted: &[(Entry, Galaxy)],
    rejected: &BTreeMap<Reason, Vec<Entry>>,
) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // In order of the id's hash: as good as random, and the same every time.
    let mut order: Vec<&(Entry, Galaxy)> = accepted.iter().collect();
    order.sort_by_key(|(e, _)| shuffled(e));
    let caption = |g: &Galaxy| format!("q {:.2} C {:.1}", g.axis_ratio, g.concentration);
    let tiles = order
        .iter()
        .take(ON_SHEET)
        .map(|(_, g)| (g.stamp.clone(), caption(g)))
        .collect();
    draw_sheet(&folder.join("accepted.png"), "accepted", tiles)?;
    for (reason, entries) in rejected {
        let mut order: Vec<&Entry> = entries.iter().collect();
        order.sort_by_key(|e| shuffled(e));
        let pictures = order
            .iter()
            .filter_map(|e| Some((light(reader.read(e).ok()?), e.name.clone())));
        let tiles = pictures.take(ON_SHEET).collect();
        draw_sheet(
            &folder.join(format!("rejected_{}.png", reason.name())),
            reason.name(),
            tiles,
        )?;
    }
    Ok(())
}

/// A number that looks random, from the id (the finaliser of SplitMix64).
fn shuffled(entry: &Entry) -> u64 {
    let z = (entry.id() as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A picture's pixels above its sky.
fn light(picture: Picture) -> Vec<f32> {
    let level = crate::data::plane::sky(&picture.plane).map_or(0.0, |s| s.level as f32);
    picture
        .plane
        .pixels
        .iter()
        .map(|v| if v.is_finite() { v - level } else { 0.0 })
        .collect()
}

/// Draws square tiles with their captions; no file if there are none.
fn draw_sheet(path: &Path, title: &str, tiles: Vec<(Vec<f32>, String)>) -> Result<(), String> {
    if tiles.is_empty() {
        return Ok(());
    }
    let tiles: Vec<Tile<'_>> = tiles
        .iter()
        .map(|(pixels, caption)| {
            let side = pixels.len().isqrt();
            Tile {
                pixels,
                width: side,
                height: side,
                caption: caption.clone(),
            }
        })
        .collect();
    let options = SheetOptions {
        columns: IN_ROW,
        title: title.into(),
        ..SheetOptions::default()
    };
    sheet(&tiles, &options)
        .save(path)
        .map_err(|e| e.to_string())
}
