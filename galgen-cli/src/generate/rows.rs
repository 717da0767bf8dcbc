//! Rows of the catalogue in batches, good and bad ones in file order; the rows of one job.

use crate::failure::Failure;
use galgen_io::catalog::{Catalog, CatalogChunk, CatalogRow, RowProblem};
use galgen_io::table::Table;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;

/// Rows read from the catalogue at a time.
const CHUNK: usize = 1024;

/// One row.
pub enum Item {
    Good(CatalogRow),
    Bad(RowProblem),
}

impl Item {
    /// Number of the row in the file, from 0.
    pub fn row(&self) -> u64 {
        match self {
            Self::Good(row) => row.row,
            Self::Bad(problem) => problem.row,
        }
    }
}

/// Batches of the rows within a range.
pub struct Rows {
    catalog: Catalog,
    range: Range<u64>,
    batch: usize,
    waiting: VecDeque<Item>,
    ended: bool,
}

impl Rows {
    /// Rows of `range` in batches of `batch`.
    pub fn new(catalog: Catalog, range: Range<u64>, batch: usize) -> Self {
        Self {
            catalog,
            range,
            batch,
            waiting: VecDeque::new(),
            ended: false,
        }
    }

    /// The next batch; `None` after the last. Rows before the range are read too, so that an id that one
    /// of them used is known.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Item>>, Failure> {
        while !self.ended && self.waiting.len() < self.batch {
            let Some(chunk) = self.catalog.next_chunk(CHUNK)? else {
                self.ended = true;
                break;
            };
            let inside = |item: &Item| self.range.contains(&item.row());
            self.waiting
                .extend(in_order(chunk).into_iter().filter(inside));
            self.ended = self
                .waiting
                .back()
                .is_some_and(|last| last.row() + 1 == self.range.end);
        }
        let batch: Vec<Item> = self
            .waiting
            .drain(..self.batch.min(self.waiting.len()))
            .collect();
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Share of the range that has been read, 0 to 1.
    pub fn progress(&self, done: u64) -> f64 {
        match self.range.end {
            u64::MAX => self.catalog.progress(),
            end => done as f64 / (end - self.range.start) as f64,
        }
    }
}

/// Both lists of a chunk are in file order: merges them.
fn in_order(chunk: CatalogChunk) -> Vec<Item> {
    let mut items: Vec<Item> = chunk.rows.into_iter().map(Item::Good).collect();
    items.extend(chunk.problems.into_iter().map(Item::Bad));
    items.sort_by_key(Item::row);
    items
}

/// The rows of job `job` of `njobs` (from 1): consecutive, their numbers differ by at most one.
pub fn range_of_job(
    path: &Path,
    njobs: NonZeroU64,
    job: NonZeroU64,
) -> Result<Range<u64>, Failure> {
    let (n, i) = (u128::from(njobs.get()), u128::from(job.get()));
    if i > n {
        return Err(Failure::Usage(format!(
            "--job {i}: expected 1 to {n}, the number of --njobs"
        )));
    }
    let rows = u128::from(count(path)?);
    let range = ((i - 1) * rows / n) as u64..(i * rows / n) as u64;
    if range.is_empty() && rows > 0 {
        let name = path.display();
        return Err(Failure::Failed(format!(
            "{name}: job {i} of {n} has no rows, the catalogue has {rows}: use at most {rows} jobs"
        )));
    }
    Ok(range)
}

/// Number of rows; a CSV file is read through for it.
fn count(path: &Path) -> Result<u64, Failure> {
    let mut table = Table::open(path)?;
    if let Some(rows) = table.rows() {
        return Ok(rows);
    }
    let mut rows = 0;
    while let Some(chunk) = table.next_chunk(&[], CHUNK)? {
        rows += chunk.rows as u64;
    }
    Ok(rows)
}
