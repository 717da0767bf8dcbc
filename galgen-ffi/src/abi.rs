//! Versions, and whether a header and a library belong together.

use crate::status::{Failure, galgen_error, galgen_status, guard};
use std::ffi::c_char;

include!("abi_version.rs");

/// Grows when functions or fields of structs are added without breaking programs that are already
/// built; goes back to 0 with a new GALGEN_ABI_VERSION.
pub const GALGEN_ABI_REVISION: u32 = 0;

/// GALGEN_ABI_VERSION of the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_abi_version() -> u32 {
    GALGEN_ABI_VERSION
}

/// GALGEN_ABI_REVISION of the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_abi_revision() -> u32 {
    GALGEN_ABI_REVISION
}

/// Version of the library, as "0.1.0": a static string that the caller does not free. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Whether a program built with a header of this ABI version and revision can use the library: the
/// version must be the same, the revision of the library the same or newer. Call it once, as
/// GALGEN_CHECK_ABI(&error). Any thread; `error` may be NULL.
///
/// Returns GALGEN_STATUS_OK or GALGEN_STATUS_ABI.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_abi_check(
    version: u32,
    revision: u32,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        let known = (0..=GALGEN_ABI_REVISION).contains(&revision);
        if version == GALGEN_ABI_VERSION && known {
            return Ok(());
        }
        Err(Failure::new(
            galgen_status::Abi,
            format!(
                "the program was built with galgen.h of ABI {version}.{revision}, the library has \
                 {GALGEN_ABI_VERSION}.{GALGEN_ABI_REVISION}: build and run with the same galgen"
            ),
        ))
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks of every caller.
    unsafe { guard(error, body) }
}
