//! What a terminal shows while an evaluation runs.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error, only if that is a terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar over so many steps; none at all if `quiet`.
    pub(super) fn new(quiet: bool, what: &'static str, length: usize) -> Self {
        if quiet {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(length as u64).with_message(what);
        let style = ProgressStyle::with_template("{msg:26} {bar:40} {pos}/{len}, {eta} left");
        bar.set_style(style.expect("a valid template"));
        Self(bar)
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
