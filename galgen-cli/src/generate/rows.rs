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

/// Where rows come from.
pub enum Source {
    Catalog(Box<Catalog>),
    /// Made up: rows of a plain image, numbered.
    Counted(Counted),
}

/// Rows without a catalogue: the id is the number of the row, and of each condition's values the row takes the
/// one after that of the row before, and then the first again.
pub struct Counted {
    pub count: u64,
    /// Values of each condition, at least one.
    pub conditions: Vec<Vec<f64>>,
    pub next: u64,
}

impl Counted {
    fn next_row(&mut self) -> Option<Item> {
        let row = self.next;
        self.next += 1;
        let value = |values: &Vec<f64>| values[(row % values.len() as u64) as usize];
        (row < self.count).then(|| {
            Item::Good(CatalogRow {
                row,
                id: row,
                conditions: self.conditions.iter().map(value).collect(),
                ..CatalogRow::default()
            })
        })
    }
}

/// Batches of the rows within a range.
pub struct Rows {
    source: Source,
    range: Range<u64>,
    batch: usize,
    waiting: VecDeque<Item>,
    ended: bool,
}

impl Rows {
    /// Rows of `range` in batches of `batch`.
    pub fn new(source: Source, range: Range<u64>, batch: usize) -> Self {
        Self {
            source,
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
            let items = match &mut self.source {
                Source::Catalog(catalog) => catalog.next_chunk(CHUNK)?.map(in_order),
                Source::Counted(counted) => counted.next_row().map(|item| vec![item]),
            };
            let Some(items) = items else {
                self.ended = true;
                break;
            };
            let inside = |item: &Item| self.range.contains(&item.row());
            self.waiting.extend(items.into_iter().filter(inside));
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
            u64::MAX => match &self.source {
                Source::Catalog(catalog) => catalog.progress(),
                Source::Counted(counted) => done as f64 / counted.count as f64,
            },
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
pub fn range_of_job(rows: u64, njobs: NonZeroU64, job: NonZeroU64) -> Result<Range<u64>, Failure> {
    let (n, i) = (u128::from(njobs.get()), u128::from(job.get()));
    if i > n {
        return Err(Failure::Usage(format!(
            "--job {i}: expected 1 to {n}, the number of --njobs"
        )));
    }
    let rows = u128::from(rows);
    let range = ((i - 1) * rows / n) as u64..(i * rows / n) as u64;
    if range.is_empty() && rows > 0 {
        return Err(Failure::Failed(format!(
            "job {i} of {n} has no rows, there are {rows} in all: use at most {rows} jobs"
        )));
    }
    Ok(range)
}

/// Number of rows of a catalogue; a CSV file is read through for it.
pub fn count(path: &Path) -> Result<u64, Failure> {
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
