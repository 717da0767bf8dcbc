//! `galgen score`: how likely stamps are under a model.

use crate::args::{Metric, ScoreArgs};
use crate::decode::{StampRow, Stamps};
use crate::failure::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::panels::Panels;
use crate::paths;
use crate::source::Entry;
use crate::stamps::{self, Done};
use crate::table::{self, Column, Format, Row, Table, Values};
use galgen_core::condition::Flags;
use galgen_core::models::{Family, FlowModel, Likelihood, Posterior};
use galgen_infer::{DrawError, Session};
use galgen_io::atomic::AtomicFile;

/// Draws whose mean is the column `elbo`.
const ELBO_DRAWS: u64 = 16;

/// What a model says of a stamp's density.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// ln p of every pixel.
    Pixels,
    /// ln p, and that of the latent that the stamp is mapped to.
    Exact,
    /// Bounds of ln p, and the density of the latent.
    Bounds,
    /// The density of the latent alone.
    Code,
}

/// The scores that a model gives, in the order of their columns.
struct Scores {
    kind: Kind,
    /// Of a flow with grey levels: bits_per_dimension.
    levels: Option<FlowModel>,
    /// Mean squared error of a pixel's reconstruction.
    reconstruction: bool,
}

impl Scores {
    fn of(family: &Family) -> Self {
        let (kind, reconstruction) = match family {
            Family::FlowVae(_) => (Kind::Bounds, false),
            Family::Vae(vae) => match vae.posterior {
                Posterior::Gaussian => (Kind::Bounds, true),
                Posterior::Point => (Kind::Code, true),
            },
            Family::Flow(_) | Family::Made(_) => (Kind::Exact, false),
            Family::PixelCnn(_) => (Kind::Pixels, true),
        };
        let levels = match family {
            Family::Flow(flow) => flow.levels.map(|_| flow.clone()),
            Family::FlowVae(_) | Family::Vae(_) | Family::Made(_) | Family::PixelCnn(_) => None,
        };
        Scores {
            kind,
            levels,
            reconstruction,
        }
    }

    fn columns(&self) -> Vec<Column> {
        let nats = |names: &[&'static str]| -> Vec<Column> {
            names
                .iter()
                .map(|name| Column::number(*name, "nat"))
                .collect()
        };
        let mut columns = match self.kind {
            Kind::Pixels | Kind::Exact => nats(&["log_likelihood"]),
            Kind::Bounds => nats(&["log_likelihood", "elbo"]),
            Kind::Code => Vec::new(),
        };
        let bits = |_| Column::number("bits_per_dimension", "bit");
        columns.extend(self.levels.as_ref().map(bits));
        if self.kind != Kind::Pixels {
            columns.extend(nats(&["log_prob_latent"]));
        }
        if self.reconstruction {
            columns.push(Column::number("reconstruction_error", ""));
        }
        columns
    }

    fn evaluate(
        &self,
        args: &ScoreArgs,
        session: &mut Session,
        entry: &Entry,
        asked: &[f32],
        stamp: &[f32],
    ) -> Result<Scored, DrawError> {
        session.accept_half_precision(args.half_precision);
        if self.kind == Kind::Pixels {
            return pixels(session, asked, stamp);
        }
        let latent = session.model().latent();
        let (mut mean, mut spread) = (vec![0.0; latent], vec![0.0; latent]);
        let flags = session.encode(stamp, asked, &mut mean, &mut spread)?;
        let z: Vec<f64> = mean.iter().map(|&z| f64::from(z)).collect();
        let log_prob_latent = session.log_prob_latent(&z, asked)?;
        let all = args.metric == Metric::Loglik;
        let mut values = Vec::new();
        if self.kind == Kind::Exact {
            let mut found = f64::NAN;
            if all {
                let (samples, seed) = (args.draws.get(), args.seed);
                found = session.log_likelihood(
                    stamp,
                    asked,
                    entry.sky_for(session),
                    samples,
                    seed,
                    entry.id,
                )?;
            }
            values.push(found);
            let bits = |flow: &FlowModel| flow.bits(found, stamp.len());
            values.extend(self.levels.as_ref().map(bits));
        }
        if self.kind == Kind::Bounds {
            let mut bound = |draws, seed| {
                session.log_likelihood(stamp, asked, entry.sky_for(session), draws, seed, entry.id)
            };
            let mut bounds = [f64::NAN; 2];
            if all {
                bounds[0] = bound(args.draws.get(), args.seed)?;
                let mut sum = 0.0;
                // Seeds of their own: independent of the draws above and of each other.
                for draw in 1..=ELBO_DRAWS {
                    sum += bound(1, args.seed.wrapping_add(draw))?;
                }
                bounds[1] = sum / ELBO_DRAWS as f64;
            }
            values.extend(bounds);
        }
        values.push(log_prob_latent);
        if self.reconstruction {
            let mut error = f64::NAN;
            if all {
                let mut made = vec![0.0; stamp.len()];
                session.reconstruct(stamp, asked, &mut made)?;
                let pairs = stamp.iter().zip(&made);
                let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                error = squares.sum::<f64>() / stamp.len() as f64;
            }
            values.push(error);
        }
        Ok(Scored {
            values,
            flags,
            maps: Vec::new(),
        })
    }
}

