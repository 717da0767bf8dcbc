//! What of a galaxy its score is held against.

use crate::failure::Failure;
use crate::source::Source;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use galgen_core::measure::{self, Morphology, Noise};
use galgen_core::stamp::Geometry;
use std::io::Write;

/// Levels of a plain image, whose pixels lie between 0 and 1.
const LEVELS: f32 = 255.0;
/// Levels of a galaxy whose sky noise is not known, from 0 to its brightest pixel.
const GALAXY_LEVELS: f32 = 1000.0;

/// A number that each galaxy has.
pub struct Property {
    /// Name in the report.
    pub name: String,
    how: How,
}

enum How {
    Shape(fn(&Morphology) -> f64),
    Complexity,
    Mean,
    Column,
}

/// The properties of images of that geometry, and columns of the files.
pub fn of(geometry: &Geometry, columns: &[String]) -> Vec<Property> {
    let property = |name: &str, how| Property {
        name: name.into(),
        how,
    };
    let shape = |name: &str, of| property(name, How::Shape(of));
    let mut all = if geometry.half_light_radius.is_some() {
        vec![
            shape("half-light radius, pixels", |m| m.half_light_radius),
            shape("axis ratio", |m| m.axis_ratio),
            shape("concentration", |m| m.concentration),
            shape("asymmetry", |m| m.asymmetry),
            shape("smoothness", |m| m.smoothness),
            shape("Gini", |m| m.gini),
            shape("M20", |m| m.m20),
        ]
    } else {
        vec![property("mean of the pixels", How::Mean)]
    };
    all.push(property("complexity, compressed bytes", How::Complexity));
    all.extend(columns.iter().map(|name| property(name, How::Column)));
    all
}

/// The values of each property that is a column of the file, for every row.
pub fn columns(
    properties: &[Property],
    source: &mut Source,
) -> Result<Vec<Option<Vec<f64>>>, Failure> {
    let column = |property: &Property| match property.how {
        How::Column => source.named_column(&property.name).map(Some),
        _ => Ok(None),
    };
    properties.iter().map(column).collect()
}

/// The properties of a stamp with the sky noise `sky` in a pixel, `columns` those of its row; NaN for what cannot be
/// measured.
pub fn row(
    properties: &[Property],
    columns: &[Option<Vec<f64>>],
    row: usize,
    stamp: &[f32],
    geometry: &Geometry,
    sky: Option<f64>,
) -> Vec<f64> {
    let side = geometry.side;
    let wanted = properties.iter().any(|p| matches!(p.how, How::Shape(_)));
    let shape = wanted.then(|| {
        let noise = Noise {
            sigma: sky.unwrap_or(0.0),
            acf: &[1.0],
        };
        measure::morphology(&stamp[..side * side], side, None, &noise)
    });
    let shape = shape.flatten();
    let value = |(property, column): (&Property, &Option<Vec<f64>>)| match property.how {
        How::Shape(of) => shape.as_ref().map_or(f64::NAN, of),
        How::Complexity => complexity(stamp, geometry, sky),
        How::Mean => measure::total(stamp) / stamp.len() as f64,
        How::Column => column.as_ref().map_or(f64::NAN, |values| values[row]),
    };
    properties.iter().zip(columns).map(value).collect()
}

/// Bytes of the stamp in whole steps of its noise, compressed by deflate: noise has one step, so that what takes
/// more room is structure.
fn complexity(stamp: &[f32], geometry: &Geometry, sky: Option<f64>) -> f64 {
    let step = match (geometry.half_light_radius, sky) {
        (None, _) => 1.0 / LEVELS,
        (Some(_), Some(sky)) if sky > 0.0 => sky as f32,
        _ => stamp.iter().copied().fold(f32::MIN_POSITIVE, f32::max) / GALAXY_LEVELS,
    };
    let bytes: Vec<u8> = stamp
        .iter()
        .flat_map(|v| ((v / step).round().clamp(-32768.0, 32767.0) as i16).to_le_bytes())
        .collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    written.map_or(f64::NAN, |compressed| compressed.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_takes_more_room_than_none() {
        let geometry = Geometry {
            side: 32,
            bands: vec!["r".into()],
            half_light_radius: None,
        };
        let flat = vec![0.5; 1024];
        let stripes: Vec<f32> = (0..1024).map(|k| (k * k % 97) as f32 / 97.0).collect();
        let size = |stamp: &[f32]| complexity(stamp, &geometry, None);
        assert!(size(&stripes) > 5.0 * size(&flat));
    }
}
