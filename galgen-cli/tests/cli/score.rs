//! `galgen score`: round trip from generated stamps, training sets, and refusals.

use super::*;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};

const SCORE: &str = "score --model model.safetensors --draws 4";

/// Records of a CSV file by column name.
fn table(bench: &Bench, name: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(bench.path(name)).expect("CSV");
    reader.deserialize().map(|r| r.expect("a record")).collect()
}

#[test]
fn generated_stamps_can_be_scored() {
    let bench = Bench::new("score");
    bench.generate("--out g.fits --frame galaxy").succeeds();
    bench
        .galgen(&format!("{SCORE} --stamps g.fits --out s.csv --threads 3"))
        .succeeds();
    let rows = table(&bench, "s.csv");
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[2]["id"], u64::MAX.to_string());
    assert_eq!(rows[0]["axis_ratio"], "0.5");
    for row in &rows {
        for name in ["log_likelihood", "elbo", "log_prob_latent"] {
            assert!(row[name].parse::<f64>().expect("a number").is_finite());
        }
        assert_eq!((&row["status"][..], &row["flags"][..]), ("0", "0"));
    }
    // The same bytes with another number of threads, and the same numbers in FITS.
    bench
        .galgen(&format!("{SCORE} --stamps g.fits --out t.csv --threads 1"))
        .succeeds();
    assert!(bench.read("s.csv") == bench.read("t.csv"));
    bench
        .galgen(&format!("{SCORE} --stamps g.fits --out s.fits"))
        .succeeds();
    let mut fits = galgen_io::table::Table::open(bench.path("s.fits")).expect("a table");
    let columns = [
        fits.find("id").unwrap(),
        fits.find("log_likelihood").unwrap(),
    ];
    let chunk = fits.next_chunk(&columns, 10).unwrap().unwrap();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(chunk.row(i)[0].u64(), row["id"].parse().ok());
        assert_eq!(chunk.row(i)[1].f64(), row["log_likelihood"].parse().ok());
    }
    // The latent alone.
    let latent = format!("{SCORE} --metric latent --stamps g.fits --out l.csv --sky-sigma 0.1");
    bench.galgen(&latent).succeeds();
    let only = table(&bench, "l.csv");
    assert_eq!(only[1]["log_likelihood"], "");
    assert_eq!(only[1]["log_prob_latent"], rows[1]["log_prob_latent"]);
}

#[test]
fn training_sets_are_read_and_blank_stamps_listed() {
    let bench = Bench::new("score-set");
    bench.generate("--out g.fits --frame galaxy").succeeds();
    let mut stamps: Vec<f32> = pixels(&bench.path("g.fits")).concat();
    stamps[..256].fill(0.0);
    let floats = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let ids: Vec<u8> = [5i64, 6, 7, 8]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let (stamps, ratio) = (floats(&stamps), floats(&[0.5, 0.5, 0.5, 0.5]));
    let sky = floats(&[1e-3; 4]);
    let file = serialize(
        [
            (
                "stamps",
                TensorView::new(Dtype::F32, vec![4, 1, 16, 16], &stamps).unwrap(),
            ),
            ("id", TensorView::new(Dtype::I64, vec![4], &ids).unwrap()),
            (
                "axis_ratio",
                TensorView::new(Dtype::F32, vec![4], &ratio).unwrap(),
            ),
            (
                "sky_sigma",
                TensorView::new(Dtype::F32, vec![4], &sky).unwrap(),
            ),
        ],
        None,
    )
    .unwrap();
    bench.write("set.safetensors", &file);
    let run = bench.galgen(&format!("{SCORE} --stamps set.safetensors --out s.csv"));
    run.fails(
        3,
        &[
            "row 0",
            "set.safetensors",
            "concentration: no such column, measured",
        ],
    );
    let rows = table(&bench, "s.csv");
    assert_eq!((&rows[0]["status"][..], &rows[3]["status"][..]), ("1", "0"));
    assert_eq!(rows[3]["id"], "8");
    let concentration: f64 = rows[3]["concentration"].parse().unwrap();
    assert!(concentration > 1.0 && concentration < 5.0);
    bench.write("cut.safetensors", &file[..file.len() - 9]);
    let run = bench.galgen(&format!("{SCORE} --stamps cut.safetensors --out x.csv"));
    run.fails(1, &["cut.safetensors", "truncated"]);
    let run = bench.galgen(&format!("{SCORE} --stamps model.safetensors --out x.csv"));
    run.fails(1, &["model.safetensors", "stamps"]);
}

