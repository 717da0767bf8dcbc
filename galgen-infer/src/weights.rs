//! The tensors of a model file.
//!
//! A file is safetensors with f32, f16 or bf16 storage; everything is f32 once it is read. Only the header is kept: the
//! engines read the tensors one after the other, a piece at a time, and write each number where its kernel wants it. What a
//! header claims is believed only after it has been compared with the length of the file, so a small
//! file never makes a large allocation.

use crate::error::LoadError;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
#[cfg(feature = "std")]
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::Cell;
use galgen_core::spec::TensorSpec;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

/// Bytes of the header length at the start of a safetensors file.
const PREFIX: usize = 8;
/// Longest header: the names and shapes of 100,000 tensors and the longest card.
const MAX_HEADER: usize = 32 << 20;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;
/// Longest name of a tensor.
const MAX_NAME: usize = 256;
/// Longest file: a net has at most 2^28 parameters.
#[cfg(feature = "std")]
const MAX_FILE: u64 = 4 << 30;

/// Numbers that are widened at a time, or a whole row.
const PIECE: usize = 1 << 14;
/// The bits of the exponent of an f32, all set where it is not finite.
const EXPONENT: u32 = 0x7f80_0000;

/// Where a tensor stands, and what it is stored as.
#[derive(Debug)]
struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    /// First byte after the header.
    start: usize,
    /// Whether somebody expects it.
    known: Cell<bool>,
    /// Whether it has been read, and so found finite.
    read: Cell<bool>,
}

impl Tensor {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a header says.
#[derive(Debug)]
struct Directory {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

/// What follows the header.
#[derive(Debug)]
enum Source<'a> {
    Bytes {
        bytes: Cow<'a, [u8]>,
        /// Length of the header and of its prefix.
        start: usize,
    },
    #[cfg(feature = "std")]
    File {
        file: std::fs::File,
        path: std::path::PathBuf,
        start: usize,
    },
}

/// Named tensors and the metadata beside them. The numbers stay where they are, and are widened as they are asked for.
#[derive(Debug)]
pub struct Weights<'a> {
    directory: Directory,
    source: Source<'a>,
}

impl<'a> Weights<'a> {
    /// Reads the header of a whole safetensors file. Memory: a small multiple of the header.
    pub fn parse(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Weights<'a>, LoadError> {
        Self::of_bytes(bytes.into())
    }

    fn of_bytes(bytes: Cow<'a, [u8]>) -> Result<Weights<'a>, LoadError> {
        let start = PREFIX + header_length(&bytes, bytes.len() as u64)?;
        let directory = Directory::read(&bytes[PREFIX..start], (bytes.len() - start) as u64)?;
        let source = Source::Bytes { bytes, start };
        Ok(Weights { directory, source })
    }

    /// Reads the header of a file. The rest is read tensor by tensor: it is never in memory as a whole.
    #[cfg(feature = "std")]
    pub fn open(path: &std::path::Path) -> Result<Weights<'static>, LoadError> {
        use std::io::Read;
        let failed = |e| unreadable(path, &e);
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let found = match file.metadata() {
            Ok(data) if data.is_file() => data.len(),
            // Its length shows at its end.
            _ => return Weights::of_bytes(read(path)?.into()),
        };
        let mut prefix = Vec::with_capacity(PREFIX);
        let begin = file.by_ref().take(PREFIX as u64).read_to_end(&mut prefix);
        begin.map_err(failed)?;
        let length = header_length(&prefix, found)?;
        let mut header = alloc::vec![0; length];
        file.read_exact(&mut header).map_err(failed)?;
        let start = PREFIX + length;
        let directory = Directory::read(&header, found - start as u64)?;
        let path = path.into();
        let source = Source::File { file, path, start };
        Ok(Weights { directory, source })
    }

