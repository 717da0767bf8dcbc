//! Numbers at the start of a cache line: a wide load that straddles two lines takes twice as long.

use alloc::vec::Vec;
use core::ops::Deref;

/// Numbers in a cache line.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers whose first one starts a cache line.
#[derive(Clone, Debug)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros, of which `fill` then makes something else.
    pub fn new(len: usize, fill: impl FnOnce(&mut [f32])) -> Self {
        let mut lines = alloc::vec![Line([0.0; LINE]); len.div_ceil(LINE)];
        // SAFETY: a line is LINE numbers without padding, so the lines hold at least `len`.
        fill(unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) });
        Aligned { lines, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: as in `new`.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

/// The part of `scratch`, which is LINE - 1 numbers longer, that starts at a cache line.
pub(crate) fn from_line(scratch: &mut [f32]) -> &mut [f32] {
    let skipped = scratch.as_ptr().align_offset(LINE * size_of::<f32>());
    // A start that cannot be found costs speed only.
    &mut scratch[if skipped < LINE { skipped } else { 0 }..]
}