#[test]
fn stamps_that_a_model_cannot_score_are_refused() {
    let bench = Bench::new("score-bad");
    bench.generate("--out sky.fits").succeeds();
    bench
        .generate("--out wide.fits --pixel-scale 0.2 --size 20")
        .succeeds();
    bench.generate("--out g.fits --frame galaxy").succeeds();
    let score = |rest: &str| bench.galgen(&format!("{SCORE} {rest}"));
    score("--stamps sky.fits --out x.csv").fails(1, &["sky.fits", "frame", "--frame galaxy"]);
    score("--stamps wide.fits --out x.csv").fails(1, &["wide.fits", "20 x 20", "16 x 16"]);
    score("--stamps none.fits --out x.csv").fails(1, &["none.fits"]);
    score("--stamps g.fits --out x.txt").fails(2, &["x.txt", ".csv"]);
    score("--stamps g.fits --out g.fits").fails(2, &["named twice"]);
    score("--stamps g.fits --out x.csv --maps g.fits").fails(2, &["named twice"]);
    bench.write("l.csv", "id,axis_ratio,concentration\n");
    score("--stamps g.fits --labels l.csv --out l.csv").fails(2, &["named twice"]);
    score("--stamps g.fits --labels l.csv --out x.csv").fails(1, &["l.csv", "no row has the id"]);
    score("--stamps g.fits --out x.csv --sky-sigma noise").fails(1, &["noise", "--sky-sigma"]);
    score("--stamps g.fits --out x.csv --sky-sigma -1").fails(2, &["sky-sigma"]);
    score("--stamps g.fits --out x.csv --draws 0").fails(2, &["--draws"]);
    score("--stamps g.fits --out no/x.csv").fails(1, &["no", "create it first"]);
    bench.write("cut.fits", &bench.read("g.fits")[..7000]);
    score("--stamps cut.fits --out x.csv").fails(1, &["cut.fits", "truncated"]);
    assert!(!bench.outputs().contains(&"x.csv".to_string()));
}

/// Conditions from another table are those of the same id, whatever the order of its rows.
#[test]
fn labels_are_joined_by_id() {
    let bench = Bench::new("score-labels");
    bench.generate("--out g.fits --frame galaxy").succeeds();
    let score = |out: &str, more: &str| {
        bench
            .galgen(&format!("{SCORE} --stamps g.fits --out {out} {more}"))
            .succeeds();
        table(&bench, out)
    };
    let own = score("a.csv", "");
    let rows: String = own
        .iter()
        .rev()
        .map(|row| {
            format!(
                "{},{},{}\n",
                row["id"], row["axis_ratio"], row["concentration"]
            )
        })
        .collect();
    bench.write("l.csv", format!("id,axis_ratio,concentration\n{rows}"));
    let joined = score("b.csv", "--labels l.csv");
    assert!(own.len() > 1);
    for (a, b) in own.iter().zip(&joined) {
        assert_eq!(a["log_likelihood"], b["log_likelihood"]);
    }
}

