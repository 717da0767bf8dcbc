//! `galgen score`: how likely stamps are under a model.

mod evaluate;
mod psf;
mod set;
mod source;
mod table;

use crate::args::ScoreArgs;
use crate::failure::{Failure, Outcome};
use crate::generate::threads;
use crate::model_file::ModelFile;
use crate::ordered::map_ordered;
use crate::problems::Problems;
use crate::progress::Progress;
use evaluate::{Batch, Evaluator};
use galgen_infer::Session;
use galgen_io::atomic::AtomicFile;
use source::Source;
use std::cell::Cell;
use std::time::Instant;
use table::{Format, Scores};

/// Stamps of a batch.
const BATCH_ROWS: usize = 16;

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<Outcome, Failure> {
    let format = Format::of(&args.out)?;
    let same = args
        .out
        .canonicalize()
        .ok()
        .zip(args.stamps.canonicalize().ok());
    if same.is_some_and(|(out, stamps)| out == stamps) {
        let name = args.out.display();
        return Err(Failure::Usage(format!(
            "{name} is named twice: choose another output file"
        )));
    }
    let file = ModelFile::open(args.model.as_deref())?;
    let mut source = Source::open(
        &args.stamps,
        &file.model,
        args.sky_sigma.as_deref(),
        args.psf.as_deref(),
    )?;
    let mut out = AtomicFile::create(&args.out)?;
    if !args.quiet {
        source
            .notices()
            .iter()
            .for_each(|notice| eprintln!("galgen: {notice}"));
    }
    let progress = Progress::new(args.quiet);
    let start = Instant::now();
    let scores = score_all(args, &file, &mut source, &progress)?;
    progress.finish();
    out.put(&table::encode(format, &scores, args, &file))?;
    out.commit()?;
    let failed = scores.failed();
    if !args.quiet {
        let (seconds, all) = (start.elapsed().as_secs_f64(), scores.rows.len());
        let rate = all as f64 / seconds;
        eprintln!("galgen: {all} stamps in {seconds:.1} s, {rate:.0} per second; {failed} failed");
    }
    Ok(Outcome::after(failed))
}

fn score_all(
    args: &ScoreArgs,
    file: &ModelFile,
    source: &mut Source,
    progress: &Progress,
) -> Result<Scores, Failure> {
    let workers = (0..threads(args.threads))
        .map(|_| {
            let session = Session::new(file.model.clone());
            let samples = args.samples.get();
            let mut evaluator = Evaluator::new(session, args.seed, samples, args.metric);
            move |batch: Batch| evaluator.score(batch)
        })
        .collect();
    let count = source.count();
    let mut scores = Scores::new(file.model.card());
    let mut problems = Problems::default();
    let first = Cell::new(0);
    let next = || {
        let rows = BATCH_ROWS.min(count - first.get());
        let batch = if rows == 0 {
            None
        } else {
            Some(source.batch(first.get(), rows)?)
        };
        first.set(first.get() + rows);
        Ok::<_, Failure>(batch)
    };
    map_ordered(workers, next, |results: Vec<table::Row>| {
        for row in results {
            if let Err(problem) = &row.score {
                problems.add(
                    &format!("{}: row {}: {problem}", args.stamps.display(), row.row),
                    progress,
                );
            }
            scores.rows.push(row);
        }
        progress.set(
            scores.rows.len() as u64,
            scores.rows.len() as f64 / count as f64,
        );
        Ok(())
    })?;
    Ok(scores)
}
