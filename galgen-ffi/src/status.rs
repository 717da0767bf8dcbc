//! Status codes, the caller's error struct, and the guard around every function that can fail.

use crate::layout::Growing;
use galgen_core::card::CardError;
use galgen_infer::render::RenderError;
use galgen_infer::{DrawError, LoadError};
use std::any::Any;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Result of a function, of an object or of a stamp. Later libraries may add values.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum galgen_status {
    /// Done.
    Ok = 0,
    /// Some objects or stamps of the call failed; each has its own status, the others are done.
    Partial = 1,
    /// A pointer that must not be NULL is NULL.
    Null = 2,
    /// The `struct_size` of a struct is none that this library knows: initialise structs with their
    /// `_default` function. Or a newer field, unknown to this library, is set.
    StructSize = 3,
    /// A buffer is too short, or an input has another length than the model asks for.
    Length = 4,
    /// A number, a text or a pointer's alignment is out of range.
    Argument = 5,
    /// There is no condition or band of this index or name.
    NotFound = 6,
    /// A file cannot be read.
    Io = 7,
    /// The file or memory is no model: truncated, damaged, or tensors that do not fit the card.
    ModelFile = 8,
    /// The model was written by a newer galgen.
    ModelNewer = 9,
    /// The decoder draws no light for these conditions or this latent; or a flow gives no numbers.
    NoLight = 10,
    /// Size, shear and magnification of the object cannot be rendered together.
    Unrenderable = 11,
    /// A stamp to be scored has no light, or a pixel that is not finite.
    Stamp = 12,
    /// galgen_session_set_grid has not been called for this session.
    NoGrid = 13,
    /// Grid and point-spread function need more memory than a session may take (1 GiB).
    TooLarge = 14,
    /// Header and library have different ABI versions.
    Abi = 15,
    /// A defect of the library was caught; its text is in the error. Free the session that was used.
    Panic = 16,
    /// Models of this kind do not do this: a plain image has no size, an autoencoder no likelihood.
    Unsupported = 17,
}

/// Bytes of the text of an error, with its final zero byte.
pub const GALGEN_MESSAGE_SIZE: usize = 512;

/// What went wrong, filled by the function that gets it. Owned by the caller; every function accepts
/// NULL instead. Functions that succeed set GALGEN_STATUS_OK and an empty text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct galgen_error {
    /// sizeof(galgen_error), set by galgen_error_default or by the caller.
    pub struct_size: usize,
    /// The status that the function returned.
    pub code: galgen_status,
    /// One sentence in English, UTF-8, ends with a zero byte: what, found, expected, what to do.
    pub message: [c_char; GALGEN_MESSAGE_SIZE],
}

impl Default for galgen_error {
    fn default() -> Self {
        galgen_error {
            struct_size: size_of::<Self>(),
            code: galgen_status::Ok,
            message: [0; GALGEN_MESSAGE_SIZE],
        }
    }
}

// SAFETY: repr(C), `struct_size` first.
unsafe impl Growing for galgen_error {
    const NAME: &'static str = "galgen_error";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// An error struct without error, ready to be passed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_error_default() -> galgen_error {
    galgen_error::default()
}

/// Short name of a status, as "buffer too short": a static string that the caller does not free;
/// "unknown status" for a value that is none. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_status_text(status: i32) -> *const c_char {
    /// In the order of `galgen_status`.
    const TEXTS: [&std::ffi::CStr; 18] = [
        c"done",
        c"some objects failed",
        c"NULL pointer",
        c"wrong struct_size",
        c"buffer of the wrong length",
        c"argument out of range",
        c"unknown index or name",
        c"file cannot be read",
        c"not a valid model",
        c"model of a newer galgen",
        c"no light drawn",
        c"cannot be rendered",
        c"stamp cannot be scored",
        c"no grid set",
        c"too large",
        c"header and library do not fit",
        c"defect in the library",
        c"not for models of this kind",
    ];
    let index = usize::try_from(status).unwrap_or(usize::MAX);
    TEXTS.get(index).unwrap_or(&c"unknown status").as_ptr()
}

/// Why a function fails.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: galgen_status,
    pub message: String,
}

impl Failure {
    pub fn new(code: galgen_status, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
        }
    }

    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(galgen_status::Argument, message)
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text");
        let message = format!("defect in galgen, please report it: {text}");
        Self::new(galgen_status::Panic, message)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Io { .. } => galgen_status::Io,
            LoadError::Card(CardError::Newer { .. }) => galgen_status::ModelNewer,
            _ => galgen_status::ModelFile,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        let code = match &error {
            RenderError::Length { .. } => galgen_status::Length,
            RenderError::TooLarge { .. } => galgen_status::TooLarge,
            _ => galgen_status::Argument,
        };
        Failure::new(code, error.to_string())
    }
}

