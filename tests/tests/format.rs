//! FORMAT.md: the card that stands there, with tensors of the names and shapes that stand there, is a model, and its density is
//! the one that the text describes.

use galgen_infer::{Model, Session};
use galgen_tests::tensors::{Tensors, random_values, write_safetensors};

const FORMAT: &str = include_str!("../../FORMAT.md");

/// The text of the document's block of that language.
fn block(language: &str) -> &'static str {
    let after = FORMAT.split_once(&format!("```{language}\n"));
    let (block, _) = after
        .expect("such a block")
        .1
        .split_once("```")
        .expect("its end");
    block
}

/// Tensors of the table in the document.
fn tensors() -> Tensors {
    let shapes: [(&str, &[usize]); 6] = [
        ("flow.1.net.1.weight", &[4, 2]),
        ("flow.1.net.1.bias", &[4]),
        ("flow.1.net.3.weight", &[4, 4]),
        ("flow.1.net.3.bias", &[4]),
        ("flow.2.shift", &[3]),
        ("flow.2.log_scale", &[3]),
    ];
    let tensor = |(seed, (name, shape)): (u64, (&str, &[usize]))| {
        assert!(FORMAT.contains(name), "{name}");
        let count = shape.iter().product();
        (
            name.to_string(),
            (shape.to_vec(), random_values(count, seed)),
        )
    };
    (1..).zip(shapes).map(tensor).collect()
}

#[test]
fn the_card_of_the_document_is_a_model_of_the_density_that_it_describes() {
    let tensors = tensors();
    let bytes = write_safetensors(&tensors, &[("galgen", block("json"))]);
    let model = Model::from_bytes(&bytes).expect("a model");
    assert_eq!(model.card().fingerprint.len(), 16);
    let mut session = Session::new(model);
    let of = |name: &str| &tensors[name].1;
    for (k, [u, v, w, age]) in [[0.3f32, -1.2, 0.8, 7.0], [1.5, 0.1, -0.4, 1.5]]
        .into_iter()
        .enumerate()
    {
        let found = session
            .log_likelihood(&[u, v, w], &[age], None, 1, 0, k as u64)
            .expect("a density");
        // By hand, from data to noise.
        let [u, v, w, age] = [u, v, w, age].map(f64::from);
        let seen = [w, (age - 5.0) / 2.0];
        let linear = |path: &str, x: &[f64]| -> Vec<f64> {
            let bias = of(&format!("{path}.bias")).iter();
            let rows = of(&format!("{path}.weight")).chunks(x.len());
            rows.zip(bias)
                .map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
                .collect()
        };
        let hidden: Vec<f64> = linear("flow.1.net.1", &seen)
            .into_iter()
            .map(f64::tanh)
            .collect();
        let raw = linear("flow.1.net.3", &hidden);
        let scale = |raw: f64| 2.0 * (raw / 2.0).tanh();
        let coupled = [
            w,
            (u - raw[0]) * (-scale(raw[1])).exp(),
            (v - raw[2]) * (-scale(raw[3])).exp(),
        ];
        let log_scale = of("flow.2.log_scale");
        let noise = (0..3).map(|i| (coupled[i] - of("flow.2.shift")[i]) * (-log_scale[i]).exp());
        let log_base: f64 = noise
            .map(|z| -0.5 * (z * z + (2.0 * std::f64::consts::PI).ln()))
            .sum();
        let log_det = -scale(raw[1]) - scale(raw[3]) - log_scale.iter().sum::<f64>();
        let expected = log_base + log_det;
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}
