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
        let (header, data) = split(bytes)?;
        // Checks that the tensors follow each other without gaps or overlaps, each as long as its
        // shape and type say.
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|e| LoadError::Header(format!("{e}")))?;
        if metadata.data_len() != data.len() {
            return Err(LoadError::Header(format!(
                "its tensors take {} bytes, found {}",
                metadata.data_len(),
                data.len()
            )));
        }
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
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
            let stored = &data[start..end];
            let data = widen(&name, info.dtype, stored)?;
            tensors.insert(
                name,
                Tensor {
                    shape: info.shape.clone(),
                    data,
                    half: info.dtype != Dtype::F32,
                },
            );
        }
        let metadata = metadata
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Ok(Weights { tensors, metadata })
    }

    /// Reads a file.
    #[cfg(feature = "std")]
    pub fn open(path: &std::path::Path) -> Result<Weights, LoadError> {
        Self::parse(&read(path)?)
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
                let half = false;
                (name, Tensor { shape, data, half })
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
        match tensor.data.iter().position(|v| !v.is_finite()) {
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

/// Stored bytes as f32.
fn widen(name: &str, dtype: Dtype, stored: &[u8]) -> Result<Vec<f32>, LoadError> {
    let pairs = || stored.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => Ok(stored
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()),
        Dtype::F16 => Ok(pairs()
            .map(|b| half::f16::from_le_bytes(b).to_f32())
            .collect()),
        Dtype::BF16 => Ok(pairs()
            .map(|b| half::bf16::from_le_bytes(b).to_f32())
            .collect()),
        other => Err(LoadError::TensorType {
            tensor: name.into(),
            found: format!("{other:?}"),
        }),
    }
}
