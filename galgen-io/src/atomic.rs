//! Files that appear whole or not at all: written beside the target, synced, then renamed.
//!
//! `rename` within one directory is atomic on POSIX systems, so a reader sees the former file or the
//! new one. Dropping an unfinished [`AtomicFile`] removes its temporary; a program that is
//! interrupted calls [`abort_all`] from its signal handler, because drops do not run there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot write: {reason}", path.display())]
pub struct AtomicError {
    /// Target of the write, not the temporary.
    pub path: PathBuf,
    /// What went wrong and what to do.
    pub reason: String,
}

/// Temporaries that exist now, for [`abort_all`].
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn live() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    // The list is valid at every moment, so a panic elsewhere does not spoil it.
    LIVE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes every temporary of unfinished writers in this process; their targets stay as they were.
/// For a signal handler that ends the program (one that runs in an ordinary thread: it locks).
pub fn abort_all() {
    for path in live().drain(..) {
        let _ = fs::remove_file(path);
    }
}

/// A buffered writer whose bytes replace the target only on [`AtomicFile::commit`].
#[derive(Debug)]
pub struct AtomicFile {
    /// `None` once committed.
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Opens `<path>.tmp-<pid>` beside `path` (a number is added if that is taken). A symbolic link
    /// is followed: the file it names is replaced, and the link stays.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be written, or the target is a directory, a device
    /// or write-protected.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, AtomicError> {
        let path = path.as_ref();
        let target = checked_target(path)?;
        let name = target
            .file_name()
            .expect("checked")
            .to_string_lossy()
            .into_owned();
        for attempt in 0..1000 {
            let suffix = if attempt == 0 {
                String::new()
            } else {
                format!("-{attempt}")
            };
            let temporary =
                target.with_file_name(format!("{name}.tmp-{}{suffix}", std::process::id()));
            // The list stays locked until the file is on it, so that `abort_all` misses none.
            let mut live = live();
            match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&temporary)
            {
                Ok(file) => {
                    live.push(temporary.clone());
                    if let Ok(old) = fs::metadata(&target) {
                        let _ = file.set_permissions(old.permissions());
                    }
                    let file = Some(BufWriter::with_capacity(1 << 18, file));
                    return Ok(Self {
                        file,
                        temporary,
                        target,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failure(path, &e)),
            }
        }
        Err(AtomicError {
            path: path.into(),
            reason: format!("files {name}.tmp-* are in the way: remove them"),
        })
    }

    /// The file that [`AtomicFile::commit`] replaces.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The temporary being written.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Appends bytes at the current position.
    ///
    /// # Errors
    /// With the target's name and the cause: a full disk, a file too large.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), AtomicError> {
        self.write_all(bytes).map_err(|e| failure(&self.target, &e))
    }

    /// Writes `bytes` at `offset` and returns to the end: for headers known only afterwards.
    ///
    /// # Errors
    /// As [`AtomicFile::put`].
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<(), AtomicError> {
        let run = |file: &mut Self| -> io::Result<()> {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)?;
            file.seek(SeekFrom::End(0)).map(|_| ())
        };
        run(self).map_err(|e| failure(&self.target, &e))
    }

    /// Flushes, syncs to disk and renames over the target; then syncs the directory.
    ///
    /// # Errors
    /// As [`AtomicFile::put`]. The former target stays, the temporary goes.
    pub fn commit(mut self) -> Result<(), AtomicError> {
        let writer = self.file.take().expect("present until commit");
        self.publish(writer).map_err(|e| failure(&self.target, &e))
    }

    fn publish(&self, writer: BufWriter<File>) -> io::Result<()> {
        writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        live().retain(|p| *p != self.temporary);
        // Some file systems refuse to sync a directory; the rename stands all the same.
        if let Ok(dir) = File::open(directory(&self.target)) {
            let _ = dir.sync_all();
        }
        Ok(())
    }

    /// Throws away what was written; the target stays as it was. The same as dropping.
    pub fn abort(self) {}

    fn writer(&mut self) -> &mut BufWriter<File> {
        self.file.as_mut().expect("present until commit")
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

impl io::Read for AtomicFile {
    /// Reads back what was written; seek first (seeking flushes).
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.writer().get_mut().read(out)
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer().seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
            // Unwritten bytes are of no use: do not flush them.
            drop(writer.into_parts());
        }
        let mut live = live();
        if let Some(at) = live.iter().position(|p| *p == self.temporary) {
            live.swap_remove(at);
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Replaces the file at `path` by `bytes`, whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::put`]; the former file stays.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), AtomicError> {
    let mut file = AtomicFile::create(path)?;
    file.put(bytes)?;
    file.commit()
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// The real target, or why it cannot be one. Renaming over a device would destroy it.
fn checked_target(path: &Path) -> Result<PathBuf, AtomicError> {
    let refuse = |reason: &str| AtomicError {
        path: path.into(),
        reason: reason.into(),
    };
    let target = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(|e| failure(path, &e))?,
        _ => path.to_path_buf(),
    };
    if target.file_name().is_none() {
        return Err(refuse("the path has no file name"));
    }
    if let Ok(meta) = fs::metadata(&target) {
        if meta.is_dir() {
            return Err(refuse("it is a directory: name a file in it"));
        }
        if !meta.is_file() {
            return Err(refuse("it is not a regular file: write to a file"));
        }
        if meta.permissions().readonly() {
            return Err(refuse(
                "the file is write-protected: remove it or choose another name",
            ));
        }
    }
    if !directory(&target).is_dir() {
        return Err(AtomicError {
            path: path.into(),
            reason: format!(
                "no directory {}: create it first",
                directory(&target).display()
            ),
        });
    }
    Ok(target)
}

fn failure(path: &Path, error: &io::Error) -> AtomicError {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room or write elsewhere (a former file was kept)"
        }
        io::ErrorKind::PermissionDenied => "; choose a directory that you may write to",
        _ => "",
    };
    AtomicError {
        path: path.into(),
        reason: format!("{error}{advice}"),
    }
}

#[cfg(test)]
mod tests;
