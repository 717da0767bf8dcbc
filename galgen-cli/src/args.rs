//! The command line, and the help that it prints.

use crate::generate::psf::PsfArg;
use clap::{Parser, Subcommand, ValueEnum};
use galgen_io::catalog;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: nothing was written, a former output file stays as it was
  2    wrong usage
  3    done, but some objects failed; they are listed and marked in the output
  130  interrupted: nothing was written";

const GENERATE_HELP: &str = "\
Example:
  galgen generate --catalog cat.csv --zero-point 26 --out stamps.fits --png sheet.png

Columns (looked for by name without regard to case; --column ROLE=COLUMN names another, and
--column ROLE=NUMBER gives all rows one value; an element of an array column is COLUMN[2], from 0):
  id                 whole number, unique: the key of the galaxy's random numbers
                     (object_id, source_id, ident; else the number of the row, from 0)
  half_light_radius  arcsec, before lensing (hlr, flux_radius, r50, re); SExtractor's own
                     FLUX_RADIUS is in pixels: convert it
  semi_major         instead of it: semi-major half-light radius in arcsec (hlr_major, a)
  flux               any linear unit, before lensing
  magnitude          instead of it, if there is a --zero-point: AB magnitude (mag, mag_auto)
  position_angle     degrees from +x towards +y (pa, theta, phi; else 0)
  g1, g2             reduced shear (else 0)
  magnification      (else 1)
and the conditions of the model (see `galgen inspect`); for the default model:
  axis_ratio         minor over major axis, above 0 and at most 1 (q, ba, b_a)
  concentration      C = 5 log10(r80 / r20) (c)
  sersic             instead of it: Sersic index, mapped to the C of that profile (n, sersic_n)

A condition that is a class (see `galgen inspect`) takes the name of the class.

Models of plain images need id and conditions only, or --count without a catalogue; their stamps are
in the units of the training data, and the columns of light, size and place are left out:
  galgen generate --model digits.safetensors --count 100 --out digits.fits --png digits.png
  galgen generate --model digits.safetensors --count 9 --column digit=3 --out threes.fits

Of a FITS file the first table is read (of --psf the first image): FILE.fits[2] and FILE.fits[NAME] name another HDU,
by its number from 0 or its EXTNAME.

Output: FITS with the cube STAMPS (one plane per row of the catalogue, in its order) and the
table INDEX with what was asked and drawn. dudx, dudy, dvdx, dvdy map pixels of the stored stamp
to arcsec on the sky. `flux` is lensed; the sum of a stamp is flux x fraction_inside. `status` is
0 for a galaxy that was drawn and 1 for a row that could not be: its stamp is blank and `problem`
says why.

Bits of `flags` (also as cards GGFLAGnn of the primary header; 0: nothing unusual):
  0 to 15  condition 0 to 15 of the model lies outside its trained range
  16       each condition may be in range, their combination is not (Mahalanobis distance)
  17       the galaxy is too round to have a position angle

The same seed, model and row give the same pixels whatever --threads, the order or the job.
Memory, whatever the number of rows: about 20 MiB and 1 MiB per thread (more for large rendered
stamps), and at most 18 bytes per row of a catalogue with ids.";

const SCORE_HELP: &str = "\
Example:
  galgen generate --frame galaxy --catalog cat.csv --out galaxies.fits
  galgen score --stamps galaxies.fits --out scores.csv

Stamps must be as the model knows them: in the galaxy frame (major axis along x), centred, the
half-light radius and the side that `galgen inspect` shows, of any positive flux. `galgen generate
--frame galaxy` writes such stamps, `galgen-train prepare` makes them of real galaxies; its training
sets (.safetensors) can be read here as they are.

Plain images must have the model's side; the bytes of IDX files become 0 to 1. A model of 0 and 1 scores
such pixels only: --binarise makes them.

Conditions come from the columns of that name in the INDEX table (or training set), or from
--labels; what is not there is measured on the stamp: axis_ratio from moments, concentration in
ellipses.

