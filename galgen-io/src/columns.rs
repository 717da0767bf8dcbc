//! Rows of numbers: columns of a table (CSV, FITS) by name, or of an `.npy` array of shape `[N, columns]` by position.

use crate::fits::file_of;
use crate::stamps::{StampError, StampFile};
use crate::table::{ColumnRef, Table, TableError};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Rows of a table read at a time.
const CHUNK: usize = 4096;

/// Start of an `.npy` file.
const NUMPY: &[u8] = b"\x93NUMPY";

/// Rows of numbers in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Names, in the order of the numbers of a row.
    pub names: Vec<String>,
    /// Row after row. What is no number in the file is NaN.
    pub values: Vec<f32>,
}

/// What can go wrong with rows of numbers.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// The table cannot be read, or has no such column.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The array cannot be read.
    #[error(transparent)]
    Array(#[from] StampError),
    /// The file cannot be opened.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// Cause given by the operating system.
        source: std::io::Error,
    },
    /// The array has another number of columns.
    #[error("{}: rows of {found} numbers, expected {expected}: one for each of the columns", path.display())]
    Width {
        /// File concerned.
        path: PathBuf,
        /// Numbers of a row.
        found: usize,
        /// Numbers asked for.
        expected: usize,
    },
    /// There are no rows.
    #[error("{}: no rows", path.display())]
    Empty {
        /// File concerned.
        path: PathBuf,
    },
}

impl Columns {
    /// Reads the columns `names`.
    ///
    /// # Errors
    /// [`ColumnsError`] when the file cannot be read, is empty or lacks a column.
    pub fn read(path: impl AsRef<Path>, names: &[String]) -> Result<Self, ColumnsError> {
        let path = path.as_ref();
        let magic = magic(path).map_err(|source| ColumnsError::Io {
            path: path.into(),
            source,
        })?;
        let values = if magic == NUMPY {
            array(path, names.len())?
        } else {
            table(path, names)?
        };
        if values.is_empty() {
            return Err(ColumnsError::Empty { path: path.into() });
        }
        Ok(Self {
            names: names.to_vec(),
            values,
        })
    }

    /// Whether a file is an `.npy` array, which has no other columns than those of its numbers.
    pub fn is_array(path: &Path) -> bool {
        magic(path).is_ok_and(|magic| magic == NUMPY)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.names.len()
    }
}

/// First bytes of a file.
fn magic(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut magic = Vec::new();
    File::open(file_of(path))?
        .take(NUMPY.len() as u64)
        .read_to_end(&mut magic)?;
    Ok(magic)
}

/// An array of two axes is one stamp to [`StampFile`].
fn array(path: &Path, expected: usize) -> Result<Vec<f32>, ColumnsError> {
    let mut file = StampFile::open(path)?;
    let (_, _, found) = file.shape();
    if found != expected || file.count() != 1 {
        return Err(ColumnsError::Width {
            path: path.into(),
            found: if file.count() == 1 {
                found
            } else {
                file.stamp_len()
            },
            expected,
        });
    }
    let mut values = vec![0.0; file.stamp_len()];
    file.read(0, &mut values)?;
    Ok(values)
}

fn table(path: &Path, names: &[String]) -> Result<Vec<f32>, ColumnsError> {
    let mut table = Table::open(path)?;
    let found: Result<Vec<ColumnRef>, _> = names.iter().map(|n| table.find(n)).collect();
    let found = found?;
    let mut values = Vec::new();
    while let Some(chunk) = table.next_whole(&found, CHUNK)? {
        let numbers = chunk
            .values
            .iter()
            .map(|v| v.f64().unwrap_or(f64::NAN) as f32);
        values.extend(numbers);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir;

    #[test]
    fn tables_and_arrays_give_the_same_rows() {
        let dir = test_dir("columns");
        let names = ["b", "a"].map(String::from);
        let csv = dir.join("t.csv");
        std::fs::write(&csv, "a,x,b\n1,9,2\n3,9,4.5\n").unwrap();
        let rows = Columns::read(&csv, &names).unwrap();
        assert_eq!(rows.values, [2.0, 1.0, 4.5, 3.0]);
        assert_eq!(rows.rows(), 2);

        let npy = dir.join("t.npy");
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(rows.values.iter().flat_map(|v| v.to_le_bytes()));
        std::fs::write(&npy, bytes).unwrap();
        assert_eq!(Columns::read(&npy, &names).unwrap(), rows);
        let three = ["a", "b", "c"].map(String::from);
        let error = Columns::read(&npy, &three).unwrap_err().to_string();
        assert!(error.contains("rows of 2 numbers, expected 3"), "{error}");
        let error = Columns::read(&csv, &three).unwrap_err().to_string();
        assert!(error.contains('c'), "{error}");
    }
}
