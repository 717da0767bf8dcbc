//! Named tensors, and the safetensors format read without the safetensors crate.

pub use galgen_specimens::tensors::{Tensors, random_values, random_weights, write_safetensors};

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Tensors and metadata of a safetensors file that holds F16, F32 and F64 only. Panics on anything else:
/// it reads this project's goldens.
pub fn read_safetensors(bytes: &[u8]) -> (Tensors, BTreeMap<String, String>) {
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize;
    let (header, data) = rest.split_at(length);
    let mut header: Map<String, Value> = serde_json::from_slice(header).expect("header is JSON");
    let metadata = header.remove("__metadata__").map(serde_json::from_value);
    let metadata = metadata
        .unwrap_or_else(|| Ok(BTreeMap::new()))
        .expect("metadata are strings");
    let mut tensors = Tensors::new();
    for (name, entry) in header {
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).expect("shape");
        let [start, end]: [usize; 2] =
            serde_json::from_value(entry["data_offsets"].clone()).expect("offsets");
        let raw = &data[start..end];
        let values: Vec<f64> = match entry["dtype"].as_str() {
            Some("F16") => raw
                .chunks_exact(2)
                .map(|b| half(u16::from_le_bytes(b.try_into().expect("2 bytes"))))
                .collect(),
            Some("F32") => raw
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))))
                .collect(),
            Some("F64") => raw
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")))
                .collect(),
            other => panic!("tensor {name} has type {other:?}"),
        };
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "elements of {name}"
        );
        tensors.insert(name, (shape, values));
    }
    (tensors, metadata)
}

/// The value of an IEEE 754 half: sign, 5 bits of exponent, 10 of significand.
fn half(bits: u16) -> f64 {
    let (exponent, significand) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        31 => panic!("a golden is infinite or not a number"),
        0 => significand * 2f64.powi(-24),
        _ => (1024.0 + significand) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[test]
fn halves_are_read() {
    let values = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x8000, 0x3555].map(half);
    let third = 1365.0 / 4096.0;
    assert_eq!(values, [1.0, -2.0, 65504.0, 2f64.powi(-24), 0.0, third]);
}