Scores, in nats, larger is likelier:
  log_likelihood    importance-weighted lower bound of ln p(stamp | conditions) (Burda et al. 2016)
  elbo              evidence lower bound, mean of 16 draws
  log_prob_latent   ln p(z | conditions) of the posterior's mean under the prior: exact, of the latent
Autoencoders and autoregressive models also have
  reconstruction_error  mean squared difference of a pixel and its reconstruction
and plain autoencoders no likelihood: log_prob_latent and this error are their scores. The
log_likelihood of an autoregressive model is exact; it has no latent and no elbo. Its --maps shows
which pixels are unlikely: planes of ln p(pixel | pixels before it) and of pixel minus its mean.
That of a flow is exact too, but an estimate where a continuous flow estimates its trace (`inspect`
shows it): another --seed gives another one.

Densities are over pixels in units of the model's intensity: compare them between stamps of one
model, not between models of different geometry. The columns `flags` are those of generate.";

const COMPARE_HELP: &str = "\
Example:
  galgen compare --model observed.safetensors --against sersic.safetensors \\
    --sample observed=held-out.safetensors --sample simulated=simulated.fits --out report.html

The first sample is the reference: galaxies like those that the model was trained on, but not these.
Samples, conditions and sky noise are read as by `galgen score`. The score of a galaxy is ln p(x), with
--against the logarithm of the ratio of both densities. The report shows the distributions with
bootstrap bands, Kolmogorov-Smirnov and Wasserstein distances, the probability that a galaxy of the
reference has the higher score (AUROC, 0.5 for one population), the most and least likely galaxies, and
how the score goes with what is measured on the stamps and with the columns named by --property.";

const ENCODE_HELP: &str = "\
Example:
  galgen encode --stamps galaxies.fits --out latents.csv
  galgen decode --latents latents.csv --out decoded.fits

Stamps and conditions are read as by `galgen score`. The table has the columns id, row, status, z0,
z1, ... (the mean of the posterior, or the code of a plain autoencoder), ln_variance0, ... (none for
a plain one), the conditions, flags and problem.";

const DECODE_HELP: &str = "\
Example:
  galgen decode --latents latents.csv --out decoded.fits --png decoded.png

The table needs the columns z0, z1, ... and the conditions of the model; id, if it is there, is
kept. Stamps are written in the galaxy frame, each of sum 1, without the random texture that drawn
galaxies have; plain images as they are, the mean of their pixels.";

const RECONSTRUCT_HELP: &str = "\
Example:
  galgen reconstruct --stamps galaxies.fits --out reconstructed.fits

Each stamp is encoded and the mean of its posterior decoded, under the same conditions; galaxies
keep their flux, and have none of the random texture of drawn ones. A model that takes a point-spread function gives the galaxy in front of it, an
autoregressive model the mean of each pixel given those before it.";

const COMPLETE_HELP: &str = "\
Example:
  galgen complete --model digits.safetensors --stamps digits.npy --rows 4 --out completed.fits --png sheet.png

For autoregressive models. The first rows of each stamp, or the pixels of a mask, are kept; every
other pixel is drawn given all pixels before it, row by row from the first row of the file, each
from the left. A kept pixel after a drawn one does not change it. The same seed, model and id give
the same pixels whatever --threads. The sheet shows what is kept, the completions and the stamps.";

