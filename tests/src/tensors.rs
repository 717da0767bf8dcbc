//! Named tensors: random ones for a spec, and the safetensors format, written and read here without
//! the safetensors crate so that the loaders of the engines are judged as well.

use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Role, TensorSpec};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// (shape, elements in row-major order) by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// Random weights for the tensors of a spec: weights of variance 1 / fan-in, so that activations
/// stay of order one through any depth; biases of standard deviation 0.2; gains about 1. All are f32
/// values, so that engines and referee compute with the same numbers.
pub fn random_weights(specs: &[TensorSpec], seed: u64) -> Tensors {
    let mut tensors = Tensors::new();
    for (id, spec) in specs.iter().enumerate() {
        let mut rng = Philox::new(seed, id as u64, Stream::Training);
        let (mean, deviation) = match spec.role {
            Role::Weight { fan_in } => (0.0, 1.0 / (fan_in as f64).sqrt()),
            Role::Bias => (0.0, 0.2),
            Role::Gain => (1.0, 0.2),
        };
        let n = spec.shape.iter().product();
        let values = (0..n)
            .map(|_| f64::from((mean + deviation * rng.normal()) as f32))
            .collect();
        let earlier = tensors.insert(spec.name.clone(), (spec.shape.clone(), values));
        assert!(earlier.is_none(), "two tensors are called {}", spec.name);
    }
    tensors
}

/// `n` standard normal values, rounded to f32.
pub fn random_values(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Philox::new(seed, 0, Stream::Noise);
    (0..n).map(|_| f64::from(rng.normal() as f32)).collect()
}

/// The bytes of a safetensors file with `tensors` as F32 and string `metadata`.
pub fn write_safetensors(tensors: &Tensors, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(
            "__metadata__".into(),
            metadata.iter().copied().map(pair).collect(),
        );
    }
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|&v| (v as f32).to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The format pads the header with spaces so that the data are aligned to 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn pair((key, value): (&str, &str)) -> (String, Value) {
    (key.to_string(), Value::from(value))
}

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