/// The status of one object or stamp.
pub(crate) fn status_of(error: &DrawError) -> galgen_status {
    match error {
        DrawError::Object { .. }
        | DrawError::Argument { .. }
        | DrawError::Class(_)
        | DrawError::Outside => galgen_status::Argument,
        DrawError::NotGalaxies
        | DrawError::NotImages
        | DrawError::NoLikelihood
        | DrawError::NoLatent
        | DrawError::NotAutoregressive
        | DrawError::HalfPrecision => galgen_status::Unsupported,
        DrawError::NoLight { .. } | DrawError::Undecodable | DrawError::Unsolved(_) => {
            galgen_status::NoLight
        }
        DrawError::Unrenderable { .. } => galgen_status::Unrenderable,
        DrawError::Stamp { .. } => galgen_status::Stamp,
    }
}

/// Counts the failures of a batch and keeps the first for the text.
#[derive(Default)]
pub(crate) struct Failures {
    count: usize,
    first: Option<(usize, DrawError)>,
}

impl Failures {
    /// Notes the result of element `index`; the value of a success.
    pub fn note<T>(
        &mut self,
        index: usize,
        result: Result<T, DrawError>,
    ) -> Result<T, galgen_status> {
        result.map_err(|error| {
            self.count += 1;
            self.first.get_or_insert((index, error));
            status_of(&error)
        })
    }

    /// What the whole call of `n` elements returns. Allocates only if something failed.
    pub fn result(self, n: usize) -> Result<(), Failure> {
        match self.first {
            None => Ok(()),
            Some((index, error)) => {
                let text = format!(
                    "{} of {n} failed, first at index {index}: {error}",
                    self.count
                );
                Err(Failure::new(galgen_status::Partial, text))
            }
        }
    }
}

/// Runs `body`, catches panics, and reports to the caller's `error`.
///
/// # Safety
/// `error` is NULL or points to a `galgen_error` whose `struct_size` is set and true.
pub(crate) unsafe fn guard(
    error: *mut galgen_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> galgen_status {
    if !error.is_null() {
        // SAFETY: by the contract of this function.
        if unsafe { galgen_error::check_output(error) }.is_err() {
            // Nothing may be written to a struct of unknown size.
            return galgen_status::StructSize;
        }
    }
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(Failure::panicked(&*payload)));
    // SAFETY: NULL, or checked above.
    unsafe { report(error, &result) }
}

/// Writes `result` to the caller's `error` and gives its code. Once for all bodies: a copy of it in each function
/// of the interface would be a hundredth of the library.
///
/// # Safety
/// `error` is NULL or points to a `galgen_error` that may be written.
#[inline(never)]
unsafe fn report(error: *mut galgen_error, result: &Result<(), Failure>) -> galgen_status {
    let (code, message) = match result {
        Ok(()) => (galgen_status::Ok, ""),
        Err(failure) => (failure.code, failure.message.as_str()),
    };
    if !error.is_null() {
        let mut filled = galgen_error {
            code,
            ..Default::default()
        };
        let end = floor_char_boundary(message, GALGEN_MESSAGE_SIZE - 1);
        for (to, &from) in filled.message.iter_mut().zip(&message.as_bytes()[..end]) {
            *to = from as c_char;
        }
        // SAFETY: by the contract of this function; the caller owns it for the length of this call.
        unsafe { filled.write_to(error) };
    }
    code
}

/// Largest length of at most `most` bytes that splits no character.
fn floor_char_boundary(text: &str, most: usize) -> usize {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(error: &galgen_error) -> &str {
        // SAFETY: guard always writes a final zero.
        unsafe { CStr::from_ptr(error.message.as_ptr()) }
            .to_str()
            .unwrap()
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        let mut error = galgen_error::default();
        // SAFETY: a valid error.
        let status = unsafe { guard(&mut error, || panic!("seven {}", 7)) };
        assert_eq!(status, galgen_status::Panic);
        assert_eq!(error.code, galgen_status::Panic);
        assert!(text(&error).ends_with("seven 7"), "{}", text(&error));
        // SAFETY: NULL is allowed, and success clears the last error.
        unsafe {
            assert_eq!(
                guard(std::ptr::null_mut(), || panic!("quiet")),
                galgen_status::Panic
            );
            assert_eq!(guard(&mut error, || Ok(())), galgen_status::Ok);
        }
        assert_eq!((error.code, text(&error)), (galgen_status::Ok, ""));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut error = galgen_error::default();
        let long = "é".repeat(400);
        // SAFETY: a valid error.
        unsafe { guard(&mut error, || Err(Failure::argument(long))) };
        assert_eq!(text(&error).chars().count(), (GALGEN_MESSAGE_SIZE - 1) / 2);
    }

    #[test]
    fn an_error_of_unknown_size_is_not_written() {
        let mut error = galgen_error {
            struct_size: 4,
            ..Default::default()
        };
        // SAFETY: the size is refused before anything is written.
        let status = unsafe { guard(&mut error, || panic!("not reached")) };
        assert_eq!(status, galgen_status::StructSize);
        assert_eq!(error.code, galgen_status::Ok);
    }

    #[test]
    fn every_status_has_a_text() {
        // SAFETY: static strings.
        let text = |i| unsafe { CStr::from_ptr(galgen_status_text(i)) };
        assert_eq!(text(galgen_status::Panic as i32), c"defect in the library");
        assert_eq!(text(galgen_status::NoGrid as i32), c"no grid set");
        for i in [-1, galgen_status::Unsupported as i32 + 1] {
            assert_eq!(text(i), c"unknown status");
        }
    }
}
