//! Densities of rows of numbers: drawn to a table, scored from tables and arrays.

use super::*;

fn records(bench: &Bench, name: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(bench.path(name)).expect("CSV");
    reader.deserialize().map(|r| r.expect("a record")).collect()
}

#[test]
fn rows_are_drawn_and_scored() {
    let bench = Bench::new("columns");
    bench.write("flow.safetensors", random_model::random_flow());
    bench
        .galgen("generate --model flow.safetensors --count 5 --out drawn.fits")
        .succeeds();
    let drawn = bench.path("drawn.fits");
    let (x, y) = (numbers(&drawn, "x"), numbers(&drawn, "y"));
    assert_eq!((x.len(), y.len()), (5, 5));
    let rows: String = (0..5)
        .map(|i| format!("{i},{},{},0\n", x[i], y[i]))
        .collect();
    bench.write("rows.csv", format!("id,x,y,other\n{rows}"));
    let score = |file: &str, out: &str| {
        let arguments = format!("score --model flow.safetensors --stamps {file} --out {out}");
        bench.galgen(&arguments).succeeds();
        records(&bench, out)
    };
    let (from_csv, from_fits) = (score("rows.csv", "a.csv"), score("drawn.fits", "b.csv"));
    for (a, b) in from_csv.iter().zip(&from_fits) {
        assert_eq!(a["log_likelihood"], b["log_likelihood"]);
        assert!(
            a["log_likelihood"]
                .parse::<f64>()
                .expect("a number")
                .is_finite()
        );
        assert!(!a.contains_key("elbo"));
    }
    bench
        .galgen("generate --model flow.safetensors --count 5 --out d.fits --png d.png")
        .fails(2, &["--png", "rows of numbers"]);
    bench.write("short.csv", "id,x\n1,2\n");
    bench
        .galgen("score --model flow.safetensors --stamps short.csv --out c.csv")
        .fails(1, &["short.csv", "`y`"]);
    // A comma that splits a number is an error, not another number.
    bench.write("split.csv", "id,x,y\n7,1,234,5\n");
    bench
        .galgen("score --model flow.safetensors --stamps split.csv --out c.csv")
        .fails(1, &["split.csv", "4 fields"]);
    bench
        .galgen("generate --model flow.safetensors --count 5 --out drawn.npy")
        .fails(1, &[".npy", ".fits"]);
    bench.write("bad.csv", "id,x,y\n1,2,three\n2,0.5,0.5\n");
    let bad = bench.galgen("score --model flow.safetensors --stamps bad.csv --out c.csv");
    assert_ne!(bad.code, 0);
    assert!(bad.stderr.contains("row 0"), "{}", bad.stderr);
}
