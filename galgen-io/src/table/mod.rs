//! Tables read as a stream: FITS binary tables and CSV, columns by name, rows in chunks.
//!
//! Memory is one chunk of the picked columns whatever the number of rows. The kind of file is told
//! from its first bytes, not from its name.

mod csv_file;
mod fits_table;
mod value;

pub use value::Value;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::fits::{FitsError, HduSelect, split_name};

/// What can be wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// Cause given by the operating system.
        source: std::io::Error,
    },
    /// Damaged FITS structure.
    #[error(transparent)]
    Fits(#[from] FitsError),
    /// The file is no table that can be read.
    #[error("{}: not a table: {reason}", path.display())]
    NotTable {
        /// File concerned.
        path: PathBuf,
        /// What was found and what to do.
        reason: String,
    },
    /// CSV that cannot be split into fields.
    #[error("{}: line {line}: {reason}", path.display())]
    Csv {
        /// File concerned.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What was found.
        reason: String,
    },
    /// A named column is not there.
    #[error("{}: no column `{asked}`{}; the columns are: {}{}", path.display(), hint(closest), list(present), separator(present))]
    MissingColumn {
        /// File concerned.
        path: PathBuf,
        /// Name asked for.
        asked: String,
        /// The most similar name, if any is similar.
        closest: Option<String>,
        /// All names.
        present: Vec<String>,
    },
    /// Two columns differ only in case and neither is spelled as asked.
    #[error("{}: `{asked}` could be any of {}: spell it as in the file", path.display(), list(matches))]
    AmbiguousColumn {
        /// File concerned.
        path: PathBuf,
        /// Name asked for.
        asked: String,
        /// The names that fit.
        matches: Vec<String>,
    },
    /// The column holds something that is not one number or text per row.
    #[error("{}: column `{column}` holds {found}; {advice}", path.display())]
    NotScalar {
        /// File concerned.
        path: PathBuf,
        /// Column.
        column: String,
        /// Its FITS format in words.
        found: String,
        /// What to do.
        advice: String,
    },
}

fn hint(closest: &Option<String>) -> String {
    closest
        .as_ref()
        .map_or(String::new(), |c| format!(" (did you mean `{c}`?)"))
}

/// What to say of a header that may have been meant as several columns.
pub(crate) fn separator(present: &[String]) -> String {
    let [only] = present else {
        return String::new();
    };
    let found = [";", "|", " "].into_iter().find(|s| only.contains(s));
    found.map_or(String::new(), |found| {
        format!(" (one column: separate columns by commas or tabs, not by `{found}`)")
    })
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 60;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(", ... ({} in all)", names.len()));
    }
    text
}

/// A column as [`Table::find`] resolves it: position, and element where it holds an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnRef {
    /// Position in the table, from 0.
    pub index: usize,
    /// Element of an array column, from 0; 0 for scalars.
    pub element: usize,
}

/// Consecutive rows of the picked columns.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Number of the first row, from 0.
    pub first_row: u64,
    /// Number of rows.
    pub rows: usize,
    /// `rows * columns` values, row by row, columns in the order picked.
    pub values: Vec<Value>,
    /// Line of each row in a text file (from 1); empty for FITS.
    pub lines: Vec<u64>,
    /// Rows (within the chunk, ascending) whose number of fields is wrong, with what was found.
    pub malformed: Vec<(usize, String)>,
    columns: usize,
}

impl Chunk {
    /// Values of one row of the chunk, in the order in which the columns were picked.
    pub fn row(&self, row: usize) -> &[Value] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

#[derive(Debug)]
enum Source {
    Fits(fits_table::FitsTable),
    Csv(csv_file::CsvTable),
}

/// An open table.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    source: Source,
}

