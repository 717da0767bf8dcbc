//! What was requested against what is measured on the drawn galaxies before the PSF.

use super::draw::Artist;
use super::labels::Asked;
use crate::fit::flow_vae::measured;
use galgen_core::condition::{Conditions, Flags};
use galgen_core::measure;
use galgen_io::samples::quantile;
use serde_json::{Value, json};

/// Points of the grid over the trained range, all conditions together, at most.
const GRID_POINTS: usize = 400;
/// Galaxies drawn at each point of the grid.
const DRAWS: u64 = 3;
/// Bins over the trained range.
const BINS: usize = 8;
/// Largest median |measured / requested - 1| that is aimed at.
pub const GOAL: f64 = 0.03;
/// Largest possible object id of the grid, so that they differ from those of real objects.
const GRID_ID: u64 = 1 << 62;

/// The quantities that are requested and can be measured: the half-light radius and, by these names, conditions.
const MEASURED: [&str; 3] = ["axis_ratio", "concentration", "asymmetry"];

/// Pairs (requested, measured) of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// Under the conditions of the held-out galaxies.
    pub population: Vec<(f64, f64)>,
    /// Over the grid in the trained range.
    pub grid: Vec<(f64, f64)>,
}

/// Requested against measured for one quantity.
#[derive(Clone, Debug)]
pub struct Requested {
    /// Name of the condition, or `half_light_radius`.
    pub name: String,
    /// Trained range; of the half-light radius that of what was asked for, in pixels.
    pub range: [f64; 2],
    /// What was found.
    pub pairs: Pairs,
}

/// Bias and scatter in one bin of the requested value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Median requested value.
    pub requested: f64,
    /// Median of measured - requested.
    pub bias: f64,
    /// Half of its 16-84 % range.
    pub scatter: f64,
    /// Galaxies in the bin.
    pub count: usize,
}

impl Requested {
    /// Bias and scatter in bins of equal width over the trained range; bins without galaxies are left out.
    pub fn bins(&self, pairs: &[(f64, f64)]) -> Vec<Bin> {
        let [low, high] = self.range;
        let width = (high - low) / BINS as f64;
        let bin = |i: usize| {
            let from = low + width * i as f64;
            // What was requested just beyond the range counts in the bin at its end.
            let inside =
                |asked: f64| (i == 0 || asked >= from) && (i == BINS - 1 || asked < from + width);
            let of: Vec<_> = pairs.iter().filter(|(asked, _)| inside(*asked)).collect();
            let error: Vec<f64> = of.iter().map(|(asked, got)| got - asked).collect();
            let asked: Vec<f64> = of.iter().map(|(asked, _)| *asked).collect();
            Bin {
                requested: quantile(&asked, 0.5),
                bias: quantile(&error, 0.5),
                scatter: 0.5 * (quantile(&error, 0.84) - quantile(&error, 0.16)),
                count: of.len(),
            }
        };
        (0..BINS).map(bin).filter(|b| b.count > 0).collect()
    }

    /// Median |measured / requested - 1|.
    pub fn median_error(pairs: &[(f64, f64)]) -> f64 {
        let errors: Vec<f64> = pairs
            .iter()
            .map(|(asked, got)| (got / asked - 1.0).abs())
            .collect();
        quantile(&errors, 0.5)
    }

    /// Whether the median error is within [`GOAL`] on the held-out galaxies' conditions and on the grid, which a model
    /// without conditions does not have.
    pub fn met(&self) -> bool {
        let good = |pairs: &[(f64, f64)]| Self::median_error(pairs) <= GOAL;
        good(&self.pairs.population) && (self.pairs.grid.is_empty() || good(&self.pairs.grid))
    }

    /// The figures over all of the range.
    pub fn short_json(&self) -> Value {
        let sample = |pairs: &[(f64, f64)]| {
            let error: Vec<f64> = pairs.iter().map(|(asked, got)| got - asked).collect();
            json!({
                "median_bias": quantile(&error, 0.5),
                "scatter": 0.5 * (quantile(&error, 0.84) - quantile(&error, 0.16)),
                "median_relative_error": Self::median_error(pairs),
            })
        };
        json!({
            "held_out_conditions": sample(&self.pairs.population),
            "grid": sample(&self.pairs.grid),
            "met": self.met(),
        })
    }

    /// The same, with the bins.
    pub fn json(&self) -> Value {
        let bins = |pairs: &[(f64, f64)]| -> Vec<Value> {
            let bins = self.bins(pairs);
            bins.iter()
                .map(|b| json!({ "requested": b.requested, "bias": b.bias, "scatter": b.scatter, "count": b.count }))
                .collect()
        };
        let mut all = self.short_json();
        all["trained_range"] = json!(self.range);
        all["goal"] = json!(GOAL);
        all["held_out_conditions"]["bins"] = json!(bins(&self.pairs.population));
        all["grid"]["bins"] = json!(bins(&self.pairs.grid));
        all
    }
}

