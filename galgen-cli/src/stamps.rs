//! Work on the stamps of a file: read in batches, on several threads, results in order.

use crate::args::StampArgs;
use crate::conditions::{Given, conditions};
use crate::failure::Failure;
use crate::generate::threads;
use crate::model_file::ModelFile;
use crate::ordered::map_ordered;
use crate::problems::Problems;
use crate::progress::Progress;
use crate::source::{Batch, Entry, Source};
use galgen_infer::{DrawError, Session};
use std::cell::Cell;
use std::time::Instant;

/// Stamps of a batch.
const BATCH_ROWS: usize = 16;
/// What came of a stamp.
pub struct Done<T> {
    /// Number of the stamp in its file, from 0.
    pub row: u64,
    pub id: u64,
    /// The result, with the conditions in the model's order; or what went wrong.
    pub result: Result<(Vec<f64>, T), String>,
}

/// Opens the stamps for a model; `sky` is the noise of a pixel or its column.
pub fn open(args: &StampArgs, file: &ModelFile, sky: Option<&str>) -> Result<Source, Failure> {
    let source = Source::open(args, &file.model, sky)?;
    if !args.quiet {
        let notices = source.notices().iter();
        notices.for_each(|notice| eprintln!("galgen: {notice}"));
    }
    Ok(source)
}

/// Gives the result of `work` (session, what is known of the stamp, its conditions, its pixels) on every stamp to
/// `take`, in the order of the file. Returns the number of stamps that failed, which are listed.
pub fn for_each<T: Send>(
    args: &StampArgs,
    file: &ModelFile,
    source: &mut Source,
    work: &(impl Fn(&mut Session, &Entry, &[f32], &[f32]) -> Result<T, DrawError> + Sync),
    mut take: impl FnMut(Done<T>) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let progress = Progress::new(args.quiet);
    let start = Instant::now();
    let workers = (0..threads(args.threads))
        .map(|_| {
            let mut session = Session::new(file.model.clone());
            move |batch: Batch| -> Vec<Done<T>> {
                let stamps = batch.stamps.chunks_exact(session.model().stamp_len());
                let entries = batch.entries.into_iter().zip(stamps);
                entries
                    .map(|(entry, stamp)| Done {
                        row: entry.row,
                        id: entry.id,
                        result: one(&mut session, &entry, stamp, work).map_err(|p| p.0),
                    })
                    .collect()
            }
        })
        .collect();
    let count = source.count();
    let (mut problems, mut taken) = (Problems::default(), 0);
    let first = Cell::new(0);
    let next = || {
        let rows = BATCH_ROWS.min(count - first.get());
        let batch = match rows {
            0 => None,
            _ => Some(source.batch(first.get(), rows)?),
        };
        first.set(first.get() + rows);
        Ok::<_, Failure>(batch)
    };
    map_ordered(workers, next, |results: Vec<Done<T>>| {
        for done in results {
            if let Err(problem) = &done.result {
                let name = args.stamps.display();
                let text = format!("{name}: row {}: {problem}", done.row);
                problems.add(&text, &progress);
            }
            taken += 1;
            take(done)?;
        }
        progress.set(taken, taken as f64 / count as f64);
        Ok(())
    })?;
    progress.finish();
    let failed = problems.count();
    if !args.quiet {
        let seconds = start.elapsed().as_secs_f64();
        let rate = taken as f64 / seconds;
        eprintln!(
            "galgen: {taken} stamps in {seconds:.1} s, {rate:.0} per second; {failed} failed"
        );
    }
    Ok(failed)
}

/// What one stamp failed for, in words.
struct Problem(String);

impl From<DrawError> for Problem {
    fn from(e: DrawError) -> Self {
        Self(e.to_string())
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self(text)
    }
}

fn one<T>(
    session: &mut Session,
    entry: &Entry,
    stamp: &[f32],
    work: &impl Fn(&mut Session, &Entry, &[f32], &[f32]) -> Result<T, DrawError>,
) -> Result<(Vec<f64>, T), Problem> {
    if let Some((psf, side)) = &entry.psf {
        session.set_psf(psf, *side)?;
    }
    let model = session.model().clone();
    let mut known = conditions(model.card(), entry, stamp)?;
    let mut asked: Vec<f32> = known.iter().map(|&c| c as f32).collect();
    let measured = |given: &Given| matches!(given, Given::Measured(_));
    if entry.psf.is_some() && entry.conditions.iter().any(measured) {
        let mut made = vec![0.0; stamp.len()];
        session.agree(stamp, &mut asked, &mut made, |made, asked| {
            known = conditions(model.card(), entry, made)?;
            asked
                .iter_mut()
                .zip(&known)
                .for_each(|(a, c)| *a = *c as f32);
            Ok::<_, Problem>(())
        })?;
    }
    let result = work(session, entry, &asked, stamp)?;
    Ok((known, result))
}
