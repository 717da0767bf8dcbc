//! What a finished model does on held-out galaxies: the figures in its card and the pictures beside it.
//!
//! For every held-out galaxy one stamp is drawn under that galaxy's own conditions, so both samples
//! have the same distribution of conditions. Both are measured by [`galgen_core::measure`].

use crate::samples::Samples;
use galgen_core::measure;
use galgen_core::object::Object;
use galgen_infer::{DrawError, Model, Session};
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Seed of the drawn stamps.
const SEED: u64 = 1;
/// Posterior draws of the importance-weighted bound.
const SAMPLES: u32 = 64;
/// Held-out stamps whose bound is averaged.
const BOUND_STAMPS: usize = 100;
/// Galaxies on each side of the contact sheet.
const SHOWN: usize = 64;
/// Stamps are binned by this before distances are taken, so that noise does not decide.
const BINNING: usize = 4;

/// Shape of one stamp.
struct Shape {
    axis_ratio: f64,
    concentration: f64,
    asymmetry: f64,
}

/// Figures for the card; writes `samples.png` (held-out galaxies beside drawn ones) to `directory`.
pub fn evaluate(model: &Arc<Model>, samples: &Samples, directory: &Path) -> Result<Value, String> {
    let drawn = draw(model, samples)?;
    sheet(samples, &drawn, &directory.join("samples.png"))?;
    let side = samples.side;
    let noisy = samples
        .validation
        .iter()
        .map(|&p| shape(samples.stamp(p), side, samples.sky(p)));
    let real: Vec<Shape> = noisy.flatten().collect();
    let fake: Vec<Shape> = drawn
        .iter()
        .filter_map(|stamp| shape(stamp, side, 0.0))
        .collect();

    let statistic = |value: fn(&Shape) -> f64| {
        let real: Vec<f64> = real.iter().map(value).collect();
        let fake: Vec<f64> = fake.iter().map(value).collect();
        json!({
            "held_out": quartiles(&real),
            "drawn": quartiles(&fake),
            "wasserstein": wasserstein(&real, &fake),
            "floor": floor(&real),
        })
    };
    Ok(json!({
        "about": "one stamp drawn for each held-out galaxy, under its own conditions; quartiles, 1-D Wasserstein distance drawn to held-out, and its floor between random halves of the held-out",
        "held_out": samples.validation.len(),
        "measurable": { "held_out": real.len(), "drawn": fake.len() },
        "statistics": {
            "axis_ratio": statistic(|s| s.axis_ratio),
            "concentration": statistic(|s| s.concentration),
            "asymmetry": statistic(|s| s.asymmetry),
        },
        "requested_against_measured": requested(samples, &drawn),
        "nearest_training_galaxy": memorisation(model, samples, &drawn)?,
        "bound": bound(model, samples)?,
    }))
}

fn conditions(samples: &Samples, position: usize) -> &[f32] {
    let k = samples.conditions.len();
    &samples.values[position * k..(position + 1) * k]
}

/// One unit-flux stamp for each held-out galaxy, in the galaxy frame.
fn draw(model: &Arc<Model>, samples: &Samples) -> Result<Vec<Vec<f32>>, String> {
    let mut session = Session::new(model.clone());
    let one = |&position: &usize| {
        let object = Object::new(samples.ids[position], conditions(samples, position));
        let mut stamp = vec![0.0; model.stamp_len()];
        session
            .sample_galaxy_frame(SEED, &object, &mut stamp)
            .map_err(|e| e.to_string())?;
        Ok(stamp)
    };
    samples.validation.iter().map(one).collect()
}

/// `sky` is the noise of a pixel, whose part in the asymmetry is subtracted.
fn shape(stamp: &[f32], side: usize, sky: f64) -> Option<Shape> {
    let axis_ratio = measure::shape(stamp, side)?.ellipse.axis_ratio;
    let centre = galgen_core::stamp::centre(side);
    // 1.5 times the radius holding 80 % of the light, within the stamp.
    let radius = measure::radius_holding(stamp, side, &measure::Ellipse::centred(side, 1.0), 0.8)?;
    let radius = (1.5 * radius).min(centre);
    Some(Shape {
        axis_ratio,
        concentration: measure::concentration(stamp, side, axis_ratio)?,
        asymmetry: measure::asymmetry(stamp, side, centre, centre, radius, sky)?,
    })
}

