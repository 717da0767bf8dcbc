//! Plots and contact sheets of the report.

use super::summary::{RESAMPLINGS, finite, resampled};
use super::{Comparison, Sample, Scored};
use galgen_io::canvas::Canvas;
use galgen_io::plot::{Figure, Frame, Series};
use galgen_io::samples::quantile;
use galgen_io::sheet::{SheetOptions, Stretch, Tile, side_by_side};

const BINS: usize = 30;
/// Share of the values cut off at either end of an axis.
const TAIL: f64 = 0.005;
/// Bins of a property, each with as many galaxies.
const PROPERTY_BINS: usize = 8;

/// Edges of the histogram: the central 99 % of every sample, however small it is beside the others.
fn edges(all: &[Vec<f64>]) -> Vec<f64> {
    let of = |q| all.iter().map(move |values| quantile(values, q));
    let low = of(TAIL).fold(f64::INFINITY, f64::min);
    let high = of(1.0 - TAIL).fold(f64::NEG_INFINITY, f64::max);
    let high = if high > low { high } else { low + 1.0 };
    (0..=BINS)
        .map(|i| low + (high - low) * i as f64 / BINS as f64)
        .collect()
}

fn shares(values: &[f64], edges: &[f64]) -> Vec<f64> {
    let (low, high, width) = (edges[0], edges[BINS], edges[1] - edges[0]);
    let mut shares = vec![0.0; BINS];
    for v in values.iter().filter(|v| (low..=high).contains(*v)) {
        let at = ((v - low) / width) as usize;
        // The highest value lies on the last edge.
        shares[at.min(BINS - 1)] += 1.0 / values.len() as f64;
    }
    shares
}

/// Distribution of the score of every sample, with its bootstrap band of 16 to 84 %.
pub fn distribution(comparison: &Comparison, label: &str) -> Figure {
    let all: Vec<Vec<f64>> = comparison.samples.iter().map(finite).collect();
    let edges = edges(&all);
    let (mut bands, mut lines) = (Vec::new(), Vec::new());
    for (i, (sample, values)) in comparison.samples.iter().zip(&all).enumerate() {
        let again = |repeat: usize| {
            let id = (i * RESAMPLINGS + repeat) as u64;
            shares(&resampled(values, comparison.seed, id), &edges)
        };
        let repeats: Vec<Vec<f64>> = (0..RESAMPLINGS).map(again).collect();
        let middle = |bin: usize| 0.5 * (edges[bin] + edges[bin + 1]);
        let between = |bin: usize| {
            let values: Vec<f64> = repeats.iter().map(|r| r[bin]).collect();
            (
                middle(bin),
                quantile(&values, 0.16),
                quantile(&values, 0.84),
            )
        };
        bands.push(Series::band(&(0..BINS).map(between).collect::<Vec<_>>()).colored(i));
        let line = shares(values, &edges).into_iter().enumerate();
        let line = line.map(|(bin, share)| (middle(bin), share)).collect();
        lines.push(Series::new(format!("{} ({})", sample.name, values.len()), line).colored(i));
    }
    bands.extend(lines);
    let frame = Frame {
        width: 1000,
        height: 420,
        ..Frame::new("", label, "share")
    };
    Figure::lines(&frame, &bands)
}

/// Score against each property: median and 16 to 84 % in bins of as many galaxies.
pub fn properties(comparison: &Comparison, label: &str) -> Vec<Figure> {
    let figure = |place: usize| {
        let (mut bands, mut lines) = (Vec::new(), Vec::new());
        for (i, sample) in comparison.samples.iter().enumerate() {
            let (band, line) = running(&sample.properties[place], &sample.score());
            bands.push(Series::band(&band).colored(i));
            lines.push(Series::new(&sample.name[..], line).colored(i));
        }
        bands.extend(lines);
        let frame = Frame {
            width: 440,
            height: 300,
            ..Frame::new("", &comparison.properties[place].name, label)
        };
        Figure::lines(&frame, &bands)
    };
    (0..comparison.properties.len()).map(figure).collect()
}

/// (x, low, high) of each bin.
type Band = Vec<(f64, f64, f64)>;

/// 16, 50 and 84 % of `y` in bins of `x`.
fn running(x: &[f64], y: &[f64]) -> (Band, Vec<(f64, f64)>) {
    let pairs = x.iter().copied().zip(y.iter().copied());
    let mut pairs: Vec<(f64, f64)> = pairs
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = pairs.len().div_ceil(PROPERTY_BINS).max(1);
    let bins = pairs.chunks(size).map(|bin| {
        let (x, y): (Vec<f64>, Vec<f64>) = bin.iter().copied().unzip();
        (
            quantile(&x, 0.5),
            [0.16, 0.5, 0.84].map(|q| quantile(&y, q)),
        )
    });
    bins.map(|(x, [low, middle, high])| ((x, low, high), (x, middle)))
        .unzip()
}

/// The most and the least likely galaxies of a sample.
pub fn extremes(comparison: &Comparison, sample: &Sample) -> Canvas {
    let side = comparison.side;
    let panels = [0, 1].map(|end| tiles(&sample.extremes[end], side));
    let options = SheetOptions {
        columns: 8,
        enlarge: (64 / side).max(1),
        stretch: Stretch::PerTile,
        y_down: comparison.y_down,
        ..SheetOptions::default()
    };
    let titled = [
        ("most likely", &panels[0][..]),
        ("least likely", &panels[1][..]),
    ];
    side_by_side(&titled, &options)
}

fn tiles(list: &[Scored], side: usize) -> Vec<Tile<'_>> {
    list.iter()
        .map(|(pixels, score)| Tile {
            pixels,
            width: side,
            height: side,
            caption: format!("{score:.1}"),
        })
        .collect()
}
