//! Arrays in the IDX format of MNIST (LeCun, Cortes and Burges), plain or compressed with gzip: two zero bytes,
//! the type, the number of axes, their lengths as big-endian 32-bit numbers, and the values.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Most bytes of an array: the training images of MNIST have 47 million.
const MAX_BYTES: u64 = 1 << 31;
/// Type code of unsigned bytes, the one that is read.
const UNSIGNED_BYTE: u8 = 8;

/// An array of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// Lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<u8>,
}

/// A file that is no such array.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct IdxError {
    /// File concerned.
    pub path: PathBuf,
    /// What was found and what was expected.
    pub reason: String,
}

/// Whether a file that begins with these bytes may be an array, or is compressed.
pub fn is_idx(start: &[u8]) -> bool {
    matches!(start, [0, 0, UNSIGNED_BYTE, 1..=4, ..] | [0x1f, 0x8b, ..])
}

/// Reads a whole array of unsigned bytes.
///
/// # Errors
/// [`IdxError`] when the file cannot be read, is no array of bytes, or has another length than its axes say.
pub fn read(path: impl AsRef<Path>) -> Result<Idx, IdxError> {
    let path = path.as_ref();
    let fail = |reason: String| IdxError {
        path: path.into(),
        reason,
    };
    let io = |e: std::io::Error| fail(format!("cannot read: {e}"));
    let mut start = [0; 2];
    let mut file = File::open(path).map_err(io)?;
    file.read_exact(&mut start).map_err(io)?;
    let file = File::open(path).map_err(io)?;
    let mut content: Box<dyn Read> = match start {
        [0x1f, 0x8b] => Box::new(GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut magic = [0; 4];
    content.read_exact(&mut magic).map_err(io)?;
    let [0, 0, UNSIGNED_BYTE, axes @ 1..=4] = magic else {
        return Err(fail(format!(
            "begins with {magic:?}, expected an IDX array of bytes: 0, 0, 8 and 1 to 4 axes"
        )));
    };
    let mut shape = Vec::new();
    for _ in 0..axes {
        let mut length = [0; 4];
        content.read_exact(&mut length).map_err(io)?;
        shape.push(u32::from_be_bytes(length) as usize);
    }
    let expected = shape.iter().try_fold(1u64, |n, &l| n.checked_mul(l as u64));
    let Some(expected) = expected.filter(|n| (1..=MAX_BYTES).contains(n)) else {
        return Err(fail(format!(
            "an array of shape {shape:?}, expected 1 to {MAX_BYTES} values"
        )));
    };
    let mut values = Vec::new();
    content
        .take(expected + 1)
        .read_to_end(&mut values)
        .map_err(io)?;
    if values.len() as u64 != expected {
        let found = if values.len() as u64 > expected {
            "more"
        } else {
            "fewer"
        };
        return Err(fail(format!(
            "{found} values than the {expected} of its shape {shape:?}: copy or download the file again"
        )));
    }
    Ok(Idx { shape, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn array(values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend(values);
        bytes
    }

    #[test]
    fn plain_and_compressed_arrays_are_the_same() {
        let dir = crate::test_dir("idx");
        let expected = Idx {
            shape: vec![2, 3],
            values: (1..=6).collect(),
        };
        let bytes = array(&expected.values);
        std::fs::write(dir.join("plain"), &bytes).unwrap();
        assert_eq!(read(dir.join("plain")).unwrap(), expected);
        let file = File::create(dir.join("packed")).unwrap();
        let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        packer.finish().unwrap();
        assert_eq!(read(dir.join("packed")).unwrap(), expected);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let dir = crate::test_dir("idx-bad");
        let huge = vec![0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255];
        for (bytes, expected) in [
            (array(&[1; 5]), "fewer values than the 6"),
            (array(&[1; 7]), "more values than the 6"),
            (vec![0, 0, 13, 1, 0, 0, 0, 1, 0], "an IDX array of bytes"),
            (huge, "expected 1 to"),
            (vec![0], "cannot read"),
            (vec![0x1f, 0x8b, 1, 2, 3], "cannot read"),
        ] {
            let path = dir.join("bad");
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
