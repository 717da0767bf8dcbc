//! One row of a catalogue: its values, checked, or the first thing wrong with it.

use std::fmt;

use super::roles::{ConditionSource, Origin, Roles};
use crate::table::{Chunk, Value};

/// A galaxy to draw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CatalogRow {
    /// Number of the row in the file, from 0.
    pub row: u64,
    /// Object id: the key of its random numbers.
    pub id: u64,
    /// Half-light radius in arcsec, in the catalogue's size definition. Positive.
    pub half_light_radius: f64,
    /// Flux, from the flux column or from the AB magnitude and zero point. Positive.
    pub flux: f64,
    /// Degrees from +x towards +y.
    pub position_angle: f64,
    /// Reduced shear, |g| < 1.
    pub g1: f64,
    /// Reduced shear, |g| < 1.
    pub g2: f64,
    /// Magnification, positive.
    pub magnification: f64,
    /// Conditions of the model, in its order, all finite.
    pub conditions: Vec<f64>,
}

/// Why a row cannot be drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowProblem {
    /// Number of the row in the file, from 0.
    pub row: u64,
    /// Line in a text file, from 1.
    pub line: Option<u64>,
    /// Object id, where it could be read.
    pub id: Option<u64>,
    /// Column with the bad value.
    pub column: String,
    /// The value, as text.
    pub value: String,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl RowProblem {
    pub(super) fn at(self, row: u64, line: Option<u64>) -> Self {
        Self { row, line, ..self }
    }
}

impl fmt::Display for RowProblem {
    /// `row 3 (line 5), id 17: half_light_radius = -1: expected a positive number of arcsec`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        if let Some(id) = self.id {
            write!(f, ", id {id}")?;
        }
        write!(f, ": {} = {}: {}", self.column, self.value, self.reason)
    }
}

/// Reader of one row: its cells, and the id as soon as it is known.
struct Cells<'a> {
    cells: &'a [Value],
    id: Option<u64>,
}

impl Cells<'_> {
    fn problem(
        &self,
        column: &str,
        value: &impl ToString,
        reason: impl Into<String>,
    ) -> RowProblem {
        RowProblem {
            id: self.id,
            column: column.into(),
            value: value.to_string(),
            reason: reason.into(),
            ..RowProblem::default()
        }
    }

    /// A finite number for which `good` holds; `expected` says in words what that is.
    fn number(
        &self,
        role: &str,
        origin: &Origin,
        expected: &str,
        good: impl Fn(f64) -> bool,
    ) -> Result<f64, RowProblem> {
        let (column, shown, value) = match origin {
            Origin::Constant(v) => (role, Value::Real(*v), Some(*v)),
            Origin::Column(at, name) => (
                name.as_str(),
                self.cells[*at].clone(),
                self.cells[*at].f64(),
            ),
        };
        match value {
            Some(v) if v.is_finite() && good(v) => Ok(v),
            _ => {
                let text = match shown {
                    Value::Text(_) => "text, ",
                    _ => "",
                };
                Err(self.problem(column, &shown, format!("{text}expected {expected}")))
            }
        }
    }

    /// The position of a class.
    fn class(&self, condition: &ConditionSource) -> Result<f64, RowProblem> {
        let (column, value) = match &condition.origin {
            Origin::Constant(position) => return Ok(*position),
            Origin::Column(at, name) => (name, self.cells[*at].text()),
        };
        let position = condition.classes.iter().position(|c| *c == value);
        position.map(|p| p as f64).ok_or_else(|| {
            let expected = format!("expected one of {}", condition.classes.join(", "));
            self.problem(column, &value, expected)
        })
    }
}

/// Row `index` of the chunk; its number in the file is filled in by the caller.
pub(super) fn read(roles: &Roles, chunk: &Chunk, index: usize) -> Result<CatalogRow, RowProblem> {
    let mut cells = Cells {
        cells: chunk.row(index),
        id: None,
    };
    if let Ok(at) = chunk
        .malformed
        .binary_search_by_key(&index, |(row, _)| *row)
    {
        let found = &chunk.malformed[at].1;
        return Err(cells.problem("fields", found, "expected as many fields as the header has"));
    }
    let id = match &roles.id {
        None => chunk.first_row + index as u64,
        Some(origin) => read_id(&cells, origin)?,
    };
    cells.id = Some(id);
    let positive = |v: f64| v > 0.0;
    let half_light_radius = cells.number(
        "half_light_radius",
        &roles.size,
        "a positive number of arcsec",
        positive,
    )?;
    let flux = read_flux(&cells, roles)?;
    let position_angle = cells.number(
        "position_angle",
        &roles.position_angle,
        "a number of degrees",
        |_| true,
    )?;
    let g1 = cells.number("g1", &roles.g1, "a reduced shear below 1", |v| {
        v.abs() < 1.0
    })?;
    // Both components of a unit circle can be below 1 while |g| is not.
    let g2 = cells.number("g2", &roles.g2, "a reduced shear with |g| below 1", |v| {
        g1 * g1 + v * v < 1.0
    })?;
    let magnification = cells.number(
        "magnification",
        &roles.magnification,
        "a positive number",
        positive,
    )?;
    let mut conditions = Vec::with_capacity(roles.conditions.len());
    for condition in &roles.conditions {
        if !condition.classes.is_empty() {
            conditions.push(cells.class(condition)?);
            continue;
        }
        let raw = if condition.name == "axis_ratio" && condition.map.is_none() {
            let expected = "an axis ratio b/a above 0 and at most 1";
            cells.number(&condition.name, &condition.origin, expected, |v| {
                v > 0.0 && v <= 1.0
            })?
        } else {
            cells.number(
                &condition.name,
                &condition.origin,
                "a finite number",
                |_| true,
            )?
        };
        let value = condition.map.map_or(raw, |map| map(raw));
        if !value.is_finite() {
            let origin = condition.origin.describe();
            let reason = format!("{} cannot be computed from {origin}", condition.name);
            return Err(cells.problem(&condition.name, &raw, reason));
        }
        conditions.push(value);
    }
    Ok(CatalogRow {
        row: 0,
        id,
        half_light_radius,
        flux,
        position_angle,
        g1,
        g2,
        magnification,
        conditions,
    })
}

fn read_id(cells: &Cells, origin: &Origin) -> Result<u64, RowProblem> {
    let (name, value) = match origin {
        Origin::Constant(v) => ("id", Value::Real(*v)),
        Origin::Column(at, name) => (name.as_str(), cells.cells[*at].clone()),
    };
    let reason = "expected a whole number from 0 to 18446744073709551615 \
                  (as an integer if it is above 2^53)";
    value
        .u64()
        .ok_or_else(|| cells.problem(name, &value, reason))
}

/// Flux as it stands, or 10^(-0.4 (m - zero point)).
fn read_flux(cells: &Cells, roles: &Roles) -> Result<f64, RowProblem> {
    let Some(zero_point) = roles.zero_point else {
        return cells.number("flux", &roles.flux, "a positive flux", |v| v > 0.0);
    };
    // libm, so that the flux has the same bits on every platform. The range keeps it finite and
    // catches the sentinels 99 and -99 of photometry programs.
    let usual = |m: f64| m.abs() < 90.0;
    let expected = "an AB magnitude (absolute value below 90)";
    let magnitude = cells.number("magnitude", &roles.flux, expected, usual)?;
    let flux = libm::exp10(-0.4 * (magnitude - zero_point));
    if flux.is_finite() && flux > 0.0 {
        return Ok(flux);
    }
    Err(cells.problem(
        "magnitude",
        &magnitude,
        "the zero point gives no finite flux",
    ))
}
