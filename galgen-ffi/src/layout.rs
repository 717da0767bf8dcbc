//! Structs that can grow: `struct_size` says how much of one its owner knows.
//!
//! A caller built with an older header passes smaller structs: the fields that it does not know keep
//! their defaults. One built with a newer header passes larger ones: accepted as input while what
//! this library does not know is zero, so that no request is ignored silently; as output, the
//! unknown tail is set to zero.

use crate::status::{Failure, galgen_status};

/// No struct of a sane caller is larger; guards against a `struct_size` that was never set.
const LARGEST: usize = 1 << 16;

/// A public struct.
///
/// # Safety
/// `repr(C)`, plain data valid for any bytes that a C caller can set (no references, booleans, or
/// enums that are read), and `struct_size: usize` is the first field. `Default` sets it to the size of `Self`.
pub(crate) unsafe trait Growing: Copy + Default {
    /// Name in the header.
    const NAME: &'static str;
    /// Size in the first release that had it.
    const FIRST_SIZE: usize;

    /// Checks `struct_size` of a struct that is to be written, and returns it.
    ///
    /// # Safety
    /// `from` points to a readable `usize`, aligned or not.
    unsafe fn check_output(from: *const Self) -> Result<usize, Failure> {
        // SAFETY: the first field, by the contract of the trait and of this function.
        let size = unsafe { from.cast::<usize>().read_unaligned() };
        let aligned = size.is_multiple_of(align_of::<Self>());
        if (Self::FIRST_SIZE..=LARGEST).contains(&size) && aligned {
            return Ok(size);
        }
        Err(Failure::new(
            galgen_status::StructSize,
            format!(
                "{}: struct_size is {size}, expected {}: initialise it with {}_default()",
                Self::NAME,
                size_of::<Self>(),
                Self::NAME
            ),
        ))
    }

    /// Reads a struct that has passed `check_input`.
    ///
    /// # Safety
    /// `from` points to `struct_size` readable bytes.
    unsafe fn read_from(from: *const Self) -> Self {
        let mut value = Self::default();
        // SAFETY: copies no more than both sides have; any bytes are valid for a Growing type.
        unsafe {
            let size = from.cast::<usize>().read_unaligned();
            let to = (&raw mut value).cast::<u8>();
            to.copy_from_nonoverlapping(from.cast(), size.min(size_of::<Self>()));
        }
        value
    }

    /// Checks `struct_size` and the unknown tail of a struct that is to be read.
    ///
    /// # Safety
    /// `from` points to `struct_size` readable bytes.
    unsafe fn check_input(from: *const Self) -> Result<usize, Failure> {
        // SAFETY: by the contract of this function.
        let size = unsafe { Self::check_output(from) }?;
        let known = size_of::<Self>();
        let tail = size.saturating_sub(known);
        // SAFETY: bytes known..size are inside the caller's struct.
        let zero = (0..tail).all(|i| unsafe { from.cast::<u8>().add(known + i).read() } == 0);
        if zero {
            return Ok(size);
        }
        Err(Failure::new(
            galgen_status::StructSize,
            format!(
                "{}: a field beyond byte {known} is set, which this library does not know: use a newer galgen library",
                Self::NAME
            ),
        ))
    }

    /// Writes all but `struct_size` into the caller's struct, and zeros what this library does not know.
    ///
    /// # Safety
    /// `to` has passed `check_output` and points to `struct_size` writable bytes.
    unsafe fn write_to(&self, to: *mut Self) {
        let first = size_of::<usize>();
        // SAFETY: writes bytes first..size, all inside the caller's struct; the source is as long as
        // what is copied of it.
        unsafe {
            let size = to.cast::<usize>().read_unaligned();
            let known = size.min(size_of::<Self>());
            let from = (&raw const *self).cast::<u8>();
            let bytes = to.cast::<u8>();
            bytes
                .add(first)
                .copy_from_nonoverlapping(from.add(first), known - first);
            bytes.add(known).write_bytes(0, size - known);
        }
    }
}

/// Reads one struct of the caller.
///
/// # Safety
/// `from` is NULL or points to `struct_size` readable bytes.
pub(crate) unsafe fn read<T: Growing>(from: *const T) -> Result<T, Failure> {
    if from.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: not NULL; the rest is the contract of this function.
    unsafe {
        T::check_input(from)?;
        Ok(T::read_from(from))
    }
}

/// Writes one struct of the caller.
///
/// # Safety
/// `to` is NULL or points to `struct_size` writable bytes.
pub(crate) unsafe fn write<T: Growing>(to: *mut T, value: &T) -> Result<(), Failure> {
    if to.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: not NULL; the rest is the contract of this function.
    unsafe {
        T::check_output(to)?;
        value.write_to(to);
    }
    Ok(())
}

fn null(name: &str) -> Failure {
    Failure::new(
        galgen_status::Null,
        format!("{name} is NULL, expected a struct"),
    )
}

/// An array of the caller's structs: `struct_size` of the first is the distance between them.
pub(crate) struct Array<T> {
    first: *mut T,
    stride: usize,
}

