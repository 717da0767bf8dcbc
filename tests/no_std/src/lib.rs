//! Draws a stamp without the standard library: memory is what the caller gives, panics abort.
#![no_std]

mod heap;

use galgen_core::object::Object;
use galgen_infer::{Model, Session};
use heap::Heap;

#[global_allocator]
static MEMORY: Heap = Heap::new();

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

/// Gives the library all the memory that it will ever have.
///
/// # Safety
/// `length` bytes from `memory` on, a multiple of 16, are nobody else's from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_no_std_memory(memory: *mut u8, length: usize) {
    // SAFETY: promised by the caller.
    unsafe { MEMORY.give(memory, length) }
}

/// Bytes of it in use, and most of them so far.
///
/// # Safety
/// Both can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_no_std_usage(used: *mut usize, peak: *mut usize) {
    let found = MEMORY.usage();
    // SAFETY: promised by the caller.
    unsafe {
        *used = found.0;
        *peak = found.1;
    }
}

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
