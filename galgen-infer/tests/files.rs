//! Model files that are damaged or lie: one clear error, never a panic, never a large allocation.

use galgen_core::spec::{Role, TensorSpec};
use galgen_infer::error::LoadError;
use galgen_infer::weights::Weights;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Remembers the largest single allocation of each thread.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|n| n.set(n.get().max(layout.size())));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// A file from a header and data, each as it stands.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Two tensors: `a` \[2\] in f32, `b` \[2, 1\] in f16; and a card.
fn good() -> Vec<u8> {
    let header = r#"{"__metadata__":{"card":"text"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]}}"#;
    let mut data = floats(&[1.5, -2.0]);
    data.extend([0x00, 0x3c, 0x00, 0xc0]); // 1, -2
    file(header, &data)
}

fn spec(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        shape: shape.to_vec(),
        role: Role::Bias,
    }
}

fn specs() -> [TensorSpec; 2] {
    [spec("a", &[2]), spec("b", &[2, 1])]
}

#[test]
fn a_good_file() {
    let weights = Weights::parse(good()).unwrap();
    assert_eq!(weights.check(&specs()), Ok(()));
    assert_eq!(weights.get("a").unwrap(), [1.5, -2.0]);
    assert_eq!(weights.get("b").unwrap(), [1.0, -2.0]);
    assert_eq!(weights.metadata("card"), Some("text"));
    assert_eq!(weights.metadata("other"), None);
}

#[test]
fn bf16_is_the_upper_half_of_f32() {
    let header = r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
    let weights = Weights::parse(file(header, &[0x80, 0x3f, 0x40, 0xc0])).unwrap();
    assert_eq!(weights.get("a").unwrap(), [1.0, -3.0]);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = good();
    for len in 0..bytes.len() {
        let error = Weights::parse(&bytes[..len]).expect_err("truncated");
        assert!(error.to_string().len() > 20, "{error}");
    }
    assert_eq!(
        Weights::parse(&bytes[..20]).err(),
        Some(LoadError::Truncated {
            found: 20,
            expected: bytes.len() as u64 - 12
        })
    );
}

#[test]
fn trailing_bytes_are_an_error() {
    let mut bytes = good();
    bytes.push(0);
    assert!(matches!(Weights::parse(&bytes), Err(LoadError::Header(_))));
}

#[test]
fn no_flipped_byte_panics_or_allocates_much() {
    let bytes = good();
    LARGEST.with(|n| n.set(0));
    for at in 0..bytes.len() {
        for flip in [0x01, 0x02, 0x10, 0x20, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            if let Ok(weights) = Weights::parse(&bytes) {
                let _ = (weights.check(&specs()), weights.get("a"), weights.get("b"));
            }
        }
    }
    assert!(LARGEST.with(Cell::get) < 10_000);
}

#[test]
fn lying_headers() {
    let cases = [
        (
            "offsets beyond the file",
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
        ),
        (
            "backward offsets",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        ),
        (
            "a gap",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        ),
        (
            "overlap",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        ),
        (
            "another shape",
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
        ),
        (
            "a huge shape",
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}"#,
        ),
        (
            "an unknown type",
            r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#,
        ),
        ("no JSON", r#"{"a":"#),
        ("no object", "[]"),
        ("nothing", ""),
    ];
    for (what, header) in cases {
        LARGEST.with(|n| n.set(0));
        let result = Weights::parse(file(header, &floats(&[1.0, 2.0])));
        assert!(
            matches!(result, Err(LoadError::Header(_))),
            "{what}: {result:?}"
        );
        assert!(LARGEST.with(Cell::get) < 10_000, "{what}");
    }
    let mut length = good();
    length[7] = 0x7f;
    assert!(matches!(Weights::parse(&length), Err(LoadError::Header(_))));
}

#[test]
fn integers_are_refused_by_name() {
    let header = r#"{"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#;
    let error = Weights::parse(file(header, &[0; 8])).unwrap_err();
    assert_eq!(
        error,
        LoadError::TensorType {
            tensor: "a".into(),
            found: "I32".into()
        }
    );
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named() {
    let weights = Weights::parse(good()).unwrap();
    let [a, b] = specs();
    let check = |specs: &[TensorSpec]| weights.check(specs).unwrap_err();
    assert_eq!(
        check(std::slice::from_ref(&a)),
        LoadError::ExtraTensor { tensor: "b".into() }
    );
    assert_eq!(
        check(&[a.clone(), b, spec("c.weight", &[3, 4])]),
        LoadError::MissingTensor {
            tensor: "c.weight".into(),
            expected: vec![3, 4]
        }
    );
    assert_eq!(
        check(&[a, spec("b", &[1, 2])]),
        LoadError::TensorShape {
            tensor: "b".into(),
            found: vec![2, 1],
            expected: vec![1, 2]
        }
    );
}

#[test]
fn the_first_element_that_is_not_finite_is_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let header = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#;
        let weights = Weights::parse(file(header, &floats(&[1.0, value, value]))).unwrap();
        let error = weights.of_shape("a", &[3]).unwrap_err();
        assert!(matches!(&error, LoadError::NonFinite { tensor, index: 1, .. } if tensor == "a"));
        assert!(error.to_string().contains("tensor a"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = std::path::Path::new("no/such/model.safetensors");
    let error = Weights::open(path).unwrap_err().to_string();
    assert!(error.contains("no/such/model.safetensors"), "{error}");
}