/// Galaxies for image simulations, drawn by a learned model.
#[derive(Debug, Parser)]
#[command(name = "galgen", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw the galaxies of a catalogue
    #[command(after_long_help = GENERATE_HELP)]
    Generate(Box<GenerateArgs>),
    /// Evaluate how likely stamps are under a model
    #[command(after_long_help = SCORE_HELP)]
    Score(ScoreArgs),
    /// Compare samples of stamps under a model, such as simulations with observations
    #[command(after_long_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Take stamps to the model's latent space
    #[command(after_long_help = ENCODE_HELP)]
    Encode(EncodeArgs),
    /// Draw the stamps of given latents
    #[command(after_long_help = DECODE_HELP)]
    Decode(DecodeArgs),
    /// Take stamps to the latent space and back
    #[command(after_long_help = RECONSTRUCT_HELP)]
    Reconstruct(ReconstructArgs),
    /// Draw the missing pixels of stamps
    #[command(after_long_help = COMPLETE_HELP)]
    Complete(CompleteArgs),
    /// Show what a model is: conditions, geometry, training, evaluation
    #[command(after_long_help = "Example:\n  galgen inspect --json | jq .conditions.list")]
    Inspect(InspectArgs),
}

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// Catalogue: FITS binary table, or CSV with a header line
    #[arg(long, value_name = "FILE", required_unless_present = "count")]
    pub catalog: Option<PathBuf>,
    /// Without a catalogue: draw so many plain images, ids from 0, the classes in turn
    #[arg(long, value_name = "N", conflicts_with = "catalog")]
    pub count: Option<NonZeroU64>,
    /// Stamp file to write (FITS)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Model file [default: the model within this program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; the result does not depend on it [default: all processors]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Also write a contact sheet of the first stamps
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub png: Option<PathBuf>,
    /// Column, or number for all rows, that plays a role (repeatable)
    #[arg(long = "column", value_name = "ROLE=COLUMN", value_parser = role_and_column)]
    pub columns: Vec<(String, String)>,
    /// AB magnitude of a galaxy of flux 1, for catalogues with magnitudes
    #[arg(long, value_name = "MAG", allow_negative_numbers = true, value_parser = finite)]
    pub zero_point: Option<f64>,
    /// Meaning of half_light_radius [default: circular]
    #[arg(long, value_enum)]
    pub size_definition: Option<SizeDefinition>,
    /// What of a plain image is drawn [default: mean; of an autoregressive model drawn]
    #[arg(long, value_enum)]
    pub pixels: Option<Pixels>,
    /// Axes of stamps that keep the model's grid
    #[arg(long, value_enum, default_value_t = Frame::Sky)]
    pub frame: Frame,
    /// Render on a grid of this many arcsec per pixel instead
    #[arg(
        long,
        value_name = "ARCSEC",
        allow_negative_numbers = true,
        requires = "size",
        conflicts_with = "frame",
        help_heading = "Rendering"
    )]
    pub pixel_scale: Option<f64>,
    /// Side of the rendered grid in pixels
    #[arg(
        long,
        value_name = "N",
        requires = "pixel_scale",
        help_heading = "Rendering"
    )]
    pub size: Option<usize>,
    /// gaussian:FWHM or moffat:FWHM,BETA (arcsec), or FILE.fits, or FILE.fits,ARCSEC_PER_PIXEL: 4 or more of its
    /// pixels per FWHM keep its width
    #[arg(
        long,
        value_name = "PSF",
        requires = "pixel_scale",
        help_heading = "Rendering"
    )]
    pub psf: Option<PsfArg>,
    /// Gaussian noise to add, in flux per pixel
    #[arg(
        long,
        value_name = "SIGMA",
        allow_negative_numbers = true,
        requires = "pixel_scale",
        help_heading = "Rendering"
    )]
    pub noise_sigma: Option<f64>,
    /// Add photon noise: electrons per unit of flux
    #[arg(long, value_name = "G", allow_negative_numbers = true, requires_all = ["pixel_scale", "sky_level"], help_heading = "Rendering")]
    pub gain: Option<f64>,
    /// Sky for the photon noise, in flux per pixel; only its noise is added
    #[arg(
        long,
        value_name = "L",
        allow_negative_numbers = true,
        requires = "gain",
        help_heading = "Rendering"
    )]
    pub sky_level: Option<f64>,
    /// Divide the catalogue into this many runs of consecutive rows
    #[arg(
        long,
        value_name = "N",
        requires = "job",
        help_heading = "Sharing the work"
    )]
    pub njobs: Option<NonZeroU64>,
    /// Which of them to draw, from 1
    #[arg(
        long,
        value_name = "I",
        requires = "njobs",
        help_heading = "Sharing the work"
    )]
    pub job: Option<NonZeroU64>,
    /// No progress, notices or summary; problems are still listed
    #[arg(long, short)]
    pub quiet: bool,
}

