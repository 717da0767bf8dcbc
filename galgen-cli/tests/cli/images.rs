//! Models of plain images: drawing, encoding, decoding, scoring.

use super::*;
use galgen_core::models::{Likelihood, Posterior};

const CLASSES: &str = "generate --model images.safetensors";

/// A folder with models of 12 x 12 images in the classes E, S0, Sb.
fn bench(name: &str) -> Bench {
    let bench = Bench::new(name);
    let deviation = Likelihood::Gaussian { deviation: 0.2 };
    for (file, posterior, likelihood) in [
        (
            "images.safetensors",
            Posterior::Gaussian,
            Likelihood::Bernoulli,
        ),
        ("plain.safetensors", Posterior::Point, deviation),
    ] {
        bench.write(file, random_model::random_vae(posterior, likelihood));
    }
    bench
}

fn records(bench: &Bench, name: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(bench.path(name)).expect("CSV");
    reader.deserialize().map(|r| r.expect("a record")).collect()
}

fn stamps(bench: &Bench, name: &str) -> Vec<f32> {
    let mut file = StampFile::open(bench.path(name)).expect("stamps");
    let mut pixels = vec![0.0; file.count() * file.stamp_len()];
    file.read(0, &mut pixels).expect("pixels");
    pixels
}

#[test]
fn images_are_drawn_scored_encoded_and_decoded() {
    let bench = bench("images");
    bench
        .galgen(&format!(
            "{CLASSES} --count 7 --pixels drawn --out i.fits --png i.png"
        ))
        .succeeds();
    let pixels = stamps(&bench, "i.fits");
    assert_eq!(pixels.len(), 7 * 144);
    assert!(pixels.iter().all(|&p| p == 0.0 || p == 1.0));
    // The same ids and classes from a catalogue, in parts.
    bench.write(
        "cat-images.csv",
        "id,type\n0,E\n1,S0\n2,Sb\n3,E\n4,S0\n5,Sb\n6,E\n",
    );
    let again =
        format!("{CLASSES} --catalog cat-images.csv --pixels drawn --njobs 2 --job 2 --out j.fits");
    bench.galgen(&again).succeeds();
    let part = stamps(&bench, "j.fits");
    assert!(pixels.ends_with(&part) && part.len() == 4 * 144);
    // One class for all.
    bench
        .galgen(&format!(
            "{CLASSES} --count 2 --column type=Sb --out k.fits"
        ))
        .succeeds();

    let score = "score --model images.safetensors --draws 3 --stamps i.fits --out s.csv";
    bench.galgen(score).succeeds();
    let rows = records(&bench, "s.csv");
    assert_eq!(rows[4]["type"], "S0");
    for name in [
        "log_likelihood",
        "elbo",
        "log_prob_latent",
        "reconstruction_error",
    ] {
        assert!(rows[0][name].parse::<f64>().expect("a number").is_finite());
    }
    let encode = "encode --model images.safetensors --stamps i.fits";
    for (out, back) in [("z.csv", "d.fits"), ("z.fits", "e.fits")] {
        bench.galgen(&format!("{encode} --out {out}")).succeeds();
        let decode = format!("decode --model images.safetensors --latents {out} --out {back}");
        bench.galgen(&decode).succeeds();
    }
    bench
        .galgen("reconstruct --model images.safetensors --stamps i.fits --out r.fits --png r.png")
        .succeeds();
    let made = stamps(&bench, "r.fits");
    assert_eq!(made, stamps(&bench, "d.fits"));
    assert_eq!(made, stamps(&bench, "e.fits"));
}

#[test]
fn a_plain_autoencoder_scores_its_reconstruction() {
    let bench = bench("plain");
    bench
        .galgen("generate --model plain.safetensors --count 3 --out i.fits")
        .succeeds();
    bench
        .galgen("score --model plain.safetensors --stamps i.fits --out s.csv")
        .succeeds();
    let rows = records(&bench, "s.csv");
    assert!(!rows[0].contains_key("log_likelihood"));
    assert!(rows[0]["reconstruction_error"].parse::<f64>().unwrap() >= 0.0);
    assert!(
        rows[0]["log_prob_latent"]
            .parse::<f64>()
            .unwrap()
            .is_finite()
    );
}

