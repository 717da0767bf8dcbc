//! Stamps of a training set of `galgen-train prepare`: a safetensors file with the tensors `stamps`
//! (f32 `[N, bands, side, side]`), `id` (i64 `[N]`) and one f32 `[N]` for each measured quantity.

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Longest header read; a training set's has some 5 kB.
const MAX_HEADER: u64 = 16 << 20;

/// An open training set.
pub struct TrainingSet {
    file: File,
    header: Metadata,
    data_start: u64,
    /// N, bands, height, width.
    pub shape: [usize; 4],
}

impl TrainingSet {
    /// Opens a set; the text of an error does not name the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let io = |e: std::io::Error| format!("cannot read: {e}");
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut prefix = [0u8; 8];
        file.read_exact(&mut prefix).map_err(io)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER.min(length.saturating_sub(8)) {
            let problem = "not a safetensors file, or truncated";
            return Err(format!(
                "{problem}: a header of {header_len} bytes in a file of {length}"
            ));
        }
        let mut json = vec![0; header_len as usize];
        file.read_exact(&mut json).map_err(io)?;
        let header: Metadata =
            serde_json::from_slice(&json).map_err(|e| format!("not a safetensors file: {e}"))?;
        let data_start = 8 + header_len;
        for (name, tensor) in header.tensors() {
            check(&name, tensor, length - data_start)?;
        }
        let shape = match header.info("stamps") {
            Some(t) if t.dtype == Dtype::F32 => <[usize; 4]>::try_from(&t.shape[..]).ok(),
            _ => None,
        };
        let shape = shape.filter(|s| !s.contains(&0)).ok_or(
            "no tensor `stamps` of f32 [N, bands, side, side]: expected a training set of `galgen-train prepare`",
        )?;
        Ok(Self {
            file,
            header,
            data_start,
            shape,
        })
    }

    /// A number per stamp: `None` if there is no such tensor of f32 `[N]`.
    pub fn column(&mut self, name: &str) -> Result<Option<Vec<f64>>, String> {
        let Some(bytes) = self.vector(name, Dtype::F32)? else {
            return Ok(None);
        };
        Ok(Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
        ))
    }

    /// The ids, if there are any.
    pub fn ids(&mut self) -> Result<Option<Vec<u64>>, String> {
        let Some(bytes) = self.vector("id", Dtype::I64)? else {
            return Ok(None);
        };
        Ok(Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b) as u64)
                .collect(),
        ))
    }

    /// Point-spread functions `[N, p, p]` with their side p, if the set has any.
    pub fn psf(&mut self) -> Result<Option<(Vec<f32>, usize)>, String> {
        let Some(info) = self.header.info("psf") else {
            return Ok(None);
        };
        let (start, end) = info.data_offsets;
        let &[n, p, q] = &info.shape[..] else {
            return Err(format!(
                "tensor psf of shape {:?}, expected [N, p, p]",
                info.shape
            ));
        };
        if info.dtype != Dtype::F32 || n != self.shape[0] || p != q {
            let (shape, stamps) = (&info.shape, self.shape[0]);
            return Err(format!(
                "tensor psf of shape {shape:?}, expected f32 [{stamps}, p, p]"
            ));
        }
        let bytes = self.bytes(start, end - start)?;
        let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        Ok(Some((values.collect(), p)))
    }

    fn vector(&mut self, name: &str, dtype: Dtype) -> Result<Option<Vec<u8>>, String> {
        let Some(info) = self.header.info(name) else {
            return Ok(None);
        };
        if info.dtype != dtype || info.shape != [self.shape[0]] {
            return Ok(None);
        }
        let (start, end) = info.data_offsets;
        self.bytes(start, end - start).map(Some)
    }

    /// Fills `out` with whole stamps from `first` on.
    pub fn read(&mut self, first: usize, out: &mut [f32]) -> Result<(), String> {
        let start = self
            .header
            .info("stamps")
            .expect("checked in open")
            .data_offsets
            .0;
        let len: usize = self.shape[1..].iter().product();
        let bytes = self.bytes(start + 4 * first * len, 4 * out.len())?;
        for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    fn bytes(&mut self, start: usize, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|e| format!("cannot read: {e}"))?;
        Ok(bytes)
    }
}

/// The bytes of a tensor lie within the `available` ones and are as many as its shape needs.
fn check(name: &str, tensor: &TensorInfo, available: u64) -> Result<(), String> {
    let (start, end) = tensor.data_offsets;
    let numbers = tensor
        .shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let needed = numbers.and_then(|n| n.checked_mul(tensor.dtype.bitsize() / 8));
    if end as u64 > available {
        return Err(format!(
            "truncated: tensor {name} ends at byte {end} of {available}"
        ));
    }
    if end.checked_sub(start) != needed {
        let shape = &tensor.shape;
        return Err(format!(
            "tensor {name} of shape {shape:?} occupies bytes {start}..{end}"
        ));
    }
    Ok(())
}