/// Stamps that a model is applied to.
#[derive(Debug, clap::Args)]
pub struct StampArgs {
    /// Stamps: FITS cube (`file.fits[2]` or `file.fits[NAME]` for another HDU than the first with an image), .npy array,
    /// training set (.safetensors), or IDX (plain or .gz); for models of columns a table (CSV, FITS) with these columns, or an
    /// .npy array [N, columns]
    #[arg(long, value_name = "FILE")]
    pub stamps: PathBuf,
    /// Model file [default: the model within this program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Conditions of the stamps: IDX with a class for each, or a table with a column of the condition's name, by
    /// its column id, or without one with a row for each [default: the table INDEX of the stamps]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Point-spread function of the stamps, in their pixels and their frame: a FITS image of odd side, or a
    /// cube with one for each stamp; for models with the PSF inside [default: that of a training
    /// set, else none]
    #[arg(long, value_name = "FILE")]
    pub psf: Option<PathBuf>,
    /// Make every pixel 1 with the probability that is its value, else 0: the bits depend on this seed and the
    /// number of the stamp; 0 is that of the recipes
    #[arg(long, value_name = "SEED")]
    pub binarise: Option<u64>,
    /// Threads; the result does not depend on it [default: all processors]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// No progress, notices or summary; problems are still listed
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub stamps: StampArgs,
    /// Scores to write: .csv or .fits
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Posterior draws per stamp: more give a tighter bound; of a flow draws of the noise of grey levels
    #[arg(long, value_name = "K", default_value = "64")]
    pub draws: NonZeroU32,
    /// Accept flows whose weights are stored in 16 bits: ln p is then off by 0.01 nats (f16) or 0.1 (bf16) at 64
    /// dimensions, and more for more
    #[arg(long)]
    pub half_precision: bool,
    /// Sky noise of a pixel in the stamp's unit, or the column that holds it
    /// [default: column sky_sigma if there is one, else that of a typical training stamp]
    #[arg(long, value_name = "SIGMA|COLUMN", allow_negative_numbers = true)]
    pub sky_sigma: Option<String>,
    /// What to evaluate: loglik (all scores), or latent (log_prob_latent alone, faster)
    #[arg(long, value_enum, default_value_t = Metric::Loglik)]
    pub metric: Metric,
    /// Seed of the posterior draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also write two planes for each stamp (FITS), of an autoregressive model: ln p of every pixel, and the pixel
    /// minus its mean
    #[arg(long, value_name = "FILE")]
    pub maps: Option<PathBuf>,
    /// Also write a sheet of the first stamps beside these maps
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub png: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct CompleteArgs {
    #[command(flatten)]
    pub stamps: StampArgs,
    /// Stamp file to write (FITS)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Keep the first rows, so many [default: half of them]
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    pub rows: Option<usize>,
    /// Keep the pixels where this image of the stamps' size is not 0: FITS or .npy, one for all stamps or one
    /// for each
    #[arg(long, value_name = "FILE")]
    pub mask: Option<PathBuf>,
    /// Seed of the drawn pixels. An image that the model drew itself comes back under the seed it was drawn with: take
    /// another one
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also write a sheet of the first stamps
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub png: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Model of the reference population
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Divide the density by that of a second model, such as one of best-fit Sersic galaxies
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Stamps with a name for the report; the first sample is the reference (repeatable)
    #[arg(long = "sample", value_name = "NAME=FILE", value_parser = name_and_file, required = true)]
    pub samples: Vec<(String, PathBuf)>,
    /// Report to write (HTML, pictures inside)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write the numbers as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Column of the samples that the score is held against (repeatable)
    #[arg(long = "property", value_name = "COLUMN")]
    pub properties: Vec<String>,
    /// Conditions of a sample, as for `galgen score` (repeatable)
    #[arg(long, value_name = "NAME=FILE", value_parser = name_and_file)]
    pub labels: Vec<(String, PathBuf)>,
    /// Point-spread function of a sample, as for `galgen score` (repeatable)
    #[arg(long, value_name = "NAME=FILE", value_parser = name_and_file)]
    pub psf: Vec<(String, PathBuf)>,
    /// Make every pixel 1 with the probability that is its value, else 0, by this seed
    #[arg(long, value_name = "SEED")]
    pub binarise: Option<u64>,
    /// Posterior draws per stamp, where the model has a bound only
    #[arg(long, value_name = "K", default_value = "64")]
    pub draws: NonZeroU32,
    /// Sky noise of a pixel in the stamp's unit, or the column that holds it
    #[arg(long, value_name = "SIGMA|COLUMN", allow_negative_numbers = true)]
    pub sky_sigma: Option<String>,
    /// Accept weights that were stored in 16 bits, although they change ln p
    #[arg(long)]
    pub half_precision: bool,
    /// Seed of the posterior draws and the bootstrap
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads; the result does not depend on it [default: all processors]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// No progress, notices or summary; problems are still listed
    #[arg(long, short)]
    pub quiet: bool,
}

/// `NAME=FILE`.
fn name_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.into(), file.into()))
        }
        _ => Err("expected a name and a file, such as observed=galaxies.fits".into()),
    }
}

