//! Stamp files: one image cube, one index table, in FITS; and readers of stamps for scoring.
//!
//! Layout of a written file: an empty primary HDU with the provenance, the image HDU `STAMPS`
//! (float32, `[N, n, n]`, or `[N, bands, n, n]` for several bands) and the binary table `INDEX` with
//! one row per stamp in the same order. Every HDU carries DATASUM and CHECKSUM.

mod npy;
mod provenance;
mod read;
mod write;

pub use provenance::{CardValue, Provenance};
pub use read::StampFile;
pub use write::{Cell, CellKind, Column, StampLayout, StampWriter};

use std::path::PathBuf;

use crate::atomic::AtomicError;
use crate::fits::FitsError;
use crate::table::TableError;

/// EXTNAME of the cube.
pub const STAMPS_HDU: &str = "STAMPS";
/// EXTNAME of the table.
pub const INDEX_HDU: &str = "INDEX";

/// What can go wrong with stamp files.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
    /// Damaged FITS structure.
    #[error(transparent)]
    Fits(#[from] FitsError),
    /// Damaged index table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The file cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// Cause given by the operating system.
        source: std::io::Error,
    },
    /// The file holds no stamps of a kind that can be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// File concerned.
        path: PathBuf,
        /// What was found, what was expected, what to do.
        reason: String,
    },
    /// Nothing was written before the file was finished.
    #[error("{}: not written: there is no stamp to write", path.display())]
    Empty {
        /// Target of the write.
        path: PathBuf,
    },
    /// The layout or the provenance cannot be expressed in FITS.
    #[error("{}: not written: {reason}", path.display())]
    Layout {
        /// Target of the write.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
