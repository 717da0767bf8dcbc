//! From the caller's pointers to references: NULL, alignment and length are checked, the rest is
//! the caller's promise.

use crate::status::{Failure, galgen_status};
use std::ffi::{CStr, c_char};

fn check<T>(name: &str, pointer: *const T, len: usize) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::new(galgen_status::Null, format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        let expected = align_of::<T>();
        return Err(Failure::argument(format!(
            "{name} is not aligned to {expected} bytes"
        )));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::new(
            galgen_status::Length,
            format!("{name} has {len} elements, more than fit into memory"),
        )),
    }
}

/// # Safety
/// `pointer` is NULL or valid for reading while the result lives.
pub(crate) unsafe fn shared<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Failure> {
    check(name, pointer, 1)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { &*pointer })
}

/// # Safety
/// `pointer` is NULL or valid, and used by nobody else while the result lives.
pub(crate) unsafe fn exclusive<'a, T>(name: &str, pointer: *mut T) -> Result<&'a mut T, Failure> {
    check(name, pointer, 1)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { &mut *pointer })
}

/// `len` elements to read; NULL is allowed if there are none.
///
/// # Safety
/// `pointer` is NULL or valid for reading `len` elements while the result lives.
pub(crate) unsafe fn slice<'a, T>(
    name: &str,
    pointer: *const T,
    len: usize,
) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(name, pointer, len)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// `n * each` elements to read, from a buffer that must have exactly as many.
///
/// # Safety
/// As for `slice`.
pub(crate) unsafe fn input<'a, T>(
    name: &str,
    pointer: *const T,
    len: usize,
    n: usize,
    each: usize,
) -> Result<&'a [T], Failure> {
    if n.checked_mul(each) != Some(len) {
        return Err(length(name, len, n, each, ""));
    }
    // SAFETY: the contract of this function.
    unsafe { slice(name, pointer, len) }
}

/// `n * each` elements to write, from a buffer that may have more.
///
/// # Safety
/// `pointer` is NULL or valid for writing `len` elements, and used by nobody else while the result lives.
pub(crate) unsafe fn output<'a, T>(
    name: &str,
    pointer: *mut T,
    len: usize,
    n: usize,
    each: usize,
) -> Result<&'a mut [T], Failure> {
    let Some(needed) = n.checked_mul(each).filter(|&needed| needed <= len) else {
        return Err(length(name, len, n, each, "at least "));
    };
    if needed == 0 {
        return Ok(&mut []);
    }
    check(name, pointer, needed)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, needed) })
}

/// As `output`, for a result that the caller need not take: `None` if NULL.
///
/// # Safety
/// As for `output`.
pub(crate) unsafe fn optional<'a, T>(
    name: &str,
    pointer: *mut T,
    n: usize,
) -> Result<Option<&'a mut [T]>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the contract of this function.
    unsafe { output(name, pointer, n, n, 1) }.map(Some)
}

fn length(name: &str, found: usize, n: usize, each: usize, least: &str) -> Failure {
    Failure::new(
        galgen_status::Length,
        format!("{name} has {found} elements, expected {least}{n} x {each}"),
    )
}

/// A text of the caller.
///
/// # Safety
/// `pointer` is NULL or a string with a final zero byte that lives while the result does.
pub(crate) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a CStr, Failure> {
    check(name, pointer, 1)?;
    // SAFETY: checked, and promised by the caller.
    Ok(unsafe { CStr::from_ptr(pointer) })
}