impl<T: Growing> Array<T> {
    /// An array to read: every element is checked now.
    ///
    /// # Safety
    /// `first` is NULL or points to `n` structs, each of `struct_size` bytes that stay readable, and that
    /// nobody writes, while the array is used.
    pub unsafe fn input(first: *const T, n: usize) -> Result<Self, Failure> {
        if n == 0 {
            return Ok(Array {
                first: std::ptr::null_mut(),
                stride: 0,
            });
        }
        if first.is_null() {
            return Err(null(T::NAME));
        }
        // SAFETY: the first element, by the contract.
        let stride = unsafe { T::check_input(first) }?;
        let array = Array {
            first: first.cast_mut(),
            stride,
        };
        for i in 1..n {
            // SAFETY: element i of n, by the contract.
            let found = unsafe { T::check_input(array.at(i)) }?;
            if found != stride {
                return Err(Failure::new(
                    galgen_status::StructSize,
                    format!(
                        "{} at index {i}: struct_size is {found}, expected {stride} as at index 0",
                        T::NAME
                    ),
                ));
            }
        }
        Ok(array)
    }

    /// An array to write, `None` if `first` is NULL. Only the first element need be initialised:
    /// the others get its `struct_size`.
    ///
    /// # Safety
    /// As for `input`, with writable bytes.
    pub unsafe fn output(first: *mut T, n: usize) -> Result<Option<Self>, Failure> {
        if first.is_null() || n == 0 {
            return Ok(None);
        }
        // SAFETY: the first element, by the contract.
        let stride = unsafe { T::check_output(first) }?;
        Ok(Some(Array { first, stride }))
    }

    /// # Safety
    /// `i` is less than the `n` of the constructor.
    unsafe fn at(&self, i: usize) -> *mut T {
        // SAFETY: inside the caller's array.
        unsafe { self.first.byte_add(i * self.stride) }
    }

    /// # Safety
    /// From `input`, and `i` is less than its `n`.
    pub unsafe fn get(&self, i: usize) -> T {
        // SAFETY: inside the caller's array, checked by `input`.
        unsafe { T::read_from(self.at(i)) }
    }

    /// # Safety
    /// From `output`, and `i` is less than its `n`.
    pub unsafe fn set(&self, i: usize, value: &T) {
        // SAFETY: inside the caller's array; the size is set before `write_to` needs it.
        unsafe {
            let to = self.at(i);
            to.cast::<usize>().write_unaligned(self.stride);
            value.write_to(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct that began with `a` only.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Grown {
        struct_size: usize,
        a: u64,
        b: u64,
    }

    impl Default for Grown {
        fn default() -> Self {
            Grown {
                struct_size: size_of::<Self>(),
                a: 1,
                b: 2,
            }
        }
    }

    // SAFETY: repr(C), integers only.
    unsafe impl Growing for Grown {
        const NAME: &'static str = "grown";
        const FIRST_SIZE: usize = 16;
    }

    fn read_words(words: &[u64]) -> Result<Grown, Failure> {
        // SAFETY: the tests state true sizes, or sizes that are refused.
        unsafe { read(words.as_ptr().cast()) }
    }

    #[test]
    fn older_callers_get_defaults_and_newer_ones_only_if_they_ask_nothing_new() {
        let read = |words: &[u64]| read_words(words).map(|g| (g.a, g.b));
        assert_eq!(read(&[16, 7, 99]).unwrap(), (7, 2));
        assert_eq!(read(&[24, 7, 8]).unwrap(), (7, 8));
        assert_eq!(read(&[40, 7, 8, 0, 0]).unwrap(), (7, 8));
        let text = read(&[40, 7, 8, 0, 1]).unwrap_err().message;
        assert!(text.contains("newer galgen library"), "{text}");
        for size in [0, 8, 17, 1 << 40] {
            assert_eq!(
                read(&[size, 0, 0]).unwrap_err().code,
                galgen_status::StructSize
            );
        }
    }

    #[test]
    fn outputs_fill_what_the_caller_has_and_zero_what_is_unknown() {
        let value = Grown::default();
        let mut older = [16u64, 9, 9, 9];
        let mut newer = [32u64, 9, 9, 9];
        // SAFETY: four words each, of which 2 and 4 are stated.
        unsafe {
            write(older.as_mut_ptr().cast(), &value).unwrap();
            write(newer.as_mut_ptr().cast(), &value).unwrap();
        }
        assert_eq!(older, [16, 1, 9, 9]);
        assert_eq!(newer, [32, 1, 2, 0]);
    }

    #[test]
    fn arrays_step_by_the_callers_size() {
        let words: [u64; 8] = [32, 10, 11, 0, 32, 20, 21, 0];
        let mut out = [16u64, 9, 9, 9, 9];
        // SAFETY: two elements of 32 bytes; two of 16.
        unsafe {
            let array = Array::<Grown>::input(words.as_ptr().cast(), 2).unwrap();
            assert_eq!((array.get(1).a, array.get(1).b), (20, 21));
            let array = Array::<Grown>::output(out.as_mut_ptr().cast(), 2)
                .unwrap()
                .unwrap();
            array.set(
                0,
                &Grown {
                    a: 5,
                    ..Grown::default()
                },
            );
            array.set(
                1,
                &Grown {
                    a: 6,
                    ..Grown::default()
                },
            );
            let mixed: [u64; 5] = [16, 1, 24, 1, 1];
            assert!(Array::<Grown>::input(mixed.as_ptr().cast(), 2).is_err());
        }
        assert_eq!(out, [16, 5, 16, 6, 9]);
    }
}
