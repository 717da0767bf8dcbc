//! FITS files: headers, images and cubes (FITS standard 4.0, Pence et al. 2010 and later).
//!
//! A declared size is always compared with the length of the file before anything is allocated, so
//! a small file cannot ask for a large buffer. Cards are parsed and formatted by `fitsio-pure`; the
//! sizes and the data are handled here, because the errors should name file, HDU and keyword.

mod hdu;
mod header;
mod name;
mod read;
pub(crate) mod write;

pub use hdu::{Hdu, HduKind, HduSelect};
pub use header::Header;
pub use name::{file_of, split_name};
pub use read::{FitsFile, Image, read_image, read_named_image};
pub use write::{hdu, unsigned_zero};

use std::path::PathBuf;

/// Length of a FITS block in bytes: headers and data are padded to multiples of it.
pub(crate) const BLOCK: u64 = 2880;

/// What can be wrong with a FITS file.
#[derive(Debug, thiserror::Error)]
pub enum FitsError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// Cause given by the operating system.
        source: std::io::Error,
    },
    /// The file does not begin as a FITS file does.
    #[error("{}: not a FITS file: expected `SIMPLE  =` at the start, found {found}; {advice}", path.display())]
    NotFits {
        /// File concerned.
        path: PathBuf,
        /// The first bytes, made printable, or what they are known to be.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A header declares more data than the file holds.
    #[error(
        "{}: HDU {hdu} declares {declared} bytes of data but only {available} are left in the file; \
         it is truncated or its header is wrong: fetch or write it again",
        path.display()
    )]
    Truncated {
        /// File concerned.
        path: PathBuf,
        /// HDU, as index and name.
        hdu: String,
        /// Bytes that the header asks for.
        declared: u64,
        /// Bytes after the header.
        available: u64,
    },
    /// A header has no END card, lacks a mandatory keyword, or holds an impossible value.
    #[error("{}: HDU {hdu}: bad header: {reason}", path.display())]
    Header {
        /// File concerned.
        path: PathBuf,
        /// HDU, as index and name.
        hdu: String,
        /// Keyword, what was found and what was expected.
        reason: String,
    },
    /// The HDU asked for is not there.
    #[error("{}: no HDU {asked}; the file has: {present}", path.display())]
    NoHdu {
        /// File concerned.
        path: PathBuf,
        /// Index, name or kind asked for.
        asked: String,
        /// All HDUs with index, name and kind.
        present: String,
    },
    /// The HDU is there but is not what is needed.
    #[error("{}: HDU {hdu}: expected {expected}, found {found}", path.display())]
    WrongKind {
        /// File concerned.
        path: PathBuf,
        /// HDU, as index and name.
        hdu: String,
        /// What the caller needs.
        expected: &'static str,
        /// What the HDU holds.
        found: String,
    },
}

#[cfg(test)]
pub(crate) mod tests;
