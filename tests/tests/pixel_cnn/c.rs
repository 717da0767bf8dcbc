//! The same through the C interface.

use super::preset;
use super::programs::{Link, compile, compiler, folder, succeed};
use galgen_core::models::{Body, Head};
use galgen_infer::{Model, Pixels, Session};
use galgen_tests::model::{classes, random_pixel_cnn};
use std::fmt::Write as _;
use std::process::Command;

/// 64-bit FNV-1a of the bytes, as in `tests/c/pixels.c`.
fn hash(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn c_and_rust_agree() {
    const SEED: u64 = 7;
    let Some(cc) = compiler("CC", "cc") else {
        return;
    };
    let folder = folder("pixels");
    let head = Head::DiscretisedLogistic {
        components: 2,
        levels: 256,
    };
    let bytes = random_pixel_cnn(preset(Body::PlusPlus, 1, 4, head), 10, classes(), 3);
    let path = folder.join("pixels.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let program = compile(&cc, "-std=c99", "c/pixels.c", Link::Static, &folder);
    let found = succeed(Command::new(program).arg(&path));

    let model = Model::from_bytes(&bytes).unwrap();
    let mut s = Session::new(model);
    let [mut drawn, mut predicted, mut parameters, mut completed] = [(); 4].map(|()| Vec::new());
    let mut scores = Vec::new();
    let given: Vec<bool> = (0..100).map(|i| i < 50).collect();
    for id in 0..3 {
        let kind = [id as f32];
        let (mut image, mut out) = (vec![0.0; 100], vec![0.0; 100]);
        s.sample_image(SEED, id, &kind, Pixels::Drawn, &mut image)
            .unwrap();
        drawn.extend_from_slice(&image);
        s.reconstruct(&image, &kind, &mut out).unwrap();
        predicted.extend_from_slice(&out);
        let mut natural = vec![0.0; 600];
        s.pixel_parameters(&image, &kind, false, &mut natural)
            .unwrap();
        parameters.extend(natural);
        s.complete(SEED + 1, id, &kind, &image, &given, &mut out)
            .unwrap();
        completed.extend_from_slice(&out);
        scores.push(s.log_likelihood(&image, &kind, None, 1, 0, 0).unwrap());
    }
    let mut expected = String::new();
    for (name, values) in [
        ("drawn", &drawn),
        ("predicted", &predicted),
        ("parameters", &parameters),
        ("completed", &completed),
    ] {
        writeln!(expected, "{name} {:016x}", hash(values)).unwrap();
    }
    let (start, end) = found.split_at(expected.len());
    assert_eq!(start, expected);
    let found: Vec<f64> = end.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(found, scores);
}
