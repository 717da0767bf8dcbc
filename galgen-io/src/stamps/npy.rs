//! Headers of NumPy `.npy` files (format versions 1 to 3): type, order and shape.

use std::fs::File;
use std::io::{Read, Seek};

/// Longest header read, in bytes; a header of four axes needs about 100.
const MAX_HEADER: u32 = 1 << 16;

/// Type of the numbers and shape of an array file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NpyHeader {
    /// 4 or 8 bytes per number.
    pub size: usize,
    pub big_endian: bool,
    pub shape: Vec<u64>,
    pub data_start: u64,
}

/// Reads the header at the start of the file; the text says what is wrong.
pub(super) fn read_header(file: &mut File) -> Result<NpyHeader, String> {
    let io = |e: std::io::Error| format!("cannot read the header: {e}");
    let mut head = [0u8; 8];
    file.read_exact(&mut head).map_err(io)?;
    let length = if head[6] == 1 {
        let mut n = [0u8; 2];
        file.read_exact(&mut n).map_err(io)?;
        u32::from(u16::from_le_bytes(n))
    } else {
        let mut n = [0u8; 4];
        file.read_exact(&mut n).map_err(io)?;
        u32::from_le_bytes(n)
    };
    if length > MAX_HEADER {
        return Err(format!(
            "a header of {length} bytes: expected at most {MAX_HEADER}"
        ));
    }
    let mut text = vec![0u8; length as usize];
    file.read_exact(&mut text).map_err(io)?;
    let data_start = file.stream_position().map_err(io)?;
    parse(&String::from_utf8_lossy(&text), data_start)
}

fn parse(text: &str, data_start: u64) -> Result<NpyHeader, String> {
    let kind = field(text, "descr").unwrap_or_default();
    let (size, big_endian) = match kind.trim_matches(['\'', '"']) {
        "<f4" => (4, false),
        ">f4" => (4, true),
        "<f8" => (8, false),
        ">f8" => (8, true),
        other => {
            return Err(format!(
                "array of type `{other}`: expected float32 or float64 (`astype('f4')`)"
            ));
        }
    };
    if field(text, "fortran_order").as_deref() != Some("False") {
        return Err("array in Fortran order: save `numpy.ascontiguousarray(a)`".into());
    }
    let shape = field(text, "shape").unwrap_or_default();
    let shape: Option<Vec<u64>> = shape
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().ok())
        .collect();
    let shape = shape.ok_or("the shape in the header is not a list of integers")?;
    Ok(NpyHeader {
        size,
        big_endian,
        shape,
        data_start,
    })
}

/// The value of a key of the header's dictionary, as text.
fn field(text: &str, key: &str) -> Option<String> {
    let at = text.find(&format!("'{key}'"))? + key.len() + 2;
    let rest = text[at..].trim_start().strip_prefix(':')?.trim_start();
    let end = if rest.starts_with('(') {
        rest.find(')')? + 1
    } else {
        rest.find([',', '}'])?
    };
    Some(rest[..end].trim().to_string())
}
