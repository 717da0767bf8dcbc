//! The statistics of `galgen-train evaluate` against scipy and prdc (`goldens/statistics.py`).

use galgen_io::samples::{binomial_tail, kolmogorov_smirnov, rank_test, wasserstein};
use galgen_train::evaluate::joint::overlap;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("goldens/statistics.json")).expect("JSON")
}

fn list<'a>(golden: &'a Value, name: &str) -> &'a [Value] {
    golden[name].as_array().expect("a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    let all = value.as_array().expect("a list").iter();
    all.map(|v| v.as_f64().expect("a number")).collect()
}

/// f64 sums of a few hundred terms: both sides are right to some 1e-14.
fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().expect("a number");
    let error = (found - expected).abs();
    assert!(
        error <= 1e-12 + 1e-9 * expected.abs(),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn one_dimensional_statistics_are_those_of_scipy() {
    for pair in list(&golden(), "pairs") {
        let (a, b) = (numbers(&pair["a"]), numbers(&pair["b"]));
        let (distance, p) = kolmogorov_smirnov(&a, &b);
        close(wasserstein(&a, &b), &pair["wasserstein"], "Wasserstein");
        close(distance, &pair["ks"], "Kolmogorov-Smirnov distance");
        close(p, &pair["ks_p"], "Kolmogorov-Smirnov p-value");
        close(rank_test(&a, &b), &pair["rank_p"], "rank test");
    }
    for case in list(&golden(), "binomial") {
        let count = |name: &str| case[name].as_u64().expect("a count") as usize;
        let p = case["p"].as_f64().expect("a number");
        let tail = binomial_tail(count("hits"), count("trials"), p);
        close(tail, &case["tail"], "binomial tail");
    }
}

#[test]
fn overlap_is_that_of_prdc() {
    for cloud in list(&golden(), "clouds") {
        let points = |name| list(cloud, name).iter().map(numbers).collect::<Vec<_>>();
        let k = cloud["k"].as_u64().expect("a count") as usize;
        let found = overlap(&points("real"), &points("drawn"), k).expect("more than k points");
        close(found.precision, &cloud["precision"], "precision");
        close(found.recall, &cloud["recall"], "recall");
        close(found.density, &cloud["density"], "density");
        close(found.coverage, &cloud["coverage"], "coverage");
    }
}
