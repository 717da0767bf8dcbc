//! Autoregressive models: drawing, scores with maps, reconstructions, completions.

use super::*;

fn bench(name: &str) -> Bench {
    let bench = Bench::new(name);
    bench.write("pixels.safetensors", random_model::random_pixel_cnn());
    let draw = "generate --model pixels.safetensors --count 6 --seed 3 --out i.fits --png i.png";
    bench.galgen(draw).succeeds();
    bench
}

fn numbers_of(bench: &Bench, name: &str, column: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(bench.path(name)).expect("CSV");
    let rows = reader.deserialize::<std::collections::HashMap<String, String>>();
    let value = |r: Result<std::collections::HashMap<String, String>, csv::Error>| {
        r.expect("a record")[column].parse().expect("a number")
    };
    rows.map(value).collect()
}

#[test]
fn maps_add_up_to_the_scores() {
    let bench = bench("pixel-maps");
    let images = pixels(&bench.path("i.fits"));
    // A draw of pixels without being asked for.
    let level = |&p: &f32| (8.0 * p).fract() == 0.0;
    assert!(images.iter().flatten().all(level));
    let score =
        "score --model pixels.safetensors --stamps i.fits --out s.csv --maps m.fits --png m.png";
    // These weights are of 16 bits: a density of them must be asked for.
    bench
        .galgen(score)
        .fails(1, &["16 bits", "--half-precision"]);
    bench
        .galgen(&format!("{score} --half-precision"))
        .succeeds();
    let reconstruct =
        "reconstruct --model pixels.safetensors --stamps i.fits --out r.fits --png r.png";
    bench.galgen(reconstruct).succeeds();
    let (maps, means) = (pixels(&bench.path("m.fits")), pixels(&bench.path("r.fits")));
    let scores = numbers_of(&bench, "s.csv", "log_likelihood");
    let errors = numbers_of(&bench, "s.csv", "reconstruction_error");
    for i in 0..6 {
        let (log_p, residual) = maps[i].split_at(144);
        let sum: f64 = log_p.iter().map(|&v| f64::from(v)).sum();
        assert!(
            (sum - scores[i]).abs() < 1e-4 * scores[i].abs(),
            "{sum} {}",
            scores[i]
        );
        for ((r, x), m) in residual.iter().zip(&images[i]).zip(&means[i]) {
            assert_eq!(*r, x - m);
        }
        let square: f64 = residual.iter().map(|&r| f64::from(r).powi(2)).sum();
        assert!((square / 144.0 - errors[i]).abs() < 1e-6);
    }
    let found = bench.outputs();
    assert!(
        ["m.png", "r.png", "i.png"]
            .iter()
            .all(|n| found.contains(&n.to_string()))
    );
}

#[test]
fn completions_keep_rows_or_a_mask() {
    let bench = bench("pixel-completions");
    let images = pixels(&bench.path("i.fits"));
    let complete = "complete --model pixels.safetensors --stamps i.fits --seed 5";
    for (threads, out) in [(1, "c.fits"), (3, "d.fits")] {
        let run = format!("{complete} --rows 4 --threads {threads} --out {out} --png c.png");
        bench.galgen(&run).succeeds();
    }
    let completed = pixels(&bench.path("c.fits"));
    assert_eq!(completed, pixels(&bench.path("d.fits")));
    for (made, image) in completed.iter().zip(&images) {
        assert_eq!(made[..48], image[..48]);
        assert_ne!(made[48..], image[48..]);
    }
    // All rows kept; and the drawn image itself from its own seed.
    bench
        .galgen(&format!("{complete} --rows 12 --out e.fits"))
        .succeeds();
    assert_eq!(pixels(&bench.path("e.fits")), images);
    let own = "complete --model pixels.safetensors --stamps i.fits --seed 3 --rows 0 --out f.fits";
    bench.galgen(own).succeeds();
    assert_eq!(pixels(&bench.path("f.fits")), images);
    // The stamps as masks of themselves: what is not 0 stays.
    bench
        .galgen(&format!("{complete} --mask i.fits --out g.fits"))
        .succeeds();
    for (made, image) in pixels(&bench.path("g.fits")).iter().zip(&images) {
        assert!(made.iter().zip(image).all(|(m, i)| *i == 0.0 || m == i));
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let bench = bench("pixel-problems");
    let model = "--model pixels.safetensors --stamps i.fits";
    for (command, words) in [
        (format!("encode {model} --out z.csv"), &["no latent"][..]),
        (
            format!("complete {model} --rows 13 --out c.fits"),
            &["--rows 13", "12 rows"],
        ),
        (
            "complete --stamps i.fits --model model.safetensors --out c.fits".into(),
            &["no PixelCNN"],
        ),
        (
            "score --stamps i.fits --model model.safetensors --out s.csv --maps m.fits".into(),
            &["--maps"],
        ),
    ] {
        bench.galgen(&command).fails(2, words);
    }
    let grey = "score --model pixels.safetensors --stamps r.fits --out s.csv";
    let reconstruct = format!("reconstruct {model} --out r.fits");
    bench.galgen(&reconstruct).succeeds();
    bench.galgen(grey).fails(3, &["a level of the model"]);
    assert!(!bench.outputs().contains(&"c.fits".to_string()));
}