/// What is said of a stamp.
struct Scored {
    values: Vec<f64>,
    flags: Flags,
    /// Of an autoregressive model the planes of [`MAPS`].
    maps: Vec<f32>,
}

/// The planes of `--maps`.
const MAPS: [&str; 2] = ["ln p of the pixel, nats", "pixel minus its mean"];

/// Scores and maps under an autoregressive model.
fn pixels(session: &mut Session, asked: &[f32], stamp: &[f32]) -> Result<Scored, DrawError> {
    let mut map = vec![0.0; stamp.len()];
    let flags = session.pixel_log_likelihoods(stamp, asked, &mut map)?;
    let mut made = vec![0.0; stamp.len()];
    session.reconstruct(stamp, asked, &mut made)?;
    let residuals = stamp.iter().zip(&made).map(|(pixel, mean)| pixel - mean);
    let squares = residuals.clone().map(|r| f64::from(r).powi(2));
    let error = squares.sum::<f64>() / stamp.len() as f64;
    Ok(Scored {
        values: vec![map.iter().sum(), error],
        flags,
        maps: map.iter().map(|&v| v as f32).chain(residuals).collect(),
    })
}

/// Where the maps of an autoregressive model go.
struct Maps {
    file: Option<Stamps>,
    sheet: Option<Panels>,
}

impl Maps {
    fn create(args: &ScoreArgs, file: &ModelFile) -> Result<Self, Failure> {
        if file.model.head().is_none() && (args.maps.is_some() || args.png.is_some()) {
            let problem = format!("--maps and --png: {}", DrawError::NotAutoregressive);
            return Err(Failure::Usage(problem));
        }
        let names = MAPS.map(String::from);
        let maps = args.maps.as_deref();
        let side = file.model.card().geometry.side;
        let titles = ["stamps", "unlikely pixels", "pixels far from their mean"];
        Ok(Maps {
            file: maps
                .map(|path| Stamps::planes(path, None, file, &names))
                .transpose()?,
            sheet: args
                .png
                .as_deref()
                .map(|path| Panels::create(path, side, &titles))
                .transpose()?,
        })
    }

    fn push(&mut self, done: &Done<(Vec<f32>, Scored)>) -> Result<(), Failure> {
        if let (Some(sheet), Ok((_, (stamp, scored)))) = (&mut self.sheet, &done.result) {
            // Sheets show what is above 0.
            let (log_p, residual) = scored.maps.split_at(stamp.len());
            let likeliest = log_p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let unlikely: Vec<f32> = log_p.iter().map(|v| likeliest - v).collect();
            let far: Vec<f32> = residual.iter().map(|r| r.abs()).collect();
            sheet.add(&[stamp, &unlikely, &far]);
        }
        if let Some(file) = &mut self.file {
            let result = done.result.as_ref();
            let row = |(conditions, (_, scored)): &(Vec<f64>, (Vec<f32>, Scored))| {
                (conditions.clone(), scored.maps.clone(), scored.flags)
            };
            file.push(StampRow {
                row: done.row,
                id: done.id,
                result: result.map(row).map_err(String::clone),
            })?;
        }
        Ok(())
    }

