//! The tensors of a model file.
//!
//! A file is safetensors with f32, f16 or bf16 storage; everything is f32 once it is read. What a
//! header claims is believed only after it has been compared with the length of the file, so a small
//! file never makes a large allocation.

use crate::error::LoadError;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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

#[derive(Clone, Debug)]
struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
    /// Whether it was stored in 16 bits.
    half: bool,
    /// The first number that is not finite.
    not_finite: Option<usize>,
}

/// The bits of the exponent of an f32, all set where it is not finite.
const EXPONENT: u32 = 0x7f80_0000;

impl Tensor {
    fn new(shape: Vec<usize>, data: Vec<f32>, half: bool) -> Tensor {
        // A count, which vectors of any processor can do, before the search: nearly always there is none.
        let bad = |v: &f32| u32::from(v.to_bits() & EXPONENT == EXPONENT);
        let not_finite = match data.iter().map(bad).fold(0, u32::wrapping_add) {
            0 => None,
            _ => data.iter().position(|v| !v.is_finite()),
        };
        Tensor {
            shape,
            data,
            half,
            not_finite,
        }
    }
}

/// Named tensors and the metadata beside them.
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Weights {
    /// Reads a whole safetensors file. Memory: at most twice the length of the file for the tensors
    /// (f16 widens to f32), and a small multiple of the header.
    pub fn parse(bytes: &[u8]) -> Result<Weights, LoadError> {
        let (header, mut data) = split(bytes)?;
        Self::assemble(header, data.len() as u64, &mut |part| {
            let (now, later) = data.split_at(part.len());
            part.copy_from_slice(now);
            data = later;
            Ok(())
        })
    }

    /// Reads a file, piece by piece: it is never in memory as a whole.
    #[cfg(feature = "std")]
    pub fn open(path: &std::path::Path) -> Result<Weights, LoadError> {
        use std::io::Read;
        let failed = |e: std::io::Error| LoadError::Io {
            path: path.display().to_string(),
            cause: e.to_string(),
        };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let found = match file.metadata() {
            Ok(data) if data.is_file() => data.len(),
            // Its length shows at its end.
            _ => return Self::parse(&read(path)?),
        };
        let mut prefix = Vec::with_capacity(PREFIX);
        let start = file.by_ref().take(PREFIX as u64).read_to_end(&mut prefix);
        start.map_err(failed)?;
        let length = header_length(&prefix, found)?;
        let mut header = alloc::vec![0; length];
        file.read_exact(&mut header).map_err(failed)?;
        let rest = found - (PREFIX + length) as u64;
        Self::assemble(&header, rest, &mut |part| {
            file.read_exact(part).map_err(failed)
        })
    }

    /// Weights of this header, and of `len` bytes after it, which `next` gives in their order.
    fn assemble(
        header: &[u8],
        len: u64,
        next: &mut dyn FnMut(&mut [u8]) -> Result<(), LoadError>,
    ) -> Result<Weights, LoadError> {
        // Checks that the tensors follow each other without gaps or overlaps, each as long as its
        // shape and type say.
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|e| LoadError::Header(format!("{e}")))?;
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
            let (start, end) = info.data_offsets;
            let data = widen(&name, info.dtype, end - start, next)?;
            let tensor = Tensor::new(info.shape.clone(), data, info.dtype != Dtype::F32);
            tensors.insert(name, tensor);
        }
        let metadata = metadata
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Ok(Weights { tensors, metadata })
    }

    /// Lets go of the tensors whose names begin with `prefix` and a point, once they are packed.
    pub(crate) fn forget(&mut self, prefix: &str) {
        let of_prefix = |name: &str| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        for (name, tensor) in &mut self.tensors {
            if of_prefix(name) {
                tensor.data = Vec::new();
            }
        }
    }

    /// Weights from values at hand, for tests and for nets that are built in memory. Each entry is
    /// (name, shape, row-major values).
    ///
    /// # Panics
    /// If a shape does not have as many elements as there are values.
    pub fn from_values(
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Weights {
        let tensors = tensors
            .into_iter()
            .map(|(name, shape, data)| {
                assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor {name}");
                (name, Tensor::new(shape, data, false))
            })
            .collect();
        Weights {
            tensors,
            metadata: BTreeMap::new(),
        }
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether any tensor was stored in 16 bits.
    pub fn any_half(&self) -> bool {
        self.tensors.values().any(|t| t.half)
    }

    /// Checks that the file holds exactly the `expected` tensors, with their shapes and finite
    /// values.
    pub fn check(&self, expected: &[TensorSpec]) -> Result<(), LoadError> {
        for spec in expected {
            self.of_shape(&spec.name, &spec.shape)?;
        }
        let known: BTreeSet<&str> = expected.iter().map(|spec| spec.name.as_str()).collect();
        match self.names().find(|name| !known.contains(name)) {
            Some(extra) => Err(LoadError::ExtraTensor {
                tensor: extra.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Values of a tensor, row-major; empty if there is none of that name, which
    /// [`check`](Self::check) has ruled out for the tensors of the specification.
    pub fn get(&self, name: &str) -> &[f32] {
        self.tensors.get(name).map_or(&[], |t| &t.data)
    }

    /// Values of a tensor that must have this shape and be finite.
    pub fn of_shape(&self, name: &str, shape: &[usize]) -> Result<&[f32], LoadError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(LoadError::MissingTensor {
                tensor: name.into(),
                expected: shape.to_vec(),
            });
        };
        if tensor.shape != shape {
            return Err(LoadError::TensorShape {
                tensor: name.into(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        match tensor.not_finite {
            Some(index) => Err(LoadError::NonFinite {
                tensor: name.into(),
                index,
                value: tensor.data[index],
            }),
            None => Ok(&tensor.data),
        }
    }
}

/// The bytes of a model file. The length that its header claims is judged before the rest is read, so
/// that a file without end (a device, a pipe) is refused rather than read until memory ends.
#[cfg(feature = "std")]
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>, LoadError> {
    use std::io::Read;
    let failed = |cause: String| LoadError::Io {
        path: path.display().to_string(),
        cause,
    };
    let mut file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let found = match file.metadata() {
        Ok(data) if data.is_file() => data.len(),
        _ => MAX_FILE,
    };
    let mut bytes = Vec::new();
    for limit in [PREFIX as u64, MAX_FILE] {
        let rest = limit - bytes.len() as u64;
        let read = file.by_ref().take(rest).read_to_end(&mut bytes);
        read.map_err(|e| failed(e.to_string()))?;
        header_length(&bytes, found)?;
    }
    if bytes.len() as u64 == MAX_FILE {
        return Err(failed(format!("it has {MAX_FILE} bytes or more")));
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
    if expected > found {
        return Err(LoadError::Truncated { found, expected });
    }
    match usize::try_from(length) {
        Ok(length) if (2..=MAX_HEADER).contains(&length) => Ok(length),
        _ => Err(LoadError::Header(format!(
            "its header claims {length} bytes, expected 2 to {MAX_HEADER}"
        ))),
    }
}

/// The header and the data.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), LoadError> {
    let length = header_length(bytes, bytes.len() as u64)?;
    Ok(bytes[PREFIX..].split_at(length))
}

/// Bytes of a file that are widened at a time, a multiple of the size of any number.
const PIECE: usize = 1 << 14;

/// The next `len` stored bytes as f32.
fn widen(
    name: &str,
    dtype: Dtype,
    len: usize,
    next: &mut dyn FnMut(&mut [u8]) -> Result<(), LoadError>,
) -> Result<Vec<f32>, LoadError> {
    let size = match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::BF16 => 2,
        other => {
            return Err(LoadError::TensorType {
                tensor: name.into(),
                found: format!("{other:?}"),
            });
        }
    };
    let mut values = alloc::vec![0.0; len / size];
    let mut piece = [0; PIECE];
    for (start, values) in (0..len).step_by(PIECE).zip(values.chunks_mut(PIECE / size)) {
        let piece = &mut piece[..(len - start).min(PIECE)];
        next(piece)?;
        match dtype {
            Dtype::F16 => widen_f16s(piece, values),
            Dtype::BF16 => {
                for (v, b) in values.iter_mut().zip(piece.chunks_exact(2)) {
                    *v = f32::from_le_bytes([0, 0, b[0], b[1]]);
                }
            }
            _ => {
                for (v, b) in values.iter_mut().zip(piece.chunks_exact(4)) {
                    *v = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
        }
    }
    Ok(values)
}

/// The f16 of pairs of bytes. Normal numbers, which nearly all are, by shifts that vectors can do.
fn widen_f16s(pairs: &[u8], values: &mut [f32]) {
    for (pairs, values) in pairs.chunks(32).zip(values.chunks_mut(16)) {
        let mut others = 0;
        for (v, b) in values.iter_mut().zip(pairs.chunks_exact(2)) {
            let bits = u32::from(u16::from_le_bytes([b[0], b[1]]));
            let exponent = bits & 0x7c00;
            others |= u32::from(exponent == 0) | u32::from(exponent == 0x7c00);
            let sign = (bits & 0x8000) << 16;
            *v = f32::from_bits(sign | (((bits & 0x7fff) << 13) + (112 << 23)));
        }
        if others != 0 {
            for (v, b) in values.iter_mut().zip(pairs.chunks_exact(2)) {
                *v = half::f16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
    }
}

#[test]
fn every_f16_is_widened_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = all.iter().flat_map(|h| h.to_le_bytes()).collect();
    let mut found = alloc::vec![0.0; all.len()];
    widen_f16s(&bytes, &mut found);
    for (&bits, found) in all.iter().zip(found) {
        let expected = half::f16::from_bits(bits).to_f32();
        assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
    }
}
