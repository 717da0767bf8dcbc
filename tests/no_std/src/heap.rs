//! A heap in memory that is given to it: first fit, neighbours joined when they are free again. It counts what is
//! used, so that a program can say what it needs.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

/// Every block begins at a multiple of this and is a multiple of it long, so that a free one has room for [`Free`].
const UNIT: usize = 16;

/// The head of a free block.
#[repr(C, align(16))]
struct Free {
    len: usize,
    next: *mut Free,
}

struct State {
    /// Free blocks in the order of their addresses, no two touching.
    first: *mut Free,
    used: usize,
    peak: usize,
}

/// The heap. Empty until [`Heap::give`].
pub struct Heap {
    locked: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: the state is touched under the lock only.
unsafe impl Sync for Heap {}

impl Heap {
    /// A heap without memory.
    pub const fn new() -> Heap {
        Heap {
            locked: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                first: null_mut(),
                used: 0,
                peak: 0,
            }),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: the lock is ours.
        let result = f(unsafe { &mut *self.state.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    /// Adds memory.
    ///
    /// # Safety
    /// `len` bytes from `start` on, a multiple of 16, belong to nobody else.
    pub unsafe fn give(&self, start: *mut u8, len: usize) {
        // SAFETY: promised by the caller.
        self.with(|state| unsafe { state.insert(start, len / UNIT * UNIT) });
    }

    /// Bytes in use now, as they were asked for, and most of them since [`Heap::forget_peak`].
    #[allow(dead_code)] // Not every program asks.
    pub fn usage(&self) -> (usize, usize) {
        self.with(|state| (state.used, state.peak))
    }

    /// Takes what is used now as the most that was used.
    #[allow(dead_code)] // Not every program asks.
    pub fn forget_peak(&self) {
        self.with(|state| state.peak = state.used);
    }
}

impl State {
    /// # Safety
    /// The block belongs to the heap and is in no list.
    unsafe fn insert(&mut self, start: *mut u8, len: usize) {
        let block = start.cast::<Free>();
        let (mut before, mut after) = (null_mut::<Free>(), self.first);
        // SAFETY: all pointers of the list are to free blocks, whose heads are valid.
        unsafe {
            while !after.is_null() && after < block {
                (before, after) = (after, (*after).next);
            }
            block.write(Free { len, next: after });
            if !after.is_null() && start.add(len) == after.cast() {
                (*block).len += (*after).len;
                (*block).next = (*after).next;
            }
            if before.is_null() {
                self.first = block;
            } else if before.cast::<u8>().add((*before).len) == start {
                (*before).len += (*block).len;
                (*before).next = (*block).next;
            } else {
                (*before).next = block;
            }
        }
    }

    /// Takes `len` bytes at a multiple of `align`, or null.
    fn take(&mut self, len: usize, align: usize) -> *mut u8 {
        let (mut before, mut block) = (null_mut::<Free>(), self.first);
        while !block.is_null() {
            // SAFETY: a free block; what is inserted again are parts of it that are not given away.
            unsafe {
                let Free { len: room, next } = block.read();
                let start = block.cast::<u8>();
                let skip = start.align_offset(align);
                if skip.saturating_add(len) <= room {
                    if before.is_null() {
                        self.first = next;
                    } else {
                        (*before).next = next;
                    }
                    if skip > 0 {
                        self.insert(start, skip);
                    }
                    if room - skip > len {
                        self.insert(start.add(skip + len), room - skip - len);
                    }
                    return start.add(skip);
                }
                (before, block) = (block, next);
            }
        }
        null_mut()
    }
}

/// The length of the block for a layout, `None` beyond all memory.
fn length(layout: Layout) -> Option<usize> {
    layout.size().max(1).checked_next_multiple_of(UNIT)
}

// SAFETY: blocks are long enough, aligned, and given to nobody else until they are given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(len) = length(layout) else {
            return null_mut();
        };
        self.with(|state| {
            let block = state.take(len, layout.align().max(UNIT));
            if !block.is_null() {
                state.used += layout.size();
                state.peak = state.peak.max(state.used);
            }
            block
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let len = length(layout).unwrap_or(0);
        self.with(|state| {
            state.used -= layout.size();
            // SAFETY: `alloc` gave the block, of this length.
            unsafe { state.insert(block, len) }
        });
    }
}