/// Median difference (measured - requested), in the condition's unit and in percent, and half of its 16-84 % range.
fn requested(samples: &Samples, drawn: &[Vec<f32>]) -> Value {
    let mut result = serde_json::Map::new();
    for (j, condition) in samples.conditions.list.iter().enumerate() {
        let measure: fn(&Shape) -> f64 = match condition.name.as_str() {
            "axis_ratio" => |s| s.axis_ratio,
            "concentration" => |s| s.concentration,
            "asymmetry" => |s| s.asymmetry,
            _ => continue,
        };
        let pairs = samples
            .validation
            .iter()
            .zip(drawn)
            .filter_map(|(&position, stamp)| {
                let asked = f64::from(conditions(samples, position)[j]);
                Some((asked, measure(&shape(stamp, samples.side, 0.0)?)))
            });
        let pairs: Vec<(f64, f64)> = pairs.collect();
        let bias: Vec<f64> = pairs.iter().map(|(asked, got)| got - asked).collect();
        let size: Vec<f64> = pairs
            .iter()
            .map(|(asked, got)| (got / asked - 1.0).abs())
            .collect();
        let entry = json!({
            "median_bias": quantile(&bias, 0.5),
            "scatter": 0.5 * (quantile(&bias, 0.84) - quantile(&bias, 0.16)),
            "median_size_percent": 100.0 * quantile(&size, 0.5),
        });
        result.insert(condition.name.clone(), entry);
    }
    Value::Object(result)
}

/// Distance to the nearest training galaxy (all mirror images), for drawn and for held-out galaxies: a
/// model that copies has drawn ones far closer. Real galaxies are replaced by their reconstructions,
/// because noise alone would keep any two of them apart.
fn memorisation(
    model: &Arc<Model>,
    samples: &Samples,
    drawn: &[Vec<f32>],
) -> Result<Value, String> {
    let side = samples.side;
    let bins = side / BINNING;
    let mut session = Session::new(model.clone());
    let mut clean = |position: usize| -> Result<Vec<f32>, String> {
        let refused = |e: DrawError| format!("object {}: {e}", samples.ids[position]);
        let (mut mean, mut log_variance) = (vec![0.0; model.latent()], vec![0.0; model.latent()]);
        let mut stamp = vec![0.0; model.stamp_len()];
        let values = conditions(samples, position);
        if model.takes_psf() {
            let psf = samples.psf(position);
            session.set_psf(psf, samples.psf_side()).map_err(refused)?;
        }
        session
            .encode(
                samples.stamp(position),
                values,
                &mut mean,
                &mut log_variance,
            )
            .map_err(refused)?;
        session.decode(&mean, values, &mut stamp).map_err(refused)?;
        Ok(binned(&stamp, side))
    };
    let mut all = |positions: &[usize]| {
        positions
            .iter()
            .map(|&p| clean(p))
            .collect::<Result<Vec<_>, _>>()
    };
    let (training, held_out) = (all(&samples.training)?, all(&samples.validation)?);
    let nearest = |binned: &[f32]| {
        let mirrors: Vec<Vec<f32>> = (0..4).map(|flip| mirrored(binned, bins, flip)).collect();
        let distances = training
            .iter()
            .flat_map(|t| mirrors.iter().map(move |m| distance(t, m)));
        f64::from(distances.fold(f32::INFINITY, f32::min)).sqrt()
    };
    let real: Vec<f64> = held_out.iter().map(|s| nearest(s)).collect();
    let fake: Vec<f64> = drawn.iter().map(|s| nearest(&binned(s, side))).collect();
    let closest = quantile(&real, 0.01);
    let closer = fake.iter().filter(|&&d| d < closest).count() as f64 / fake.len() as f64;
    Ok(json!({
        "about": "distance of square roots of 4 x 4 binned stamps; real galaxies as their reconstructions",
        "held_out": quartiles(&real),
        "drawn": quartiles(&fake),
        "fraction_drawn_closer_than_1_percent_of_held_out": closer,
    }))
}

/// Square roots of the light in square bins, which give faint and bright parts similar noise.
fn binned(stamp: &[f32], side: usize) -> Vec<f32> {
    let bins = side / BINNING;
    let mut sums = vec![0f32; bins * bins];
    for y in 0..bins * BINNING {
        for x in 0..bins * BINNING {
            sums[(y / BINNING) * bins + x / BINNING] += stamp[y * side + x];
        }
    }
    sums.iter().map(|s| s.max(0.0).sqrt()).collect()
}