#[test]
fn stamps_of_a_flow_vae_are_encoded_and_decoded() {
    let bench = Bench::new("code");
    bench.generate("--out g.fits --frame galaxy").succeeds();
    bench
        .galgen("encode --model model.safetensors --stamps g.fits --out z.csv")
        .succeeds();
    bench
        .galgen("decode --model model.safetensors --latents z.csv --out d.fits")
        .succeeds();
    bench
        .galgen("reconstruct --model model.safetensors --stamps g.fits --out r.fits")
        .succeeds();
    let (unit, made) = (stamps(&bench, "d.fits"), stamps(&bench, "r.fits"));
    let flux = 10.0;
    for (a, b) in unit.iter().zip(&made).take(256) {
        assert!((flux * a - b).abs() <= 1e-5 * flux, "{a}, {b}");
    }
    // What was decoded can be scored.
    bench
        .galgen("score --model model.safetensors --draws 2 --stamps d.fits --out s.csv")
        .succeeds();
}

#[test]
fn labels_and_bits_come_from_files() {
    let bench = bench("labels");
    let idx = |shape: &[u8], values: Vec<u8>| {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|&n| [0, 0, 0, n]));
        bytes.extend(values);
        bytes
    };
    let grey = (0..3 * 144).map(|i| (i % 256) as u8).collect();
    bench.write("grey", idx(&[3, 12, 12], grey));
    bench.write("types.csv", "type\nSb\nE\nS0\n");
    let score = "score --model images.safetensors --draws 2 --stamps grey --labels types.csv";
    bench
        .galgen(&format!("{score} --binarise 0 --out s.csv"))
        .succeeds();
    assert_eq!(records(&bench, "s.csv")[0]["type"], "Sb");
    let grey = bench.galgen(&format!("{score} --out t.csv"));
    grey.fails(3, &["expected 0 or 1: binarise"]);
    bench.write("short.csv", "type\nSb\n");
    bench.write("wrong.csv", "type\nSb\nSq\nE\n");
    for (file, expected) in [
        (
            "short.csv",
            "1 labels, expected one for each of the 3 stamps",
        ),
        (
            "wrong.csv",
            "row 1: type is \"Sq\", expected one of E, S0, Sb",
        ),
        ("none.csv", "none.csv"),
    ] {
        let run = bench.galgen(&format!(
            "encode --model images.safetensors --stamps grey --labels {file} --out z.csv"
        ));
        run.fails(1, &[expected]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let bench = bench("refused");
    for (arguments, code, expected) in [
        (
            "--count 3 --column type=Sq --out a.fits",
            2,
            "type is \"Sq\", expected one of E, S0, Sb",
        ),
        (
            "--count 3 --column kind=E --out a.fits",
            2,
            "no condition of that name",
        ),
        ("--count 3 --frame galaxy --out a.fits", 2, "for galaxies"),
        ("--out a.fits", 2, "--catalog"),
    ] {
        let run = bench.galgen(&format!("{CLASSES} {arguments}"));
        run.fails(code, &[expected]);
    }
    let run = bench.galgen("generate --model model.safetensors --count 3 --out a.fits");
    run.fails(2, &["give their sizes"]);
    bench.generate("--out g.fits --frame galaxy").succeeds();
    let run = bench.galgen("encode --model images.safetensors --stamps g.fits --out z.csv");
    run.fails(1, &["the model has 1 band(s), 12 x 12"]);
    bench.write(
        "z.csv",
        "z0,z1,z2,z3,z4,z5,type\n0,0,0,0,0,x,E\n0,0,0,0,0,1,E\n",
    );
    let run = bench.galgen("decode --model images.safetensors --latents z.csv --out d.fits");
    run.fails(3, &["z5 is x, expected a number"]);
    bench.write("z.csv", "z0,z1,type\n0,0,E\n");
    let run = bench.galgen("decode --model images.safetensors --latents z.csv --out d.fits");
    run.fails(1, &["no column `z2`"]);
}
