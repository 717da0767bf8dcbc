//! `galgen generate` and `inspect` on good input.

use super::*;
use galgen_core::measure;

#[test]
fn stamps_have_the_flux_and_size_asked_for() {
    let bench = Bench::new("exact");
    bench.generate("--out s.fits --png s.png").succeeds();
    assert_eq!(bench.outputs(), ["s.fits", "s.png"]);
    assert!(bench.read("s.png").starts_with(b"\x89PNG"));
    let file = bench.path("s.fits");
    assert_eq!(column(&file, "id")[2], Value::Int(i128::from(u64::MAX)));
    assert_eq!(numbers(&file, "row"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(numbers(&file, "status"), [0.0; 4]);
    let flux = numbers(&file, "flux");
    assert_eq!(flux, [10.0, 20.0, 5.0, 1e3]);
    let inside = numbers(&file, "fraction_inside");
    let (scale, asked) = (
        numbers(&file, "pixel_scale"),
        numbers(&file, "half_light_radius"),
    );
    for (i, stamp) in pixels(&file).iter().enumerate() {
        assert!((measure::total(stamp) / (flux[i] * inside[i]) - 1.0).abs() < 1e-6);
        // The corners of pixels at the border, which on 16 pixels are large, may leave the stamp.
        assert!(inside[i] > 0.999);
        assert!(stamp.iter().all(|p| *p >= 0.0));
        // Shear and rotation on 16 pixels change the measured circle slightly.
        let radius = measure::half_light_radius(stamp, 16, 1.0).expect("light") * scale[i];
        assert!(
            (radius / asked[i] - 1.0).abs() < 0.03,
            "{radius}, asked {}",
            asked[i]
        );
    }
    // In the galaxy's frame nothing is resampled and the size is exact.
    bench.generate("--out g.fits --frame galaxy").succeeds();
    let file = bench.path("g.fits");
    let scale = numbers(&file, "pixel_scale");
    for (i, stamp) in pixels(&file).iter().enumerate() {
        let radius = measure::half_light_radius(stamp, 16, 1.0).expect("light") * scale[i];
        assert!(
            (radius / asked[i] - 1.0).abs() < 1e-5,
            "{radius}, asked {}",
            asked[i]
        );
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let bench = Bench::new("threads");
    let mut catalog = String::from("id,flux,hlr,q,n,pa\n");
    for i in 0..300 {
        catalog += &format!(
            "{},1,0.5,0.{},1.{},{}\n",
            7 * i + 1,
            2 + i % 7,
            i % 10,
            i % 180
        );
    }
    bench.write("cat.csv", catalog);
    bench.generate("--out one.fits --threads 1").succeeds();
    bench.generate("--out four.fits --threads 4").succeeds();
    assert!(bench.read("one.fits") == bench.read("four.fits"));
    bench.generate("--out other.fits --seed 1").succeeds();
    assert!(bench.read("one.fits") != bench.read("other.fits"));
}

#[test]
fn jobs_one_after_the_other_are_the_whole() {
    let bench = Bench::new("jobs");
    bench.generate("--out whole.fits").succeeds();
    let (mut stamps, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for job in 1..=3 {
        let out = format!("part{job}.fits");
        bench
            .generate(&format!("--out {out} --njobs 3 --job {job}"))
            .succeeds();
        stamps.extend(pixels(&bench.path(&out)));
        ids.extend(column(&bench.path(&out), "id"));
        rows.extend(numbers(&bench.path(&out), "row"));
    }
    assert_eq!(stamps, pixels(&bench.path("whole.fits")));
    assert_eq!(ids, column(&bench.path("whole.fits"), "id"));
    assert_eq!(rows, [0.0, 1.0, 2.0, 3.0]);
    bench
        .generate("--out x.fits --njobs 9 --job 1")
        .fails(1, &["job 1 of 9", "4", "at most"]);
    bench
        .generate("--out x.fits --njobs 3 --job 4")
        .fails(2, &["--job 4", "1 to 3"]);
}

#[test]
fn a_duplicate_in_an_earlier_job_is_found() {
    let bench = Bench::new("jobs-duplicate");
    bench.write(
        "cat.csv",
        "id,flux,hlr,q,n\n1,1,1,1,1\n2,1,1,1,1\n1,1,1,1,1\n3,1,1,1,1\n",
    );
    bench
        .generate("--out x.fits --njobs 2 --job 2")
        .fails(3, &["row 2", "id", "earlier row"]);
    assert_eq!(numbers(&bench.path("x.fits"), "status"), [1.0, 0.0]);
}

#[test]
fn rendered_stamps_keep_the_light_that_is_inside() {
    let bench = Bench::new("rendered");
    bench
        .generate("--out r.fits --pixel-scale 0.25 --size 17 --psf gaussian:0.5")
        .succeeds();
    let file = bench.path("r.fits");
    assert_eq!(StampFile::open(&file).unwrap().shape(), (1, 17, 17));
    let (flux, inside) = (numbers(&file, "flux"), numbers(&file, "fraction_inside"));
    for (i, stamp) in pixels(&file).iter().enumerate() {
        let sum = measure::total(stamp);
        assert!((sum / (flux[i] * inside[i]) - 1.0).abs() < 1e-5, "{sum}");
    }
    assert!(
        inside[2] > 0.99 && inside[3] < 0.99,
        "small and large galaxy: {inside:?}"
    );
    let header = StampFile::open(&file).unwrap();
    assert_eq!(header.header().unwrap().f64("PIXSCALE"), Some(0.25));

    // A stamp of this program can be the PSF: an image and its scale.
    bench.write("cat1.csv", "id,flux,hlr,q,n\n1,1,0.3,0.9,1\n");
    let one = "generate --model model.safetensors --catalog cat1.csv --pixel-scale 0.25 --size 15";
    bench.galgen(&format!("{one} --out psf.fits")).succeeds();
    bench
        .generate("--out p.fits --pixel-scale 0.25 --size 33 --psf psf.fits")
        .succeeds();
    let noise = "--pixel-scale 0.25 --size 33 --gain 2 --sky-level 10 --noise-sigma 1";
    bench
        .generate(&format!("--out n.fits {noise} --threads 3"))
        .succeeds();
    bench
        .generate(&format!("--out m.fits {noise} --threads 1"))
        .succeeds();
    assert!(bench.read("n.fits") == bench.read("m.fits"));
    bench
        .generate("--out x.fits --pixel-scale 0.25")
        .fails(2, &["--size"]);
    bench
        .generate("--out x.fits --psf gaussian:1")
        .fails(2, &["--pixel-scale"]);
    bench
        .generate("--out x.fits --pixel-scale 0 --size 9")
        .fails(2, &["pixel scale"]);
    bench
        .generate("--out x.fits --pixel-scale 1 --size 9 --psf none.fits")
        .fails(1, &["none.fits"]);
}

#[test]
fn conditions_outside_the_trained_range_are_flagged() {
    let bench = Bench::new("flags");
    bench.write(
        "cat.csv",
        "id,flux,hlr,q,n\n1,1,1,0.05,1\n2,1,1,0.5,6\n3,1,1,0.5,1\n",
    );
    let run = bench.generate("--out f.fits");
    run.succeeds();
    assert!(
        run.stderr.contains("2 outside the trained range"),
        "{}",
        run.stderr
    );
    let flags = column(&bench.path("f.fits"), "flags");
    let bits: Vec<u64> = flags.iter().map(|v| v.u64().unwrap() & 0xffff).collect();
    assert_eq!(bits, [1, 2, 0]);
    let concentration = numbers(&bench.path("f.fits"), "concentration");
    let expected = galgen_core::condition::concentration_from_sersic(6.0);
    assert!((concentration[1] - expected).abs() < 1e-12);
}

#[test]
fn magnitudes_roles_and_constants() {
    let bench = Bench::new("roles");
    bench.write("cat.csv", "name,M,R,shape\n1,22.5,0.5,0.5\n2,25,0.5,0.5\n");
    let roles =
        "--column magnitude=M --column semi_major=R --column axis_ratio=shape --column sersic=1.2";
    bench
        .generate(&format!(
            "--out m.fits --zero-point 25 {roles} --column id=name"
        ))
        .succeeds();
    assert_eq!(numbers(&bench.path("m.fits"), "flux"), [10.0, 1.0]);
    let file = StampFile::open(bench.path("m.fits")).unwrap();
    let primary = file.primary_header().unwrap();
    assert_eq!(primary.str("GGSIZE"), Some("semi-major"));
    assert_eq!(primary.f64("MAGZERO"), Some(25.0));
    assert_eq!(primary.str("GGFRAME"), Some("sky"));
    assert_eq!(primary.str("GGMHASH").map(str::len), Some(64));
}

#[test]
fn inspect_shows_the_card() {
    let bench = Bench::new("inspect");
    let run = bench.galgen("inspect --model model.safetensors");
    run.succeeds();
    for word in [
        "random",
        "flow_vae",
        "16 x 16",
        "axis_ratio: 0.2 to 0.95",
        "sha256",
    ] {
        assert!(run.stdout.contains(word), "{}", run.stdout);
    }
    let json = bench.galgen("inspect --json --model model.safetensors");
    let card: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(card["conditions"]["list"][1]["name"], "concentration");
    // The default model is within the program.
    bench.galgen("inspect").succeeds();
}

#[test]
fn help_teaches() {
    let bench = Bench::new("help");
    for (command, words) in [
        (
            "--help",
            &["generate", "score", "inspect", "Exit codes"][..],
        ),
        (
            "generate --help",
            &["Example", "arcsec", "flux_radius", "Bits of `flags`"],
        ),
        ("score --help", &["Example", "nats", "galgen-train prepare"]),
        ("inspect --help", &["Example"]),
    ] {
        let run = bench.galgen(command);
        run.succeeds();
        for word in words {
            assert!(run.stdout.contains(word), "{command}: no {word}");
        }
    }
}
