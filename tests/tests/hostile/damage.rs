//! What is damaged or lying in a model file besides its card.

use super::{exercise, load, refused};
use galgen_core::card::METADATA_KEY;
use galgen_core::rng::{Philox, Stream};
use galgen_tests::model::random_model;
use galgen_tests::tensors::{read_safetensors, write_safetensors};

#[test]
fn truncated_and_lengthened_files_are_refused() {
    let bytes = random_model(16, 1);
    for i in 0..200 {
        let end = if i < 20 {
            i
        } else {
            bytes.len() * (i - 20) / 180
        };
        refused("truncated", &bytes[..end.min(bytes.len() - 1)]);
    }
    refused("a byte more", &[&bytes[..], &[0]].concat());
    for length in [0, 1, 1 << 20, u64::MAX / 2, u64::MAX - 8, u64::MAX] {
        let mut lying = bytes.clone();
        lying[..8].copy_from_slice(&length.to_le_bytes());
        refused("lying length", &lying);
    }
}

/// Bytes of the header are changed at random: an error, or a model that still draws.
#[test]
fn flipped_header_bytes_do_no_harm() {
    let bytes = random_model(16, 1);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut rng = Philox::new(2, 0, Stream::Training);
    let mut at = |n: usize| (rng.uniform() * n as f64) as usize % n;
    const LETTERS: &[u8] = b"0123456789{}[]\",:.-e\\ \x00\xff";
    for i in 0..600 {
        let mut flipped = bytes.clone();
        for _ in 0..1 + i % 3 {
            flipped[8 + at(header)] = LETTERS[at(LETTERS.len())];
        }
        if let Ok(model) = load("flipped", &flipped) {
            exercise("flipped", model);
        }
    }
}

#[test]
fn absurd_weights_give_errors_or_galaxies() {
    let bytes = random_model(16, 1);
    let (tensors, metadata) = read_safetensors(&bytes);
    let card = metadata[METADATA_KEY].as_str();
    for name in tensors.keys() {
        for value in [
            f64::NAN,
            f64::INFINITY,
            1e38,
            -1e38,
            3e38,
            1e20,
            1e-45,
            -0.0,
        ] {
            for all in [false, true] {
                let mut damaged = tensors.clone();
                let values = &mut damaged.get_mut(name).unwrap().1;
                let count = if all { values.len() } else { 1 };
                values[..count].fill(value);
                let what = format!("{value} in {name}");
                match load(&what, &write_safetensors(&damaged, &[(METADATA_KEY, card)])) {
                    Ok(model) => {
                        assert!(value.is_finite(), "{what}: accepted");
                        exercise(&what, model);
                    }
                    Err(error) => assert!(error.to_string().contains(name), "{error}"),
                }
            }
        }
    }
}

#[test]
fn lying_tensors_are_refused_by_name() {
    let bytes = random_model(16, 1);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    let with = |header: String, extra: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes().chain(bytes[8 + length..].iter().copied()));
        file.resize(file.len() + extra, 0);
        file
    };
    let end = bytes.len() - 8 - length;
    let extra = format!("\"data_offsets\":[{end},{}]", end + 4);
    let long = format!(
        "{{\"{}\":{{\"dtype\":\"F32\",\"shape\":[1],{extra}}},",
        "n".repeat(100_000)
    );
    let deep = format!(
        "{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{}1],{extra}}},",
        "1,".repeat(100_000)
    );
    let cases = [
        (
            "extra",
            header.replacen(
                '{',
                &format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":[1],{extra}}},"),
                1,
            ),
            4,
        ),
        ("long name", header.replacen('{', &long, 1), 4),
        ("many dimensions", header.replacen('{', &deep, 1), 4),
        ("F64", header.replacen("\"F32\"", "\"F64\"", 1), 0),
        ("I32", header.replacen("\"F32\"", "\"I32\"", 1), 0),
        ("no such type", header.replacen("\"F32\"", "\"F128\"", 1), 0),
        (
            "overlapping",
            header.replacen("\"data_offsets\":[0,", "\"data_offsets\":[4,", 1),
            0,
        ),
        (
            "huge offsets",
            header.replace(&format!(",{end}]"), ",18446744073709551615]"),
            0,
        ),
        (
            "a shape that overflows",
            header.replacen(
                "\"shape\":[",
                "\"shape\":[18446744073709551615,4294967296,",
                1,
            ),
            0,
        ),
        (
            "a negative shape",
            header.replacen("\"shape\":[", "\"shape\":[-", 1),
            0,
        ),
    ];
    for (what, header, extra) in cases {
        refused(what, &with(header, extra));
    }
    let (mut tensors, metadata) = read_safetensors(&bytes);
    let metadata = [(METADATA_KEY, metadata[METADATA_KEY].as_str())];
    let first = tensors.keys().next().unwrap().clone();
    let (shape, values) = tensors.remove(&first).unwrap();
    let error = refused("missing", &write_safetensors(&tensors, &metadata));
    assert!(error.to_string().contains(&first), "{error}");
    let turned = shape.iter().rev().copied().chain([1]).collect();
    tensors.insert(first.clone(), (turned, values));
    let error = refused("misshapen", &write_safetensors(&tensors, &metadata));
    assert!(error.to_string().contains(&first), "{error}");
}
