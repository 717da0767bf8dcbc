//! `galgen score`: how likely stamps are under a model.

use crate::args::{Metric, ScoreArgs};
use crate::failure::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::source::Entry;
use crate::stamps;
use crate::table::{self, Column, Format, Row, Table, Values};
use galgen_core::condition::Flags;
use galgen_core::models::{Family, FlowModel, Posterior};
use galgen_infer::{DrawError, Session};
use galgen_io::atomic::AtomicFile;

/// Draws whose mean is the column `elbo`.
const ELBO_DRAWS: u64 = 16;

/// The scores that a model gives, in the order of their columns.
struct Scores {
    /// Exact log_likelihood.
    exact: bool,
    /// Of a flow with grey levels bits_per_dimension.
    levels: Option<FlowModel>,
    /// log_likelihood and elbo.
    bounds: bool,
    /// Mean squared error of a pixel's reconstruction.
    reconstruction: bool,
}

impl Scores {
    fn of(family: &Family) -> Self {
        let (bounds, reconstruction) = match family {
            Family::FlowVae(_) => (true, false),
            Family::Vae(vae) => (vae.posterior == Posterior::Gaussian, true),
            Family::Flow(_) | Family::Made(_) => (false, false),
        };
        let levels = match family {
            Family::Flow(flow) => flow.levels.map(|_| flow.clone()),
            Family::FlowVae(_) | Family::Vae(_) | Family::Made(_) => None,
        };
        Scores {
            exact: matches!(family, Family::Flow(_) | Family::Made(_)),
            levels,
            bounds,
            reconstruction,
        }
    }

    fn columns(&self) -> Vec<Column> {
        if self.exact {
            let mut columns = vec![Column::number("log_likelihood", "nat")];
            let bits = |_| Column::number("bits_per_dimension", "bit");
            columns.extend(self.levels.as_ref().map(bits));
            columns.push(Column::number("log_prob_latent", "nat"));
            return columns;
        }
        let nats = ["log_likelihood", "elbo"].map(|name| Column::number(name, "nat"));
        let mut columns: Vec<Column> = nats.into_iter().filter(|_| self.bounds).collect();
        columns.push(Column::number("log_prob_latent", "nat"));
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
    ) -> Result<(Vec<f64>, Flags), DrawError> {
        let latent = session.model().latent();
        let (mut mean, mut spread) = (vec![0.0; latent], vec![0.0; latent]);
        let flags = session.encode(stamp, asked, &mut mean, &mut spread)?;
        let z: Vec<f64> = mean.iter().map(|&z| f64::from(z)).collect();
        let log_prob_latent = session.log_prob_latent(&z, asked)?;
        let all = args.metric == Metric::Loglik;
        if self.exact {
            let mut found = f64::NAN;
            if all {
                session.accept_half_precision(args.half_precision);
                let (samples, seed) = (args.samples.get(), args.seed);
                found = session.log_likelihood(stamp, asked, entry.sky, samples, seed, entry.id)?;
            }
            let mut values = vec![found];
            values.extend(
                self.levels
                    .as_ref()
                    .map(|flow| flow.bits(found, stamp.len())),
            );
            values.push(log_prob_latent);
            return Ok((values, flags));
        }
        let mut values = Vec::new();
        if self.bounds {
            let mut bound = |draws, seed| {
                session.log_likelihood(stamp, asked, entry.sky, draws, seed, entry.id)
            };
            let mut bounds = [f64::NAN; 2];
            if all {
                bounds[0] = bound(args.samples.get(), args.seed)?;
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
        Ok((values, flags))
    }
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<Outcome, Failure> {
    let format = Format::of(&args.out)?;
    stamps::check_paths(&args.stamps, &args.out)?;
    let file = ModelFile::open(args.stamps.model.as_deref())?;
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
        draws: Some((args.seed, args.samples.get())),
    };
    let work = |session: &mut Session, entry: &Entry, asked: &[f32], stamp: &[f32]| {
        scores.evaluate(args, session, entry, asked, stamp)
    };
    let failed = stamps::for_each(&args.stamps, &file, &mut source, &work, |done| {
        let values = done.result.map(|(conditions, (mut values, flags))| {
            values.extend(conditions);
            Values { values, flags }
        });
        table.rows.push(Row {
            row: done.row,
            id: done.id,
            values,
        });
        Ok(())
    })?;
    out.put(&table::encode(format, &table, &file))?;
    out.commit()?;
    Ok(Outcome::after(failed))
}
