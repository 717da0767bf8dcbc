//! Everything that the issue lists as bad input: one clear error, no output in place of a good one.

use super::*;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Rows that cannot be drawn: the row, and what the message must say.
const BAD_ROWS: [(&str, &[&str]); 9] = [
    ("2,nan,1,0.5,1", &["flux"]),
    ("2,1,-1,0.5,1", &["hlr = -1", "positive"]),
    ("2,1,0,0.5,1", &["hlr = 0"]),
    ("2,1,1,1.5,1", &["1.5", "axis ratio"]),
    ("2,1,1,0.5,NaN", &["n = NaN", "finite"]),
    ("2,1,1,,1", &["axis"]),
    ("1,1,1,0.5,1", &["id = 1", "earlier row"]),
    ("-2,1,1,0.5,1", &["id = -2"]),
    ("2,1,1", &["fields"]),
];

#[test]
fn a_bad_row_is_listed_and_the_rest_drawn() {
    let bench = Bench::new("rows");
    bench.write("cat.csv", "id,flux,hlr,q,n\n1,1,1,0.5,1\n3,2,1,0.5,1\n");
    bench.generate("--out good.fits").succeeds();
    let good = pixels(&bench.path("good.fits"));
    for (row, words) in BAD_ROWS {
        bench.write(
            "cat.csv",
            format!("id,flux,hlr,q,n\n1,1,1,0.5,1\n{row}\n3,2,1,0.5,1\n"),
        );
        let run = bench.generate("--out s.fits --quiet");
        run.fails(3, &["row 1 (line 3)"]);
        run.fails(3, words);
        let file = bench.path("s.fits");
        assert_eq!(numbers(&file, "status"), [0.0, 1.0, 0.0], "{row}");
        let stamps = pixels(&file);
        assert!(stamps[0] == good[0] && stamps[2] == good[1], "{row}");
        assert!(stamps[1].iter().all(|p| *p == 0.0));
        let Value::Text(problem) = &column(&file, "problem")[1] else {
            panic!("text")
        };
        assert!(
            problem.contains("expected") || problem.contains("earlier"),
            "{problem}"
        );
    }
}

#[test]
fn many_bad_rows_are_counted_and_none_at_all_is_a_failure() {
    let bench = Bench::new("many");
    let mut catalog = String::from("id,flux,hlr,q,n\n");
    (0..50).for_each(|i| catalog += &format!("{i},1,-1,0.5,1\n"));
    bench.write("cat.csv", &catalog);
    let run = bench.generate("--out s.fits");
    run.fails(1, &["none of its 50 rows"]);
    assert_eq!(
        run.stderr.matches("expected a positive").count(),
        20,
        "{}",
        run.stderr
    );
    bench.write("cat.csv", catalog + "99,1,1,0.5,1\n");
    let run = bench.generate("--out s.fits");
    run.fails(3, &["50 rows failed", "more rows failed"]);
}

#[test]
fn catalogues_that_cannot_be_used() {
    let bench = Bench::new("catalogues");
    for (content, arguments, words) in [
        (
            "id,flux,q,n\n1,1,1,1\n",
            "",
            &["half_light_radius", "--column"][..],
        ),
        ("id,hlr,q,n\n1,1,1,1\n", "", &["flux", "magnitude"]),
        ("id,flux,hlr,n\n1,1,1,1\n", "", &["axis_ratio"]),
        ("id,flux,hlr,q\n1,1,1,1\n", "", &["concentration", "sersic"]),
        (
            "id,mag,hlr,q,n\n1,1,1,1,1\n",
            "",
            &["`mag` holds magnitudes", "--zero-point"],
        ),
        ("id,flux,hlr,q,n\n", "", &["no rows"]),
        ("", "", &["empty"]),
        (CATALOG, "--column flux=F", &["`F`"]),
        (CATALOG, "--column fluks=flux", &["fluks", "did you mean"]),
    ] {
        bench.write("cat.csv", content);
        let run = bench.generate(&format!("--out s.fits {arguments}"));
        run.fails(1, words);
        run.fails(1, &["galgen: "]);
        assert_eq!(bench.outputs(), [""; 0], "{content}");
    }
    bench
        .galgen("generate --catalog none.csv --out s.fits")
        .fails(1, &["none.csv"]);
    bench
        .galgen("generate --catalog cat.csv")
        .fails(2, &["--out"]);
    bench
        .generate("--out s.fits --column flux")
        .fails(2, &["ROLE=COLUMN"]);
    bench
        .generate("--out s.fits --threads 0")
        .fails(2, &["--threads"]);
    bench.galgen("draw").fails(2, &["draw"]);
}