/// A FITS file of one image of so many pixels, all 1.
fn fits_image(axes: &[usize]) -> Vec<u8> {
    let mut cards = vec![
        "SIMPLE  =                    T".to_string(),
        "BITPIX  =                  -32".to_string(),
        format!("NAXIS   = {:20}", axes.len()),
    ];
    for (i, n) in axes.iter().enumerate() {
        cards.push(format!("NAXIS{}  = {n:20}", i + 1));
    }
    cards.push("END".to_string());
    let mut bytes: Vec<u8> = cards
        .iter()
        .flat_map(|c| format!("{c:80}").into_bytes())
        .collect();
    bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    for _ in 0..axes.iter().product::<usize>() {
        bytes.extend(1f32.to_be_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    bytes
}

#[test]
fn a_point_spread_function_changes_the_score_of_a_model_that_takes_one() {
    let bench = Bench::new("score-psf");
    let preset = FlowVaePreset {
        forward: galgen_core::models::Forward::Psf,
        ..preset()
    };
    bench.write("inside.safetensors", random_model::random_model(&preset, 1));
    bench.generate("--out g.fits --frame galaxy").succeeds();
    bench.write("psf.fits", fits_image(&[5, 5]));
    bench.write("each.fits", fits_image(&[5, 5, 4]));
    let score =
        |more: &str| format!("score --model inside.safetensors --draws 4 --stamps g.fits {more}");
    for (more, out) in [
        ("", "none.csv"),
        ("--psf psf.fits", "one.csv"),
        ("--psf each.fits", "each.csv"),
    ] {
        bench
            .galgen(&score(&format!("{more} --out {out}")))
            .succeeds();
    }
    assert!(bench.read("one.csv") == bench.read("each.csv"));
    let (none, one) = (table(&bench, "none.csv"), table(&bench, "one.csv"));
    for (a, b) in none.iter().zip(&one) {
        assert_ne!(a["log_likelihood"], b["log_likelihood"]);
        // The file gives the conditions, and they stay.
        assert_eq!(a["axis_ratio"], b["axis_ratio"]);
    }
    // A training set's own conditions are of the blurred galaxy; those that the caller gives stay.
    let floats = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let ids: Vec<u8> = (1..=4i64).flat_map(i64::to_le_bytes).collect();
    let (stamps, psf) = (
        floats(&pixels(&bench.path("g.fits")).concat()),
        floats(&[1.0 / 9.0; 36]),
    );
    let tensor = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes);
    let tensors = [
        ("stamps", tensor(Dtype::F32, &[4, 1, 16, 16], &stamps)),
        ("id", tensor(Dtype::I64, &[4], &ids)),
        ("psf", tensor(Dtype::F32, &[4, 3, 3], &psf)),
    ]
    .map(|(name, view)| (name, view.unwrap()));
    bench.write("set.safetensors", serialize(tensors, None).unwrap());
    let of_set = |more: &str| {
        bench.galgen(&format!(
            "score --model inside.safetensors --draws 4 --stamps set.safetensors --out set.csv {more}"
        ))
    };
    of_set("").succeeds();
    assert_ne!(table(&bench, "set.csv")[0]["axis_ratio"], "0.25");
    let rows = |ids: &[u32]| -> String {
        let row = |id: &u32| format!("{id},0.25,3\n");
        ids.iter().map(row).collect()
    };
    let header = "id,axis_ratio,concentration\n";
    bench.write("l.csv", format!("{header}{}", rows(&[4, 3, 2, 1])));
    of_set("--labels l.csv").succeeds();
    assert_eq!(table(&bench, "set.csv")[0]["axis_ratio"], "0.25");
    bench.write("l.csv", format!("{header}{}", rows(&[1, 2, 3])));
    of_set("--labels l.csv").fails(1, &["l.csv", "no row has the id 4"]);
    for (axes, problem) in [
        (&[4, 4][..], "4 x 4 pixels, expected a square of odd side"),
        (&[17, 17], "at most 16"),
        (
            &[5, 5, 3],
            "3 planes, expected one, or one for each of the 4 stamps",
        ),
    ] {
        bench.write("bad.fits", fits_image(axes));
        bench
            .galgen(&score("--psf bad.fits --out bad.csv"))
            .fails(1, &["bad.fits", problem]);
    }
    bench
        .galgen(&format!(
            "{SCORE} --stamps g.fits --psf psf.fits --out bad.csv"
        ))
        .fails(2, &["psf.fits", "takes none"]);
}
