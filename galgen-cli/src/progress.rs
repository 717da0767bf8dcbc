//! A progress bar on standard error, only if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const STYLE: &str = "{bar:40} {pos}/{len} {per_sec}, {eta} left";

/// Progress over a number of objects that may be unknown at first.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar; none at all if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(ProgressStyle::with_template(STYLE).expect("a valid template"));
        Self { bar }
    }

    /// So many objects are done, which is this share of all.
    pub fn set(&self, done: u64, share: f64) {
        let all = if share > 0.0 {
            (done as f64 / share).round() as u64
        } else {
            done
        };
        self.bar.set_length(all.max(done));
        self.bar.set_position(done);
    }

    /// Writes a line on standard error without disturbing the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
