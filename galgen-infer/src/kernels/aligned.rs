//! Numbers at the start of a cache line: a wide load that straddles two lines takes twice as long.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Numbers in a cache line.
pub(crate) const LINE: usize = 16;

/// Numbers whose first one starts a cache line.
#[derive(Debug)]
pub(crate) struct Aligned {
    numbers: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros. Where the allocator knows that its memory is zero, nothing is written.
    pub fn zeros(len: usize) -> Self {
        let numbers = alloc::vec![0.0; len + LINE - 1];
        let start = first_of_line(&numbers);
        Aligned {
            numbers,
            start,
            len,
        }
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        let mut copy = Self::zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[self.start..self.start + self.len]
    }
}

/// The first of the numbers that starts a cache line.
fn first_of_line(numbers: &[f32]) -> usize {
    let skipped = numbers.as_ptr().align_offset(LINE * size_of::<f32>());
    // A start that cannot be found costs speed only.
    if skipped < LINE { skipped } else { 0 }
}

/// The part of `scratch`, which is LINE - 1 numbers longer, that starts at a cache line.
pub(crate) fn from_line(scratch: &mut [f32]) -> &mut [f32] {
    let start = first_of_line(scratch);
    &mut scratch[start..]
}