#[derive(Debug, clap::Args)]
pub struct EncodeArgs {
    #[command(flatten)]
    pub stamps: StampArgs,
    /// Table of latents to write: .csv or .fits
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct ReconstructArgs {
    #[command(flatten)]
    pub stamps: StampArgs,
    /// Stamp file to write (FITS)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write a contact sheet of the first stamps
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub png: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct DecodeArgs {
    /// Table of latents, FITS or CSV, as `galgen encode` writes it
    #[arg(long, value_name = "FILE")]
    pub latents: PathBuf,
    /// Stamp file to write (FITS)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Model file [default: the model within this program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Also write a contact sheet of the first stamps
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub png: Option<PathBuf>,
    /// No progress; problems are still listed
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Model file [default: the model within this program]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// The whole card as JSON
    #[arg(long)]
    pub json: bool,
}

/// Meaning of a half-light radius.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SizeDefinition {
    /// radius of the circle with half of the flux (SExtractor, GalSim)
    Circular,
    /// semi-major axis of the ellipse with half of the flux (Sersic fits)
    SemiMajor,
}

impl From<SizeDefinition> for catalog::SizeDefinition {
    fn from(definition: SizeDefinition) -> Self {
        match definition {
            SizeDefinition::Circular => Self::Circular,
            SizeDefinition::SemiMajor => Self::SemiMajor,
        }
    }
}

/// Axes of stamps on the model's own grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Frame {
    /// axes of the sky: turned, sheared and magnified as the catalogue asks
    Sky,
    /// the galaxy's axes, nothing resampled: the index holds the map to the sky
    Galaxy,
}

/// What of a plain image is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pixels {
    /// the mean of the pixels: the probability of 1 where they are 0 or 1; of an autoregressive model given
    /// the pixels drawn before each
    Mean,
    /// a draw of the pixels
    Drawn,
}

impl From<Pixels> for galgen_infer::Pixels {
    fn from(pixels: Pixels) -> Self {
        match pixels {
            Pixels::Mean => Self::Mean,
            Pixels::Drawn => Self::Drawn,
        }
    }
}

/// What `score` evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// log_likelihood, elbo and log_prob_latent
    Loglik,
    /// log_prob_latent only
    Latent,
}

fn role_and_column(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((role, column)) if !role.is_empty() && !column.is_empty() => {
            Ok((role.trim().into(), column.trim().into()))
        }
        _ => Err("expected ROLE=COLUMN, for example half_light_radius=R_E".into()),
    }
}

fn png_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(end) if end.eq_ignore_ascii_case("png") => Ok(path),
        _ => Err("expected a name that ends in .png".into()),
    }
}

fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a finite number".into()),
    }
}
