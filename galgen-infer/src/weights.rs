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
use safetensors::{Dtype, SafeTensors};

/// Bytes of the header length at the start of a safetensors file.
const PREFIX: usize = 8;

#[derive(Clone, Debug)]
struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
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
        check_length(bytes)?;
        let bad = |e: safetensors::SafeTensorError| LoadError::Header(format!("{e}"));
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(bad)?;
        let data = &bytes[PREFIX + header..];
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let stored = data.get(start..end).ok_or_else(|| {
                LoadError::Header(format!(
                    "tensor {name} occupies bytes {start}..{end} of {}",
                    data.len()
                ))
            })?;
            let data = widen(&name, info.dtype, stored)?;
            tensors.insert(
                name,
                Tensor {
                    shape: info.shape.clone(),
                    data,
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
        let bytes = std::fs::read(path).map_err(|e| LoadError::Io {
            path: path.display().to_string(),
            cause: e.to_string(),
        })?;
        Self::parse(&bytes)
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
                (name, Tensor { shape, data })
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

/// The prefix and the header lie within the file.
fn check_length(bytes: &[u8]) -> Result<(), LoadError> {
    let found = bytes.len() as u64;
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
        return Err(LoadError::Truncated {
            found,
            expected: PREFIX as u64,
        });
    };
    let expected = u64::from_le_bytes(*prefix).saturating_add(PREFIX as u64);
    if expected > found {
        return Err(LoadError::Truncated { found, expected });
    }
    Ok(())
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
