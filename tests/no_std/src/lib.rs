//! Draws a stamp without the standard library: memory from a fixed arena, panics abort.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use galgen_core::object::Object;
use galgen_infer::{Model, Session};

const ARENA: usize = 64 << 20;

/// Gives memory from the front of an arena and takes none back.
#[repr(align(64))]
struct Bump {
    arena: UnsafeCell<[u8; ARENA]>,
    used: AtomicUsize,
}

// SAFETY: every byte of the arena is given out once, by an atomic counter.
unsafe impl Sync for Bump {}

// SAFETY: the memory is in the arena, aligned, and given to nobody else.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The arena is aligned to 64 bytes, and what anybody asks for divides that or follows it.
        let place = |used: usize| used.next_multiple_of(layout.align());
        let end = |used: usize| {
            place(used)
                .checked_add(layout.size())
                .filter(|&end| end <= ARENA)
        };
        match self.used.fetch_update(Relaxed, Relaxed, end) {
            // SAFETY: inside the arena.
            Ok(used) if layout.align() <= 64 => unsafe {
                self.arena.get().cast::<u8>().add(place(used))
            },
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static MEMORY: Bump = Bump {
    arena: UnsafeCell::new([0; ARENA]),
    used: AtomicUsize::new(0),
};

unsafe extern "C" {
    safe fn abort() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    abort()
}

/// The compiled `core` names it, though nothing unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Draws object `id` with axis ratio 0.5 and concentration 3 natively from the model file in memory.
/// 0: done; 1: no model; 2: `stamp` is not as long as the model's; 3: not drawn.
///
/// # Safety
/// `model` has `length` bytes, `stamp` `stamp_len` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_no_std_draw(
    model: *const u8,
    length: usize,
    seed: u64,
    id: u64,
    stamp: *mut f32,
    stamp_len: usize,
) -> i32 {
    // SAFETY: promised by the caller.
    let (bytes, stamp) = unsafe {
        (
            core::slice::from_raw_parts(model, length),
            core::slice::from_raw_parts_mut(stamp, stamp_len),
        )
    };
    let Ok(model) = Model::from_bytes(bytes) else {
        return 1;
    };
    if model.stamp_len() != stamp_len {
        return 2;
    }
    let object = Object::new(id, &[0.5, 3.0]);
    match Session::new(model).sample_native(seed, &object, stamp) {
        Ok(_) => 0,
        Err(_) => 3,
    }
}
