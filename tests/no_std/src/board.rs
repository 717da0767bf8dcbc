//! A machine without an operating system: start, memory, a console and an end. The console is the debugger's
//! (Arm's "Semihosting for AArch32 and AArch64"), which qemu plays.

#[path = "heap.rs"]
mod heap;

#[cfg_attr(target_arch = "arm", path = "board/cortex_m.rs")]
#[cfg_attr(target_arch = "aarch64", path = "board/aarch64.rs")]
mod machine;

use core::fmt::{self, Write};
use core::ptr::addr_of_mut;
use heap::Heap;

#[global_allocator]
pub static HEAP: Heap = Heap::new();

// Where the linker script puts things.
unsafe extern "C" {
    static mut heap_start: u8;
    static mut heap_end: u8;
    static mut stack_start: u8;
    static mut stack_end: u8;
}

/// What untouched stack looks like.
const PAINT: u8 = 0xa5;

/// Called by the start of the machine, once, with a stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin() -> ! {
    // SAFETY: the linker script keeps these ranges free; the stack below this frame is not in use, with
    // room left for the call that paints it.
    unsafe {
        let start = addr_of_mut!(heap_start);
        HEAP.give(start, addr_of_mut!(heap_end).addr() - start.addr());
        let bottom = addr_of_mut!(stack_start);
        let here = (&raw const bottom).addr();
        core::ptr::write_bytes(bottom, PAINT, here - 1024 - bottom.addr());
    }
    crate::main();
    let (used, _) = HEAP.usage();
    assert_eq!(used, 0, "bytes of the heap that were not given back");
    machine::end(true)
}

/// Bytes of stack used so far at most.
pub fn stack_peak() -> usize {
    let (start, end) = (addr_of_mut!(stack_start), addr_of_mut!(stack_end));
    let len = end.addr() - start.addr();
    // SAFETY: the stack's own range.
    let untouched = |i: &usize| unsafe { start.add(*i).read_volatile() == PAINT };
    len - (0..len).take_while(untouched).count()
}

/// The debugger's console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The console takes text that ends with a zero.
        for piece in text.as_bytes().chunks(63) {
            let mut buffer = [0u8; 64];
            buffer[..piece.len()].copy_from_slice(piece);
            machine::call(machine::WRITE0, buffer.as_ptr().addr());
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let _ = writeln!(Console, "{info}");
    machine::end(false)
}
