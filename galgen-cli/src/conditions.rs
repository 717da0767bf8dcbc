//! Conditions of a stamp: those of its file, and what can be measured on it.

use crate::source::Entry;
use galgen_core::card::Card;
use galgen_core::measure;

/// A condition of a stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given {
    Value(f64),
    Measured(Measure),
}

/// A condition that can be measured on the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    AxisRatio,
    Concentration,
}

impl Measure {
    /// The measurement of the condition called `name`.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "axis_ratio" => Some(Self::AxisRatio),
            "concentration" => Some(Self::Concentration),
            _ => None,
        }
    }

    /// `light` is the stamp, all bands added; `axis_ratio` that of its ellipses.
    fn on(self, light: &[f32], side: usize, axis_ratio: f64) -> Option<f64> {
        match self {
            Self::AxisRatio => Some(axis_ratio),
            Self::Concentration => measure::concentration(light, side, axis_ratio),
        }
    }
}

/// Given and measured conditions, in the model's order.
pub fn conditions(card: &Card, entry: &Entry, stamp: &[f32]) -> Result<Vec<f64>, String> {
    let side = card.geometry.side;
    let all_given = entry
        .conditions
        .iter()
        .all(|c| matches!(c, Given::Value(_)));
    let light = if all_given {
        Vec::new()
    } else {
        sum_bands(stamp, side * side)
    };
    let given = card
        .conditions
        .position("axis_ratio")
        .map(|i| entry.conditions[i]);
    let axis_ratio = match given {
        Some(Given::Value(q)) => Some(q),
        _ if all_given => None,
        _ => measure::shape(&light, side).map(|m| m.ellipse.axis_ratio),
    };
    let named = card.conditions.list.iter().zip(&entry.conditions);
    named
        .map(|(condition, given)| {
            let value = match *given {
                Given::Value(value) => Some(value),
                Given::Measured(measure) => axis_ratio.and_then(|q| measure.on(&light, side, q)),
            };
            value.ok_or_else(|| {
                let bad = light.iter().find(|pixel| !pixel.is_finite());
                let found = bad.map_or(String::new(), |pixel| format!(", a pixel of which is {pixel}"));
                format!(
                    "{} cannot be measured on this stamp{found}, expected a galaxy with positive flux",
                    condition.name
                )
            })
        })
        .collect()
}

fn sum_bands(stamp: &[f32], plane: usize) -> Vec<f32> {
    let mut light = vec![0.0; plane];
    for band in stamp.chunks_exact(plane) {
        light
            .iter_mut()
            .zip(band)
            .for_each(|(sum, pixel)| *sum += pixel);
    }
    light
}
