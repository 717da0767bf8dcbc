//! Named tensors to and from safetensors files.

use candle_core::{DType, Device, Result, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};

/// A safetensors file in memory. f32, f64 and f16 tensors are stored as they are, others refused.
pub fn to_bytes(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        buffers.push((name, tensor.dims().to_vec(), bytes_of(tensor)?));
    }
    let views = buffers
        .iter()
        .map(|(name, shape, (dtype, bytes))| {
            let view =
                TensorView::new(*dtype, shape.clone(), bytes).map_err(candle_core::Error::wrap)?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(metadata)).map_err(candle_core::Error::wrap)
}

fn bytes_of(tensor: &Tensor) -> Result<(Dtype, Vec<u8>)> {
    let flat = tensor.flatten_all()?.to_device(&Device::Cpu)?;
    Ok(match tensor.dtype() {
        DType::F32 => (
            Dtype::F32,
            flat.to_vec1::<f32>()?
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        ),
        DType::F64 => (
            Dtype::F64,
            flat.to_vec1::<f64>()?
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        ),
        DType::F16 => (
            Dtype::F16,
            flat.to_vec1::<half::f16>()?
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        ),
        other => candle_core::bail!("tensors of type {other:?} are not written"),
    })
}

/// All f32 and f64 tensors of a file, and its metadata.
pub fn from_bytes(bytes: &[u8]) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(candle_core::Error::wrap)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes).map_err(candle_core::Error::wrap)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let tensor = match view.dtype() {
            Dtype::F32 => {
                let values: Vec<f32> = data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f32::from_le_bytes(b))
                    .collect();
                Tensor::from_vec(values, view.shape(), &Device::Cpu)?
            }
            Dtype::F64 => {
                let values: Vec<f64> = data
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f64::from_le_bytes(b))
                    .collect();
                Tensor::from_vec(values, view.shape(), &Device::Cpu)?
            }
            other => candle_core::bail!("tensor `{name}` is {other:?}, expected F32 or F64"),
        };
        tensors.insert(name, tensor);
    }
    Ok((tensors, metadata))
}
