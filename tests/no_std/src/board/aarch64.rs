//! 64-bit Arm in exception level 1, as qemu starts its board `virt`.

use core::arch::{asm, global_asm};

pub const WRITE0: usize = 0x04;
const EXIT_EXTENDED: usize = 0x20;
/// ADP_Stopped_ApplicationExit
const STOPPED: usize = 0x20026;

global_asm!(
    ".section .vectors, \"ax\"",
    ".global reset",
    "reset:",
    "adrp x0, stack_end",
    "add x0, x0, :lo12:stack_end",
    "mov sp, x0",
    // Floating point and vectors (CPACR_EL1.FPEN).
    "mov x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "adrp x0, faults",
    "add x0, x0, :lo12:faults",
    "msr vbar_el1, x0",
    "isb",
    "adrp x0, bss_start",
    "add x0, x0, :lo12:bss_start",
    "adrp x1, bss_end",
    "add x1, x1, :lo12:bss_end",
    "1: cmp x0, x1",
    "b.hs 2f",
    "str xzr, [x0], #8",
    "b 1b",
    "2: bl begin",
    ".balign 2048",
    "faults:",
    ".rept 16",
    "b fault_in_rust",
    ".balign 128",
    ".endr",
);

#[unsafe(no_mangle)]
extern "C" fn fault_in_rust() -> ! {
    end(false)
}

/// Asks the debugger.
pub fn call(operation: usize, argument: usize) {
    // SAFETY: a halt that the debugger takes for a call; it reads memory that the argument points to.
    unsafe {
        asm!("hlt #0xf000", inout("x0") operation => _, in("x1") argument, options(nostack));
    }
}

/// Ends the emulator.
pub fn end(well: bool) -> ! {
    let block = [STOPPED, usize::from(!well)];
    loop {
        call(EXIT_EXTENDED, block.as_ptr().addr());
    }
}
