//! Named tensors: random ones for a spec, and the safetensors format, written without the safetensors crate so
//! that the loaders of the engines are judged as well.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Role, TensorSpec};
use serde_json::{Map, Value, json};

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
            Role::Weight { fan_in } => (0.0, 1.0 / libm::sqrt(fan_in as f64)),
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
