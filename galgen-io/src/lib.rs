//! Files of the galgen programs: catalogues in; stamps, pictures and reports out; and the statistics of two samples
//! that reports compare.
//!
//! Every reader compares declared sizes with the file before it allocates, every writer goes through
//! [`atomic`], so that a failure never leaves half a file in place of a good one.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod canvas;
pub mod catalog;
pub mod columns;
pub mod fits;
pub mod idx;
pub mod plot;
pub mod report;
pub mod samples;
pub mod sheet;
pub mod stamps;
pub mod table;

/// A fresh folder for the files of one test; the operating system clears it in its own time.
#[cfg(test)]
fn test_dir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("galgen-io-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("temporary folder");
    dir
}