impl Table {
    /// Opens a FITS file (its first binary table, or the HDU in brackets after its name, see
    /// [`split_name`]) or a CSV file with a header line.
    ///
    /// # Errors
    /// [`TableError`] when the file cannot be read or is no table.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TableError> {
        let (path, hdu) = split_name(path.as_ref());
        Self::open_selected(path, hdu)
    }

    /// As [`Table::open`], with a named or numbered FITS HDU.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn open_hdu(path: impl AsRef<Path>, hdu: impl Into<HduSelect>) -> Result<Self, TableError> {
        Self::open_selected(path.as_ref().to_path_buf(), Some(hdu.into()))
    }

    fn open_selected(path: PathBuf, hdu: Option<HduSelect>) -> Result<Self, TableError> {
        let io = |source| TableError::Io {
            path: path.clone(),
            source,
        };
        // A pipe can be read once only, and a device may never end.
        if !std::fs::metadata(&path).map_err(io)?.is_file() {
            return Err(TableError::NotTable {
                path: path.clone(),
                reason: "it is not a regular file: write the catalogue to a file first".into(),
            });
        }
        let mut start = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(512).read_to_end(&mut start))
            .map_err(io)?;
        let not = |reason: &str| TableError::NotTable {
            path: path.clone(),
            reason: reason.into(),
        };
        let source = match &start[..] {
            [] => return Err(not("the file is empty")),
            s if s.starts_with(b"SIMPLE") => {
                let hdu = hdu.unwrap_or(HduSelect::FirstTable);
                Source::Fits(fits_table::FitsTable::open(&path, hdu)?)
            }
            [0x1f, 0x8b, ..] => return Err(not("it is gzip-compressed: unpack it with gunzip")),
            s if s.starts_with(b"BZh") => {
                return Err(not("it is bzip2-compressed: unpack it with bunzip2"));
            }
            s if s.starts_with(b"PAR1") => {
                return Err(not("it is Parquet: convert it to FITS or CSV"));
            }
            s if s.contains(&0) => {
                return Err(not("neither FITS (`SIMPLE  =` at the start) nor text"));
            }
            _ if hdu.is_some() => {
                return Err(not("it is not FITS: leave out the HDU in brackets"));
            }
            _ => Source::Csv(csv_file::CsvTable::open(&path)?),
        };
        Ok(Self { path, source })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Column names in file order.
    pub fn columns(&self) -> &[String] {
        match &self.source {
            Source::Fits(t) => &t.names,
            Source::Csv(t) => &t.names,
        }
    }

    /// Unit of a column as the file declares it (TUNIT); empty if it does not.
    pub fn unit(&self, column: ColumnRef) -> &str {
        match &self.source {
            Source::Fits(t) => t.unit(column.index),
            Source::Csv(_) => "",
        }
    }

    /// Number of rows where the file declares it (FITS).
    pub fn rows(&self) -> Option<u64> {
        match &self.source {
            Source::Fits(t) => Some(t.rows),
            Source::Csv(_) => None,
        }
    }

    /// Share of the file read so far, 0 to 1.
    pub fn progress(&self) -> f64 {
        let (done, all) = match &self.source {
            Source::Fits(t) => (t.next_row, t.rows),
            Source::Csv(t) => (t.bytes_read(), t.bytes),
        };
        if all == 0 {
            1.0
        } else {
            (done as f64 / all as f64).min(1.0)
        }
    }

    /// The column of that name: spelled so, or else the only one that differs in case alone. An
    /// element of an array column is named `column[2]`, counted from 0.
    ///
    /// # Errors
    /// [`TableError::MissingColumn`], [`TableError::AmbiguousColumn`] or [`TableError::NotScalar`].
    pub fn find(&self, name: &str) -> Result<ColumnRef, TableError> {
        if let Some(found) = self.find_optional(name)? {
            return Ok(found);
        }
        Err(TableError::MissingColumn {
            path: self.path.clone(),
            asked: name.into(),
            closest: closest(name, self.columns()),
            present: self.columns().to_vec(),
        })
    }

    /// As [`Table::find`], with `None` for an absent column.
    ///
    /// # Errors
    /// [`TableError::AmbiguousColumn`] or [`TableError::NotScalar`].
    pub fn find_optional(&self, name: &str) -> Result<Option<ColumnRef>, TableError> {
        if let Some(index) = self.position(name)? {
            return self
                .checked(ColumnRef { index, element: 0 }, false)
                .map(Some);
        }
        let Some((base, element)) = split_element(name) else {
            return Ok(None);
        };
        match self.position(base)? {
            Some(index) => self.checked(ColumnRef { index, element }, true).map(Some),
            None => Ok(None),
        }
    }

    fn position(&self, name: &str) -> Result<Option<usize>, TableError> {
        let names = self.columns();
        if let Some(exact) = names.iter().position(|n| n == name) {
            return Ok(Some(exact));
        }
        let alike: Vec<usize> = (0..names.len())
            .filter(|&i| names[i].eq_ignore_ascii_case(name))
            .collect();
        match alike[..] {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            _ => Err(TableError::AmbiguousColumn {
                path: self.path.clone(),
                asked: name.into(),
                matches: alike.iter().map(|&i| names[i].clone()).collect(),
            }),
        }
    }

    fn checked(&self, column: ColumnRef, indexed: bool) -> Result<ColumnRef, TableError> {
        let problem = match &self.source {
            Source::Fits(t) => t.check(column, indexed),
            Source::Csv(_) if indexed => {
                Some(("one value per row".into(), "drop the index".into()))
            }
            Source::Csv(_) => None,
        };
        match problem {
            None => Ok(column),
            Some((found, advice)) => Err(TableError::NotScalar {
                path: self.path.clone(),
                column: self.columns()[column.index].clone(),
                found,
                advice,
            }),
        }
    }

    /// As [`Table::next_chunk`], for tables of which every row counts.
    ///
    /// # Errors
    /// Also [`TableError::Csv`] for a row whose number of fields is wrong.
    pub fn next_whole(
        &mut self,
        columns: &[ColumnRef],
        max_rows: usize,
    ) -> Result<Option<Chunk>, TableError> {
        let chunk = self.next_chunk(columns, max_rows)?;
        match chunk.as_ref().and_then(|c| Some((c, c.malformed.first()?))) {
            None => Ok(chunk),
            Some((chunk, (row, found))) => Err(TableError::Csv {
                path: self.path.clone(),
                line: chunk.lines.get(*row).copied().unwrap_or(0),
                reason: found.clone(),
            }),
        }
    }

    /// The next at most `max_rows` rows of the given columns; `None` after the last.
    ///
    /// # Errors
    /// [`TableError::Io`], [`TableError::Fits`] or [`TableError::Csv`].
    pub fn next_chunk(
        &mut self,
        columns: &[ColumnRef],
        max_rows: usize,
    ) -> Result<Option<Chunk>, TableError> {
        let mut chunk = Chunk {
            columns: columns.len(),
            ..Chunk::default()
        };
        match &mut self.source {
            Source::Fits(t) => t.fill(columns, max_rows, &mut chunk)?,
            Source::Csv(t) => t.fill(&self.path, columns, max_rows, &mut chunk)?,
        }
        Ok((chunk.rows > 0).then_some(chunk))
    }
}

/// `name[3]` as `("name", 3)`.
fn split_element(name: &str) -> Option<(&str, usize)> {
    let (base, index) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((base, index.trim().parse().ok()?))
}

/// The candidate most similar to `name`, if at most half of the letters must change or one contains
/// the other.
pub(crate) fn closest(name: &str, candidates: &[String]) -> Option<String> {
    let wanted = name.to_lowercase();
    let (best, distance) = candidates
        .iter()
        .map(|c| (c, edit_distance(&wanted, &c.to_lowercase())))
        .min_by_key(|(_, d)| *d)?;
    let lower = best.to_lowercase();
    let near = distance * 2 <= wanted.chars().count().max(lower.chars().count());
    if near {
        return Some(best.clone());
    }
    candidates
        .iter()
        .find(|c| {
            let c = c.to_lowercase();
            c.len() > 2 && wanted.len() > 2 && (c.contains(&wanted) || wanted.contains(&c))
        })
        .cloned()
}

/// Levenshtein distance: insertions, deletions and replacements that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
