//! Plots of the report.

use super::super::Evaluation;
use super::super::compare::finite;
use super::super::conditions::{Bin, Requested};
use super::super::memorisation::Nearest;
use super::super::statistics::{self, COLUMNS, RINGS};
use super::super::yardstick::Row;
use galgen_io::plot::{Figure, Frame, Series};
use galgen_io::samples::quantile;

/// Names of the three samples, each with the colour of its number.
const SAMPLES: [&str; 3] = ["held-out", "drawn", "Sersic"];
const BINS: usize = 24;
/// Share of the values cut off at either end of a histogram.
const TAIL: f64 = 0.005;

fn small(title: &str, x: &str, y: &str) -> Frame {
    Frame {
        width: 440,
        height: 300,
        ..Frame::new(title, x, y)
    }
}

fn large(title: &str, x: &str, y: &str) -> Frame {
    Frame {
        width: 600,
        height: 420,
        ..Frame::new(title, x, y)
    }
}

/// One histogram for each single statistic.
pub(super) fn histograms(e: &Evaluation) -> Vec<Figure> {
    let singles = COLUMNS
        .iter()
        .enumerate()
        .filter(|(_, c)| c.group.is_none());
    singles
        .map(|(i, column)| {
            let all = e.tables.all().map(|rows| finite(rows, i));
            let every = all.concat();
            let range = (quantile(&every, TAIL), quantile(&every, 1.0 - TAIL));
            let samples: Vec<(String, Vec<f64>)> =
                SAMPLES.iter().map(|s| s.to_string()).zip(all).collect();
            Figure::histogram(
                &small("", column.label, "share"),
                &samples,
                BINS,
                Some(range),
            )
        })
        .collect()
}

/// The Gini-M20 plane, the profile and the power spectrum.
pub(super) fn planes(e: &Evaluation) -> Vec<Figure> {
    let place = |key| statistics::column(key).expect("a column");
    let (gini, m20) = (place("gini"), place("m20"));
    let cloud = |(name, rows): (&&str, &[Row])| {
        let points = rows.iter().map(|r| (r[m20], r[gini])).collect();
        Series::dots(*name, points)
    };
    let clouds: Vec<Series> = SAMPLES.iter().zip(e.tables.all()).map(cloud).collect();
    let ring_middle = |i: usize| 0.5 * (RINGS[i] + RINGS[i + 1]);
    let profile = statistics::group("radial_profile");
    let spectrum = statistics::group("power_spectrum");
    let log = |frame| Frame {
        log_y: true,
        ..frame
    };
    let brightness = log(large(
        "",
        "radius / half-light radius",
        "brightness / mean within",
    ));
    let power = large("", "wavenumber, cycles a pixel", "log10 power");
    let scales = statistics::wavenumbers(e.side);
    vec![
        Figure::lines(&large("", "M20", "Gini"), &clouds),
        // Lines on their own beside bands that would hide each other.
        Figure::lines(&brightness, &with_bands(e, &profile, ring_middle)),
        Figure::lines(&power, &with_bands(e, &spectrum, |i| scales[i])),
        Figure::lines(
            &large(
                "",
                "wavenumber, cycles a pixel",
                "log10 power less the median of held-out",
            ),
            &differences(e, &spectrum, |i| scales[i]),
        ),
    ]
}

/// Medians as lines over bands of 16 to 84 %.
fn with_bands(e: &Evaluation, columns: &[usize], x: impl Fn(usize) -> f64) -> Vec<Series> {
    let at = |rows: &[Row], q: f64| -> Vec<f64> {
        columns
            .iter()
            .map(|&c| quantile(&finite(rows, c), q))
            .collect()
    };
    let mut bands = Vec::new();
    let mut lines = Vec::new();
    for (color, rows) in e.tables.all().into_iter().enumerate() {
        let [low, middle, high] = [0.16, 0.5, 0.84].map(|q| at(rows, q));
        let between: Vec<_> = (0..columns.len())
            .map(|i| (x(i), low[i], high[i]))
            .collect();
        bands.push(Series::band(&between).colored(color));
        let line = (0..columns.len()).map(|i| (x(i), middle[i])).collect();
        lines.push(Series::new(SAMPLES[color], line).colored(color));
    }
    bands.extend(lines);
    bands
}

/// As [`with_bands`], less the medians of the held-out galaxies.
fn differences(e: &Evaluation, columns: &[usize], x: impl Fn(usize) -> f64) -> Vec<Series> {
    let medians: Vec<f64> = columns
        .iter()
        .map(|&c| quantile(&finite(&e.tables.held_out, c), 0.5))
        .collect();
    let mut series = with_bands(e, columns, &x);
    let middle = |at: f64| {
        let nearest =
            (0..columns.len()).min_by(|&a, &b| (x(a) - at).abs().total_cmp(&(x(b) - at).abs()));
        medians[nearest.expect("a column")]
    };
    for s in &mut series {
        s.points.iter_mut().for_each(|p| p.1 -= middle(p.0));
    }
    series
}

/// Error against the requested value, for every condition with a range.
pub(super) fn conditions(e: &Evaluation) -> Vec<Figure> {
    let with_range = e.requested.iter().filter(|r| r.range[0] < r.range[1]);
    with_range.map(condition).collect()
}

fn condition(requested: &Requested) -> Figure {
    let pairs = &requested.pairs;
    let errors = pairs
        .population
        .iter()
        .map(|&(asked, got)| (asked, got - asked));
    let bins = |pairs: &[(f64, f64)]| requested.bins(pairs);
    let band = |bins: &[Bin]| -> Vec<(f64, f64, f64)> {
        bins.iter()
            .map(|b| (b.requested, b.bias - b.scatter, b.bias + b.scatter))
            .collect()
    };
    let line = |bins: &[Bin]| bins.iter().map(|b| (b.requested, b.bias)).collect();
    let (population, grid) = (bins(&pairs.population), bins(&pairs.grid));
    let [low, high] = requested.range;
    let series = [
        Series::band(&band(&grid)).colored(2),
        Series::dots("held-out conditions", errors.collect()).colored(5),
        Series::new("their median", line(&population)).colored(0),
        Series::new("median on the grid, 16-84 %", line(&grid)).colored(2),
        Series::new("", vec![(low, 0.0), (high, 0.0)]).colored(6),
    ];
    let frame = large(
        "",
        &format!("{} requested", requested.name),
        "measured less requested",
    );
    Figure::lines(&frame, &series)
}

/// Distances to the nearest training galaxy.
pub(super) fn distances(e: &Evaluation) -> Figure {
    let list = |list: &[Nearest]| list.iter().map(|n| n.distance).collect();
    let samples = [
        ("held-out".to_string(), list(&e.memorisation.held_out)),
        ("drawn".to_string(), list(&e.memorisation.drawn)),
    ];
    let frame = large("", "distance to the nearest training galaxy", "share");
    Figure::histogram(&frame, &samples, BINS, None)
}
