//! A catalogue of the galaxies to draw: which column plays which role, and rows checked one by one.
//!
//! A bad row never stops the run: it comes back as a [`RowProblem`] and the rest goes on. What is
//! wrong with the catalogue as a whole (a column is missing, there are no rows) is a
//! [`CatalogError`].

mod roles;
mod row;

pub use roles::{CatalogSpec, Condition, Formula, SizeDefinition};
pub use row::{CatalogRow, RowProblem};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::table::{Chunk, Table, TableError, separator};
use roles::Roles;

/// What can be wrong with a catalogue as a whole.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file is no readable table, or a column named by the user is not there.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No column plays a role that is needed.
    #[error(
        "{}: no column for {role}: looked for {}; the columns are: {}{}{}. \
         Name the column with `{role}=COLUMN`, or give all rows one value with `{role}=NUMBER`",
        path.display(), tried.join(", "), present.join(", "),
        closest.as_ref().map_or(String::new(), |c| format!(" (`{c}` looks close)")),
        separator(present)
    )]
    MissingRole {
        /// File concerned.
        path: PathBuf,
        /// Role, as it is written in an override.
        role: String,
        /// Names looked for.
        tried: Vec<String>,
        /// Columns of the file.
        present: Vec<String>,
        /// A column with a similar name.
        closest: Option<String>,
    },
    /// An override names a role that does not exist.
    #[error("no role `{role}` in `{role}={column}`{}; the roles are: {}",
        closest.as_ref().map_or(String::new(), |c| format!(" (did you mean `{c}`?)")), roles.join(", "))]
    UnknownRole {
        /// Role asked for.
        role: String,
        /// Column given to it.
        column: String,
        /// A role with a similar name.
        closest: Option<String>,
        /// All roles.
        roles: Vec<String>,
    },
    /// A class for all rows that is none of the model's.
    #[error("{condition} = {found}: expected a column, or one of the classes {}", classes.join(", "))]
    UnknownClass {
        /// Name of the condition.
        condition: String,
        /// What was given.
        found: String,
        /// All classes.
        classes: Vec<String>,
    },
    /// Magnitudes without a zero point have no flux.
    #[error(
        "{}: {column} holds magnitudes: give the AB zero point \
         (flux = 10^(-0.4 (mag - zero point))), or name a flux column with `flux=COLUMN`",
        path.display()
    )]
    NoZeroPoint {
        /// File concerned.
        path: PathBuf,
        /// Where the magnitudes come from.
        column: String,
    },
    /// The file declares another unit than the one in which the role is read.
    #[error(
        "{}: column `{column}` for {role} is in `{unit}`, expected {expected}: convert the column \
         (and its TUNIT), or name another with `{role}=COLUMN`",
        path.display()
    )]
    Unit {
        /// File concerned.
        path: PathBuf,
        /// Role of the column.
        role: String,
        /// Column.
        column: String,
        /// Its TUNIT.
        unit: String,
        /// Unit in which the role is read.
        expected: &'static str,
    },
    /// A table without rows.
    #[error("{}: the catalogue has no rows", path.display())]
    Empty {
        /// File concerned.
        path: PathBuf,
    },
}

/// Good rows and problems of consecutive rows, both in file order.
#[derive(Debug, Clone, Default)]
pub struct CatalogChunk {
    /// Rows that can be drawn.
    pub rows: Vec<CatalogRow>,
    /// One entry for each row that cannot: the first thing found wrong with it.
    pub problems: Vec<RowProblem>,
}

/// An open catalogue.
///
/// Memory: one chunk, and 9 to 18 bytes per row for the set of ids seen, if the catalogue has an id
/// column (10^6 rows: about 19 MB). Without one the id of a row is its number, counted from 0.
#[derive(Debug)]
pub struct Catalog {
    table: Table,
    roles: Roles,
    seen: HashSet<u64>,
    rows_read: u64,
}

impl Catalog {
    /// Opens a FITS binary table or CSV file and settles which column plays which role.
    ///
    /// # Errors
    /// [`CatalogError`] when the file is no table, a needed column is absent, an override names
    /// an unknown role or column, or magnitudes lack a zero point.
    pub fn open(path: impl AsRef<Path>, spec: &CatalogSpec) -> Result<Self, CatalogError> {
        let table = Table::open(path)?;
        let roles = Roles::resolve(&table, spec)?;
        Ok(Self {
            table,
            roles,
            seen: HashSet::new(),
            rows_read: 0,
        })
    }

    /// What the user should know about how the catalogue is read: one sentence each, for a log.
    pub fn notices(&self) -> &[String] {
        &self.roles.notices
    }

    /// How the sizes are to be understood.
    pub fn size_definition(&self) -> SizeDefinition {
        self.roles.definition
    }

    /// Number of rows where the file declares it (FITS).
    pub fn rows(&self) -> Option<u64> {
        self.table.rows()
    }

    /// Share of the file read so far, 0 to 1.
    pub fn progress(&self) -> f64 {
        self.table.progress()
    }

    /// The next at most `max_rows` rows, good and bad; `None` after the last.
    ///
    /// # Errors
    /// [`CatalogError::Empty`] if the table ends before its first row, [`CatalogError::Table`] when
    /// the file cannot be read on.
    pub fn next_chunk(&mut self, max_rows: usize) -> Result<Option<CatalogChunk>, CatalogError> {
        let Some(chunk) = self.table.next_chunk(&self.roles.columns, max_rows)? else {
            if self.rows_read == 0 {
                return Err(CatalogError::Empty {
                    path: self.table.path().into(),
                });
            }
            return Ok(None);
        };
        self.rows_read += chunk.rows as u64;
        let mut out = CatalogChunk::default();
        for index in 0..chunk.rows {
            match self.read_row(&chunk, index) {
                Ok(row) => out.rows.push(row),
                Err(problem) => out.problems.push(problem),
            }
        }
        Ok(Some(out))
    }

    fn read_row(&mut self, chunk: &Chunk, index: usize) -> Result<CatalogRow, RowProblem> {
        let number = chunk.first_row + index as u64;
        let line = chunk.lines.get(index).copied();
        let row = row::read(&self.roles, chunk, index).map_err(|p| p.at(number, line))?;
        if self.roles.id.is_some() && !self.seen.insert(row.id) {
            let problem = RowProblem {
                id: Some(row.id),
                column: self.roles.id_column(),
                value: row.id.to_string(),
                reason: "this id was used by an earlier row: ids must differ".into(),
                ..RowProblem::default()
            };
            return Err(problem.at(number, line));
        }
        Ok(CatalogRow { row: number, ..row })
    }
}

#[cfg(test)]
mod tests;
