//! `galgen compare`: samples under one model and under the ratio of two.

use super::*;
use galgen_core::models::{Likelihood, Posterior};
use serde_json::Value as Json;

/// Two samples of one model, and one of noise; images of 12 x 12.
fn bench(name: &str) -> Bench {
    let bench = Bench::new(name);
    let model = random_model::random_vae(Posterior::Gaussian, Likelihood::Bernoulli);
    bench.write("images.safetensors", model);
    for (seed, out) in [(1, "a.fits"), (2, "b.fits")] {
        let draw = format!(
            "generate --model images.safetensors --count 60 --pixels drawn --seed {seed} --out {out}"
        );
        bench.galgen(&draw).succeeds();
    }
    bench
}

const COMPARE: &str =
    "compare --model images.safetensors --draws 2 --sample first=a.fits --sample second=b.fits";

#[test]
fn two_samples_of_one_population_are_told_to_be_one() {
    let bench = bench("compare");
    bench
        .galgen(&format!(
            "{COMPARE} --out r.html --json r.json --property seed"
        ))
        .fails(1, &["seed", "a.fits"]);
    assert_eq!(
        bench
            .outputs()
            .iter()
            .filter(|n| n.starts_with("r."))
            .count(),
        0
    );

    bench
        .galgen(&format!("{COMPARE} --out r.html --json r.json --threads 1"))
        .succeeds();
    let page = String::from_utf8(bench.read("r.html")).expect("text");
    assert!(
        page.contains("<svg")
            && page.contains("data:image/png")
            && !page.contains("http://localhost")
    );
    let json: Json = serde_json::from_slice(&bench.read("r.json")).expect("JSON");
    let [first, second] = &json["samples"].as_array().expect("samples")[..] else {
        panic!("two samples: {json}");
    };
    assert_eq!(
        (&first["auroc"], &first["ks"]),
        (&Json::from(0.5), &Json::from(0.0))
    );
    // 60 against 60: the area under the curve scatters by 0.053.
    let area = second["auroc"].as_f64().expect("a number");
    assert!((area - 0.5).abs() < 0.2, "{area}");
    assert_eq!(second["scored"], 60);

    // The scores are those of `galgen score`, and threads do not matter.
    bench
        .galgen("score --model images.safetensors --draws 2 --stamps b.fits --out s.csv")
        .succeeds();
    let mut reader = csv::Reader::from_path(bench.path("s.csv")).expect("CSV");
    let scores: Vec<f64> = reader
        .deserialize::<std::collections::HashMap<String, String>>()
        .map(|r| {
            r.expect("a record")["log_likelihood"]
                .parse()
                .expect("a number")
        })
        .collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let found = second["mean_log_p"].as_f64().expect("a number");
    assert!((mean - found).abs() < 1e-9 * mean.abs(), "{mean} {found}");
    bench
        .galgen(&format!("{COMPARE} --out t.html --json t.json --threads 3"))
        .succeeds();
    assert_eq!(bench.read("r.json"), bench.read("t.json"));

    // A model against itself has no preference.
    bench
        .galgen(&format!(
            "{COMPARE} --against images.safetensors --out u.html --json u.json"
        ))
        .succeeds();
    let json: Json = serde_json::from_slice(&bench.read("u.json")).expect("JSON");
    assert_eq!(json["samples"][1]["mean"], 0.0);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let bench = bench("compare-bad");
    let compare = "compare --model images.safetensors --out r.html";
    for (rest, words) in [
        ("--sample a=a.fits", ["one --sample", "reference"]),
        ("--sample a=a.fits --sample a=b.fits", ["a", "own name"]),
        ("--sample a=a.fits --sample b.fits", ["b.fits", "observed="]),
        (
            "--sample a=a.fits --sample b=b.fits --labels c=a.fits",
            ["c", "a, b"],
        ),
    ] {
        bench.galgen(&format!("{compare} {rest}")).fails(2, &words);
    }
    bench
        .galgen(
            "compare --model images.safetensors --sample a=a.fits --sample b=b.fits --out a.fits",
        )
        .fails(2, &["a.fits", "twice"]);
    bench
        .galgen(&format!("{compare} --sample a=a.fits --sample b=none.fits"))
        .fails(1, &["none.fits"]);
    assert!(!bench.path("r.html").exists());
}