fn mirrored(image: &[f32], side: usize, flip: usize) -> Vec<f32> {
    let at = |i: usize, mirror: bool| if mirror { side - 1 - i } else { i };
    let pixel = |i: usize| image[at(i / side, flip & 2 != 0) * side + at(i % side, flip & 1 != 0)];
    (0..side * side).map(pixel).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Mean importance-weighted bound of held-out stamps in nats, with the model's typical sky noise.
fn bound(model: &Arc<Model>, samples: &Samples) -> Result<Value, String> {
    let mut session = Session::new(model.clone());
    let step = (samples.validation.len() / BOUND_STAMPS).max(1);
    let (mut sum, mut count) = (0.0, 0.0);
    for &position in samples.validation.iter().step_by(step).take(BOUND_STAMPS) {
        let values = conditions(samples, position);
        let id = samples.ids[position];
        if model.takes_psf() {
            let psf = samples.psf(position);
            let set = session.set_psf(psf, samples.psf_side());
            set.map_err(|e| format!("object {id}: {e}"))?;
        }
        sum += session
            .log_likelihood(samples.stamp(position), values, None, SAMPLES, SEED, id)
            .map_err(|e| format!("object {id}: {e}"))?;
        count += 1.0;
    }
    Ok(json!({ "stamps": count, "posterior_draws": SAMPLES, "mean_nats": sum / count }))
}

fn sheet(samples: &Samples, drawn: &[Vec<f32>], path: &Path) -> Result<(), String> {
    let side = samples.side;
    let step = (samples.validation.len() / SHOWN).max(1);
    let chosen = (0..samples.validation.len()).step_by(step).take(SHOWN);
    let tile = |pixels| Tile {
        pixels,
        width: side,
        height: side,
        caption: String::new(),
    };
    let (mut real, mut fake) = (Vec::new(), Vec::new());
    for i in chosen {
        real.push(tile(samples.stamp(samples.validation[i])));
        fake.push(tile(drawn[i].as_slice()));
    }
    let options = SheetOptions {
        columns: 8,
        ..SheetOptions::default()
    };
    side_by_side(
        ("held-out galaxies", &real),
        ("drawn, same axis ratio and concentration", &fake),
        &options,
    )
    .save(path)
    .map_err(|e| e.to_string())
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(((sorted.len().max(1) - 1) as f64 * q).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    [0.25, 0.5, 0.75].map(|q| quantile(values, q))
}

/// 1-D Wasserstein distance of two samples, as the mean difference of 200 quantiles.
fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    const LEVELS: usize = 200;
    let at = |level: usize| (level as f64 + 0.5) / LEVELS as f64;
    let sorted = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_by(f64::total_cmp);
        v
    };
    let (a, b) = (sorted(a), sorted(b));
    let interpolated = |v: &[f64], q: f64| {
        let x = q * (v.len() - 1) as f64;
        let (i, t) = (x.floor() as usize, x.fract());
        v[i] + t * (v[(i + 1).min(v.len() - 1)] - v[i])
    };
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    (0..LEVELS)
        .map(|l| (interpolated(&a, at(l)) - interpolated(&b, at(l))).abs())
        .sum::<f64>()
        / LEVELS as f64
}

/// Wasserstein distance between alternating halves of one sample, scaled to the size of the whole:
/// what two samples of one population differ by.
fn floor(values: &[f64]) -> f64 {
    let half = |offset: usize| {
        values
            .iter()
            .skip(offset)
            .step_by(2)
            .copied()
            .collect::<Vec<_>>()
    };
    // The distance of two samples falls as 1 / sqrt(size); the halves are half as large.
    wasserstein(&half(0), &half(1)) / std::f64::consts::SQRT_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wasserstein_of_a_shift_is_the_shift() {
        let a: Vec<f64> = (0..500).map(|i| f64::from(i) / 500.0).collect();
        let b: Vec<f64> = a.iter().map(|v| v + 0.25).collect();
        assert!((wasserstein(&a, &b) - 0.25).abs() < 1e-12);
        assert!(wasserstein(&a, &a) == 0.0 && floor(&a) < 0.01);
    }
}