    fn finish(self, title: &str) -> Result<(), Failure> {
        if let Some(file) = self.file {
            file.finish("maps")?;
        }
        self.sheet.map_or(Ok(()), |sheet| sheet.finish(title))
    }
}

/// What [`log_p`] is the logarithm of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The density of the pixels.
    Density,
    /// The probability of pixels that have levels.
    Probability,
    /// The density of the code that a plain autoencoder has for the image.
    Code,
}

impl Quantity {
    /// Of a model.
    pub fn of(family: &Family) -> Self {
        let levels = match family {
            _ if Scores::of(family).kind == Kind::Code => return Self::Code,
            Family::FlowVae(_) => false,
            Family::Vae(vae) => vae.likelihood == Likelihood::Bernoulli,
            Family::Flow(flow) => flow.levels.is_some(),
            Family::Made(_) => true,
            Family::PixelCnn(model) => model.head.levels().is_some(),
        };
        if levels {
            Self::Probability
        } else {
            Self::Density
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Density => "the density of the pixels",
            Self::Probability => "the probability of the pixels' levels",
            Self::Code => "the density of the code",
        }
    }

    /// As a symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Density | Self::Probability => "p(x)",
            Self::Code => "p(code of x)",
        }
    }
}

/// The one number by which images are compared: ln p(x), or its bound of `draws`; of a plain autoencoder, which has
/// neither, the density of the code.
pub fn log_p(
    session: &mut Session,
    entry: &Entry,
    asked: &[f32],
    stamp: &[f32],
    draws: u32,
    seed: u64,
) -> Result<f64, DrawError> {
    if Scores::of(&session.model().card().model).kind != Kind::Code {
        return session.log_likelihood(stamp, asked, entry.sky_for(session), draws, seed, entry.id);
    }
    let latent = session.model().latent();
    let (mut mean, mut spread) = (vec![0.0; latent], vec![0.0; latent]);
    session.encode(stamp, asked, &mut mean, &mut spread)?;
    let z: Vec<f64> = mean.iter().map(|&z| f64::from(z)).collect();
    session.log_prob_latent(&z, asked)
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<Outcome, Failure> {
    let format = Format::of(&args.out)?;
    let outputs = [Some(&args.out), args.maps.as_ref(), args.png.as_ref()];
    paths::distinct_stamps(&args.stamps, None, outputs)?;
    let file = ModelFile::open(args.stamps.model.as_deref())?;
    let mut maps = Maps::create(args, &file)?;
    let mut source = stamps::open(&args.stamps, &file, args.sky_sigma.as_deref())?;
    let mut out = AtomicFile::create(&args.out)?;
    let card = file.model.card();
    let scores = Scores::of(&card.model);
    let mut columns = scores.columns();
    columns.extend(card.conditions.list.iter().map(Column::condition));
    let mut table = Table {
        name: "SCORES",
        columns,
        rows: Vec::new(),
        draws: (scores.kind != Kind::Pixels).then_some((args.seed, args.draws.get())),
    };
    let work = |session: &mut Session, entry: &Entry, asked: &[f32], stamp: &[f32]| {
        let scored = scores.evaluate(args, session, entry, asked, stamp)?;
        Ok((stamp.to_vec(), scored))
    };
    let failed = stamps::for_each(&args.stamps, &file, &mut source, &work, |done| {
        maps.push(&done)?;
        let values = done.result.map(|(conditions, (_, mut scored))| {
            scored.values.extend(conditions);
            Values {
                values: scored.values,
                flags: scored.flags,
            }
        });
        table.rows.push(Row {
            row: done.row,
            id: done.id,
            values,
        });
        Ok(())
    })?;
    out.put(&table::encode(format, &table, &file))?;
    maps.finish(&card.name)?;
    out.commit()?;
    Ok(Outcome::after(failed))
}
