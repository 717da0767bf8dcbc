//! Arm Cortex-M with a floating-point unit.

use core::arch::{asm, global_asm};

pub const WRITE0: usize = 0x04;
const EXIT_EXTENDED: usize = 0x20;
/// ADP_Stopped_ApplicationExit
const STOPPED: usize = 0x20026;

// The table of vectors: the stack, the reset, and the end for every fault.
global_asm!(
    ".section .vectors, \"a\"",
    ".word stack_end",
    ".word reset",
    ".rept 14",
    ".word fault",
    ".endr",
    ".section .text",
    ".thumb_func",
    ".global reset",
    "reset:",
    // Coprocessors 10 and 11, the floating-point unit (CPACR).
    "ldr r0, =0xe000ed88",
    "ldr r1, [r0]",
    "orr r1, r1, #0xf00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "ldr r0, =bss_start",
    "ldr r1, =bss_end",
    "movs r2, #0",
    "1: cmp r0, r1",
    "bhs 2f",
    "str r2, [r0], #4",
    "b 1b",
    "2: bl begin",
    ".thumb_func",
    "fault:",
    "b fault_in_rust",
);

#[unsafe(no_mangle)]
extern "C" fn fault_in_rust() -> ! {
    end(false)
}

/// Asks the debugger.
pub fn call(operation: usize, argument: usize) {
    // SAFETY: a breakpoint that the debugger takes for a call; it reads memory that the argument points to.
    unsafe {
        asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument, options(nostack));
    }
}

/// Ends the emulator.
pub fn end(well: bool) -> ! {
    let block = [STOPPED, usize::from(!well)];
    loop {
        call(EXIT_EXTENDED, block.as_ptr().addr());
    }
}