    /// Weights from values at hand, for tests and for nets that are built in memory. Each entry is
    /// (name, shape, row-major values).
    ///
    /// # Panics
    /// If a shape does not have as many elements as there are values.
    pub fn from_values(
        values: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Weights<'static> {
        let (mut tensors, mut bytes) = (BTreeMap::new(), Vec::new());
        for (name, shape, values) in values {
            assert_eq!(
                shape.iter().product::<usize>(),
                values.len(),
                "tensor {name}"
            );
            let tensor = Tensor {
                shape,
                dtype: Dtype::F32,
                start: bytes.len(),
                known: Cell::new(false),
                read: Cell::new(false),
            };
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            tensors.insert(name, tensor);
        }
        let metadata = BTreeMap::new();
        Weights {
            directory: Directory { tensors, metadata },
            source: Source::Bytes {
                bytes: bytes.into(),
                start: 0,
            },
        }
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.directory.metadata.get(key).map(String::as_str)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.directory.tensors.keys().map(String::as_str)
    }

    /// Whether any tensor was stored in 16 bits.
    pub fn any_half(&self) -> bool {
        self.directory
            .tensors
            .values()
            .any(|t| t.dtype != Dtype::F32)
    }

    /// Checks that the file holds exactly the `expected` tensors, with their shapes.
    pub fn check(&self, expected: &[TensorSpec]) -> Result<(), LoadError> {
        for tensor in self.directory.tensors.values() {
            tensor.known.set(false);
        }
        for spec in expected {
            self.check_shape(&spec.name, &spec.shape)?;
        }
        let mut all = self.directory.tensors.iter();
        match all.find(|(_, tensor)| !tensor.known.get()) {
            Some((extra, _)) => Err(LoadError::ExtraTensor {
                tensor: extra.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Checks that there is a tensor of this name and shape.
    pub(crate) fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), LoadError> {
        match self.directory.tensors.get(name) {
            None => Err(LoadError::MissingTensor {
                tensor: name.into(),
                expected: shape.to_vec(),
            }),
            Some(tensor) if tensor.shape != shape => Err(LoadError::TensorShape {
                tensor: name.into(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            }),
            Some(tensor) => {
                tensor.known.set(true);
                Ok(())
            }
        }
    }

    /// Checks that what has not been read yet is finite, too.
    pub(crate) fn check_unread(&self) -> Result<(), LoadError> {
        let mut unread = self
            .directory
            .tensors
            .iter()
            .filter(|(_, tensor)| !tensor.read.get());
        unread.try_for_each(|(name, _)| self.rows(name, 1, &mut |_| {}))
    }

    /// Values of a tensor, row-major, all of them finite.
    pub fn get(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let mut values = Vec::new();
        values.reserve_exact(self.directory.tensors.get(name).map_or(0, Tensor::len));
        self.rows(name, 1, &mut |rows| values.extend_from_slice(rows.values))?;
        Ok(values)
    }

    /// Values of a tensor that must have this shape and be finite.
    pub fn of_shape(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.check_shape(name, shape)?;
        self.get(name)
    }

    /// Calls `visit` with all rows of a tensor, of `len` numbers that are finite, some at a time.
    pub(crate) fn rows(
        &self,
        name: &str,
        len: usize,
        visit: &mut dyn FnMut(Rows),
    ) -> Result<(), LoadError> {
        let Some(tensor) = self.directory.tensors.get(name) else {
            return Err(LoadError::MissingTensor {
                tensor: name.into(),
                expected: Vec::new(),
            });
        };
        let total = tensor.len();
        let piece = (PIECE / len.max(1)).max(1).saturating_mul(len).min(total);
        let mut values = alloc::vec![0.0; piece];
        let mut bytes = Vec::new();
        let mut done = 0;
        while done < total {
            let values = &mut values[..piece.min(total - done)];
            self.widen(tensor, done, values, &mut bytes)?;
            // A count, which vectors of any processor can do, before the search: nearly always there is none.
            let bad = |v: &f32| u32::from(v.to_bits() & EXPONENT == EXPONENT);
            if values.iter().map(bad).fold(0, u32::wrapping_add) > 0 {
                let index = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
                return Err(LoadError::NonFinite {
                    tensor: name.into(),
                    index: done + index,
                    value: values[index],
                });
            }
            let first = done / len;
            done += values.len();
            visit(Rows { first, len, values });
        }
        tensor.read.set(true);
        Ok(())
    }

    /// The numbers of a tensor from `first` on; `buffer` is for what stands in a file.
    fn widen(
        &self,
        tensor: &Tensor,
        first: usize,
        values: &mut [f32],
        #[cfg_attr(not(feature = "std"), expect(unused_variables))] buffer: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        let size = if tensor.dtype == Dtype::F32 { 4 } else { 2 };
        let (begin, len) = (tensor.start + first * size, values.len() * size);
        let stored = match &self.source {
            Source::Bytes { bytes, start } => &bytes[start + begin..][..len],
            #[cfg(feature = "std")]
            Source::File { file, path, start } => {
                use std::io::{Read, Seek, SeekFrom};
                buffer.resize(len, 0);
                let mut file = file;
                file.seek(SeekFrom::Start((start + begin) as u64))
                    .and_then(|_| file.read_exact(buffer))
                    .map_err(|e| unreadable(path, &e))?;
                &buffer[..]
            }
        };
        match tensor.dtype {
            Dtype::F16 => widen_f16s(stored, values),
            Dtype::BF16 => {
                for (v, b) in values.iter_mut().zip(stored.chunks_exact(2)) {
                    *v = f32::from_le_bytes([0, 0, b[0], b[1]]);
                }
            }
            _ => {
                for (v, b) in values.iter_mut().zip(stored.chunks_exact(4)) {
                    *v = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
        }
        Ok(())
    }
}

/// Rows of a tensor that follow each other.
pub(crate) struct Rows<'a> {
    /// Index of the first.
    pub first: usize,
    /// Numbers of a row.
    len: usize,
    pub values: &'a mut [f32],
}

impl Rows<'_> {
    /// Calls `visit` with the index of each row, and the row.
    pub fn each(&mut self, mut visit: impl FnMut(usize, &mut [f32])) {
        for (i, row) in self.values.chunks_exact_mut(self.len).enumerate() {
            visit(self.first + i, row);
        }
    }
}

#[cfg(feature = "std")]
fn unreadable(path: &std::path::Path, error: &std::io::Error) -> LoadError {
    LoadError::Io {
        path: path.display().to_string(),
        cause: error.to_string(),
    }
}

impl Directory {
    /// Of this header, which `len` bytes follow.
    fn read(header: &[u8], len: u64) -> Result<Self, LoadError> {
        // Checks that the tensors follow each other without gaps or overlaps, each as long as its
        // shape and type say.
        let header = core::str::from_utf8(header).map_err(|e| LoadError::Header(format!("{e}")))?;
        let metadata: Metadata =
            serde_json::from_str(header).map_err(|e| LoadError::Header(format!("{e}")))?;
        if metadata.data_len() as u64 != len {
            return Err(LoadError::Header(format!(
                "its tensors take {} bytes, found {len}",
                metadata.data_len(),
            )));
        }
        let mut tensors = BTreeMap::new();
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else {
                continue;
            };
            if name.len() > MAX_NAME || info.shape.len() > MAX_RANK {
                let start: String = name.chars().take(MAX_NAME).collect();
                return Err(LoadError::Header(format!(
                    "tensor {start:?} has a name of {} bytes and {} dimensions, \
                 expected at most {MAX_NAME} and {MAX_RANK}",
                    name.len(),
                    info.shape.len()
                )));
            }
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(LoadError::TensorType {
                    tensor: name,
                    found: format!("{:?}", info.dtype),
                });
            }
            let tensor = Tensor {
                shape: info.shape.clone(),
                dtype: info.dtype,
                start: info.data_offsets.0,
                known: Cell::new(false),
                read: Cell::new(false),
            };
            tensors.insert(name, tensor);
        }
        let texts = metadata.metadata().iter().flatten();
        let metadata = texts.map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Directory { tensors, metadata })
    }
}

/// The bytes of a model file. The length that its header claims is judged before the rest is read, so
/// that a file without end (a device, a pipe) is refused rather than read until memory ends.
#[cfg(feature = "std")]
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, LoadError> {
    use std::io::Read;
    let failed = |e| unreadable(path, &e);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let found = match file.metadata() {
        Ok(data) if data.is_file() => data.len(),
        _ => MAX_FILE,
    };
    let mut bytes = Vec::new();
    for limit in [PREFIX as u64, MAX_FILE] {
        let rest = limit - bytes.len() as u64;
        let read = file.by_ref().take(rest).read_to_end(&mut bytes);
        read.map_err(failed)?;
        header_length(&bytes, found)?;
    }
    if bytes.len() as u64 == MAX_FILE {
        return Err(LoadError::Io {
            path: path.display().to_string(),
            cause: format!("it has {MAX_FILE} bytes or more"),
        });
    }
    Ok(bytes)
}

/// Length of the header as the prefix of a file of `found` bytes gives it.
fn header_length(bytes: &[u8], found: u64) -> Result<usize, LoadError> {
    let length = match bytes.first_chunk::<PREFIX>() {
        Some(prefix) => u64::from_le_bytes(*prefix),
        None => 0,
    };
    let expected = length.saturating_add(PREFIX as u64);
    // Another kind of file begins with any number.
    if expected > found && length <= MAX_HEADER as u64 {
        return Err(LoadError::Truncated { found, expected });
    }
    match usize::try_from(length) {
        Ok(length) if (2..=MAX_HEADER).contains(&length) => Ok(length),
        _ => Err(LoadError::Header(format!(
            "its header claims {length} bytes, expected 2 to {MAX_HEADER}"
        ))),
    }
}

/// The f16 of pairs of bytes. Normal numbers, which nearly all are, by shifts that vectors can do.
fn widen_f16s(pairs: &[u8], values: &mut [f32]) {
    const EACH: usize = 16;
    let (runs, rest) = values.as_chunks_mut::<EACH>();
    let (pairs, rest_pairs) = pairs.as_chunks::<2>().0.split_at(runs.len() * EACH);
    for (values, pairs) in runs.iter_mut().zip(pairs.as_chunks::<EACH>().0) {
        let halves = pairs.map(u16::from_le_bytes);
        // An exponent of 0 or 31, which are next to each other when 1 is added.
        let other = |half: u16| u16::from(half.wrapping_add(0x400) & 0x7800 == 0);
        if halves.map(other).into_iter().fold(0, |any, o| any | o) == 0 {
            *values = halves.map(|half| {
                let bits = u32::from(half);
                let sign = (bits & 0x8000) << 16;
                f32::from_bits(sign | (((bits & 0x7fff) << 13) + (112 << 23)))
            });
        } else {
            *values = halves.map(|half| half::f16::from_bits(half).to_f32());
        }
    }
    for (v, &pair) in rest.iter_mut().zip(rest_pairs) {
        *v = half::f16::from_le_bytes(pair).to_f32();
    }
}

#[test]
fn every_f16_is_widened_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = all.iter().flat_map(|h| h.to_le_bytes()).collect();
    let mut found = alloc::vec![0.0; all.len()];
    let (start, end) = found.split_at_mut(21);
    widen_f16s(&bytes[..42], start);
    widen_f16s(&bytes[42..], end);
    for (&bits, found) in all.iter().zip(found) {
        let expected = half::f16::from_bits(bits).to_f32();
        assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
    }
}
