//! Objects that failed: the first ones are listed on standard error, all of them counted.

use crate::progress::Progress;
use std::fmt::Display;

/// How many are listed in words.
const LISTED: u64 = 20;

/// The failures so far.
#[derive(Default)]
pub struct Problems {
    count: u64,
}

impl Problems {
    /// Counts a failure, and lists it if it is one of the first.
    pub fn add(&mut self, problem: &impl Display, progress: &Progress) {
        self.count += 1;
        if self.count <= LISTED {
            progress.say(&format!("galgen: {problem}"));
        } else if self.count == LISTED + 1 {
            progress
                .say("galgen: ... more rows failed, the column `problem` of the output lists all");
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}
