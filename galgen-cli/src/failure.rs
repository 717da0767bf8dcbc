//! How a command ends: the exit codes of the program.

use galgen_infer::render::RenderError;
use galgen_io::atomic::AtomicError;
use galgen_io::catalog::CatalogError;
use galgen_io::stamps::StampError;
use galgen_io::table::TableError;

/// How a command that ran to its end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All objects were processed: exit code 0.
    Done,
    /// Some objects failed and were listed: exit code 3.
    SomeFailed,
}

impl Outcome {
    /// The outcome after so many failures.
    pub fn after(failures: u64) -> Self {
        if failures == 0 {
            Self::Done
        } else {
            Self::SomeFailed
        }
    }
}

/// Why a command stopped without a result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments contradict each other: exit code 2, as for those that clap refuses.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// Something could not be read, drawn or written: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(e: CatalogError) -> Self {
        Self::Failed(match e {
            CatalogError::NoZeroPoint { path, column } => format!(
                "{}: {column} holds magnitudes: give the AB magnitude of a galaxy of flux 1 with --zero-point, or \
                 name a flux column with `--column flux=COLUMN`",
                path.display()
            ),
            // The library speaks of overrides as `role=column`; here they are given with --column.
            other => other.to_string().replace("with `", "with `--column "),
        })
    }
}

impl From<TableError> for Failure {
    fn from(e: TableError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<StampError> for Failure {
    fn from(e: StampError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<AtomicError> for Failure {
    fn from(e: AtomicError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<RenderError> for Failure {
    fn from(e: RenderError) -> Self {
        Self::Usage(e.to_string())
    }
}