/// Names of the conditions that can be measured, with their places.
pub fn measurable(conditions: &Conditions) -> Vec<(usize, &str)> {
    let all = conditions.list.iter().enumerate();
    all.map(|(i, c)| (i, c.name.as_str()))
        .filter(|(_, name)| MEASURED.contains(name))
        .collect()
}

/// Requested against measured for the half-light radius and every measurable condition. `population` holds, for each
/// held-out galaxy, what was asked for in its place and the stamp drawn for that; the grid has `half_light_radius`.
pub(super) fn compare(
    artist: &mut Artist,
    conditions: &Conditions,
    population: &[(&Asked, &[f32])],
    (side, half_light_radius): (usize, f64),
    seed: u64,
) -> Result<Vec<Requested>, String> {
    let chosen = measurable(conditions);
    let radii = population.iter().map(|(asked, _)| asked.half_light_radius);
    let mut result = vec![Requested {
        name: "half_light_radius".into(),
        range: [
            radii.clone().fold(half_light_radius, f64::min),
            radii.fold(half_light_radius, f64::max),
        ],
        pairs: Pairs::default(),
    }];
    result.extend(chosen.iter().map(|(i, name)| Requested {
        name: (*name).into(),
        range: conditions.list[*i].range,
        pairs: Pairs::default(),
    }));
    type Part = fn(&mut Pairs) -> &mut Vec<(f64, f64)>;
    let mut add = |values: &[f32], asked_radius: f64, stamp: &[f32], of: Part| {
        let asked_ratio = conditions
            .position("axis_ratio")
            .map(|i| f64::from(values[i]));
        let axis_ratio = asked_ratio
            .or_else(|| Some(measure::shape(stamp, side)?.ellipse.axis_ratio))
            .unwrap_or(1.0);
        let radius = measure::half_light_radius(stamp, side, axis_ratio.clamp(0.05, 1.0));
        let found = chosen.iter().map(|(i, name)| {
            let found = measured(name, stamp, side);
            (f64::from(values[*i]), found)
        });
        let pairs = std::iter::once((asked_radius, radius)).chain(found);
        for (result, (asked, found)) in result.iter_mut().zip(pairs) {
            if let Some(found) = found {
                of(&mut result.pairs).push((asked, found));
            }
        }
    };
    for (asked, stamp) in population {
        let radius = asked.half_light_radius;
        add(&asked.conditions, radius, stamp, |p| &mut p.population);
    }
    for (k, values) in grid(conditions).iter().enumerate() {
        for draw in 0..DRAWS {
            let id = GRID_ID + DRAWS * k as u64 + draw;
            let (stamp, drawn) = artist.draw(seed, id, values, half_light_radius)?;
            // Combinations that no galaxy has, such as a flat disk with the concentration of an elliptical.
            if drawn.flags.0 & Flags::JOINT_EXTRAPOLATION == 0 {
                add(values, half_light_radius, &stamp, |p| &mut p.grid);
            }
        }
    }
    Ok(result)
}

/// All combinations of equally spaced values in the trained ranges.
fn grid(conditions: &Conditions) -> Vec<Vec<f32>> {
    let k = conditions.len();
    if k == 0 {
        return Vec::new();
    }
    let steps = (GRID_POINTS as f64).powf(1.0 / k as f64).floor().max(2.0) as usize;
    let value = |j: usize, step: usize| {
        let [low, high] = conditions.list[j].range;
        (low + (high - low) * step as f64 / (steps - 1) as f64) as f32
    };
    let count = steps.pow(k as u32);
    // Two values of each of more than eight conditions are too many points. An odd stride does not stay at one value of any.
    let stride = count.div_ceil(GRID_POINTS) | 1;
    (0..count)
        .step_by(stride)
        .map(|point| {
            (0..k)
                .map(|j| value(j, point / steps.pow(j as u32) % steps))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_show_bias_and_scatter_where_they_are() {
        let requested = Requested {
            name: "axis_ratio".into(),
            range: [0.2, 1.0],
            pairs: Pairs::default(),
        };
        // Bias of 0.1 below 0.6, none above; -0.02, 0 and 0.02 of scatter.
        let pairs: Vec<(f64, f64)> = (0..800)
            .map(|i| {
                let asked = 0.2 + 0.001 * f64::from(i);
                let bias = if asked < 0.6 { 0.1 } else { 0.0 };
                (asked, asked + bias + 0.02 * f64::from(i % 3 - 1))
            })
            .collect();
        let bins = requested.bins(&pairs);
        assert_eq!(bins.len(), BINS);
        for (i, bin) in bins.iter().enumerate() {
            assert!((bin.requested - (0.25 + 0.1 * i as f64)).abs() < 0.002);
            assert!((bin.bias - if i < 4 { 0.1 } else { 0.0 }).abs() < 1e-9);
            assert!((bin.scatter - 0.02).abs() < 1e-9 && bin.count.abs_diff(100) <= 1);
        }
        let median = Requested::median_error(&[(2.0, 2.2), (1.0, 0.9), (4.0, 4.0)]);
        assert!((median - 0.1).abs() < 1e-12, "{median}");
    }
}