#[test]
fn models_that_cannot_be_used() {
    let bench = Bench::new("models");
    let newer = String::from_utf8_lossy(model()).contains("\\\"format_version\\\":1");
    assert!(newer, "the card stands in the header as escaped JSON");
    let mut newer = model().to_vec();
    let at = find(&newer, b"\\\"format_version\\\":1") + 20;
    newer[at - 1] = b'9';
    let mut huge = model().to_vec();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut infinite = model().to_vec();
    let end = infinite.len();
    infinite[end - 2..].copy_from_slice(&0x7c00u16.to_le_bytes());
    for (bytes, words) in [
        (&model()[..model().len() / 2], &["safetensors", "again"][..]),
        (b"", &["truncated"]),
        (
            b"no model at all",
            &["not a valid safetensors file", "header"],
        ),
        (&huge, &["not a valid safetensors file", "header"]),
        (&newer, &["version 9", "newer"]),
        (&infinite, &["tensor", "inf"]),
    ] {
        bench.write("bad.safetensors", bytes);
        for command in [
            "inspect --model bad.safetensors",
            "generate --model bad.safetensors --catalog cat.csv --out s.fits",
        ] {
            let run = bench.galgen(command);
            run.fails(1, words);
            run.fails(1, &["bad.safetensors"]);
        }
    }
    bench
        .galgen("inspect --model none.safetensors")
        .fails(1, &["none.safetensors"]);
    bench
        .galgen("inspect --model .")
        .fails(1, &["not a regular file"]);
    assert_eq!(bench.outputs(), ["bad.safetensors"]);
}

fn find(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes
        .windows(pattern.len())
        .position(|w| w == pattern)
        .expect("the pattern")
}

#[test]
fn outputs_that_cannot_be_written_and_former_ones() {
    let bench = Bench::new("outputs");
    bench
        .generate("--out no/s.fits")
        .fails(1, &["no directory", "create it first"]);
    bench.generate("--out .").fails(1, &["no file name"]);
    bench
        .generate("--out s.fits --png no/s.png")
        .fails(1, &["s.png"]);
    bench.generate("--out cat.csv").fails(2, &["named twice"]);
    bench
        .generate("--out s.fits --png s.jpg")
        .fails(2, &["--png", "ends in .png"]);
    // An HDU in brackets is of the same file.
    bench
        .galgen("generate --model model.safetensors --catalog cat.csv[1] --out cat.csv")
        .fails(2, &["named twice"]);
    bench
        .generate("--out ./model.safetensors")
        .fails(2, &["named twice"]);
    assert_eq!(bench.outputs(), [""; 0]);
    // A good file stays when a later run fails.
    bench.generate("--out s.fits").succeeds();
    let former = bench.read("s.fits");
    bench.write("cat.csv", "id,flux,hlr,q,n\n1,1,-1,1,1\n");
    bench
        .generate("--out s.fits")
        .fails(1, &["none of its 1 rows"]);
    assert!(bench.read("s.fits") == former);
    assert_eq!(bench.outputs(), ["s.fits"]);
}

/// A file size limit of the shell stands for the full disk: both end a write half way.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_half_way_leaves_nothing() {
    let bench = Bench::new("full");
    let mut catalog = String::from("id,flux,hlr,q,n\n");
    (0..600).for_each(|i| catalog += &format!("{i},1,1,0.5,1\n"));
    bench.write("cat.csv", catalog);
    bench.write("s.fits", "former");
    let galgen = env!("CARGO_BIN_EXE_galgen");
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; exec {galgen} generate --model model.safetensors --catalog cat.csv --out s.fits"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&bench.dir)
        .output();
    Run::from(output.expect("sh runs")).fails(1, &["s.fits", "cannot write"]);
    assert_eq!(bench.outputs(), ["s.fits"]);
    assert_eq!(bench.read("s.fits"), b"former");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    let bench = Bench::new("interrupt");
    let mut catalog = String::from("id,flux,hlr,q,n\n");
    (0..500_000).for_each(|i| catalog += &format!("{i},1,1,0.5,1\n"));
    bench.write("cat.csv", catalog);
    bench.write("s.fits", "former");
    let child = Command::new(env!("CARGO_BIN_EXE_galgen"))
        .args("generate --model model.safetensors --catalog cat.csv --out s.fits".split(' '))
        .current_dir(&bench.dir)
        .stderr(Stdio::piped())
        .spawn()
        .expect("galgen runs");
    let start = Instant::now();
    while bench.outputs().len() < 3 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "no temporary: {:?}",
            bench.outputs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    let run = Run::from(child.wait_with_output().expect("galgen ends"));
    run.fails(130, &["interrupted"]);
    assert_eq!(bench.outputs(), ["s.fits"]);
    assert_eq!(bench.read("s.fits"), b"former");
}
