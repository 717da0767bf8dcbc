//! The training set on disk: one safetensors file.
//!
//! | tensor | type, shape | content |
//! |---|---|---|
//! | `stamps` | f32 `[N, 1, side, side]` | galaxy frame, windowed, each of sum 1 |
//! | `observed` | u8 `[N, side, side]` | 1 where the light was observed, 0 where it was filled in |
//! | `id` | i64 `[N]` | stable identity of the source picture, non-negative, unique |
//! | each of [`COLUMNS`] | f32 `[N]` | see there; only `ra_deg` and `dec_deg` may be NaN |
//!
//! The metadata entry [`METADATA_KEY`] holds a JSON [`Description`].

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Metadata entry that holds the [`Description`].
pub const METADATA_KEY: &str = "galgen_training_set";
/// Version of the layout above.
pub const FORMAT_VERSION: u32 = 1;

/// Per-galaxy numbers, each an f32 tensor of shape `[N]`.
pub const COLUMNS: [&str; 12] = [
    // Standard deviation of the sky in one stamp pixel, in units of the stamp (sum 1).
    "sky_sigma",
    // Measured in the stamp: galgen_core::measure.
    "axis_ratio",
    "concentration",
    "asymmetry",
    "half_light_radius_px",
    // Semi-major half-light radius in the source.
    "source_half_light_radius_px",
    // The same on the sky, NaN if the source's pixel scale is not known.
    "source_half_light_radius_arcsec",
    "source_position_angle_deg",
    "signal_to_noise",
    // Fraction of the stamp's light that was continued beyond the picture.
    "missing_light",
    // Position on the sky, NaN if not known.
    "ra_deg",
    "dec_deg",
];
const MAY_BE_NAN: [&str; 3] = ["ra_deg", "dec_deg", "source_half_light_radius_arcsec"];

/// Where a training set comes from and what was done to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Side of the stamps in pixels.
    pub side: usize,
    /// Semi-major half-light radius of every stamp, in pixels.
    pub hlr_px: f64,
    /// Band of the light.
    pub band: String,
    /// Name of the source.
    pub source: String,
    /// Whom to credit.
    pub credit: String,
    /// Display stretch that was undone, and how well it is known.
    pub stretch: String,
    /// Arcseconds per source pixel, if known.
    pub pixel_scale_arcsec: Option<f64>,
    /// Pictures accepted.
    pub accepted: usize,
    /// Pictures rejected, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// The command's options.
    pub options: String,
}

/// A training set in memory.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    /// Where it comes from.
    pub description: Description,
    /// `[N, 1, side, side]`, row-major.
    pub stamps: Vec<f32>,
    /// `[N, side, side]`.
    pub observed: Vec<u8>,
    /// `[N]`.
    pub id: Vec<i64>,
    /// `[N]` for each of [`COLUMNS`], in that order.
    pub columns: Vec<Vec<f32>>,
}

/// Why a training set cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// The set cannot be written.
    #[error(transparent)]
    Write(#[from] galgen_io::atomic::AtomicError),
    /// The content is not a training set.
    #[error("{path}: {problem}; write the set again with `galgen-train prepare`")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Tensor, found and expected.
        problem: String,
    },
}

impl TrainingSet {
    /// Number of galaxies.
    pub fn len(&self) -> usize {
        self.id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// Pixels of galaxy `index`, `side * side`.
    pub fn stamp(&self, index: usize) -> &[f32] {
        let pixels = self.description.side * self.description.side;
        &self.stamps[index * pixels..(index + 1) * pixels]
    }

    /// Mask of galaxy `index`, `side * side`: 1 where observed.
    pub fn observed(&self, index: usize) -> &[u8] {
        let pixels = self.description.side * self.description.side;
        &self.observed[index * pixels..(index + 1) * pixels]
    }

    /// One of [`COLUMNS`].
    pub fn column(&self, name: &str) -> Option<&[f32]> {
        let at = COLUMNS.iter().position(|c| *c == name)?;
        Some(&self.columns[at])
    }

    /// Reads a set and checks all of it: every tensor there and no other, types, shapes, finite values, unique ids,
    /// stamps of sum 1.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SetError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| SetError::Io {
            path: path.into(),
            source,
        })?;
        Self::parse(&bytes).map_err(|problem| SetError::Invalid {
            path: path.into(),
            problem,
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file ({e})"))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA_KEY))
            .ok_or_else(|| format!("metadata entry '{METADATA_KEY}' is missing"))?;
        let description: Description = serde_json::from_str(text)
            .map_err(|e| format!("metadata entry '{METADATA_KEY}': {e}"))?;
        if description.format_version != FORMAT_VERSION {
            return Err(format!(
                "format version {}, expected {FORMAT_VERSION}",
                description.format_version
            ));
        }
        let side = description.side;
        if !galgen_core::stamp::SIDE_RANGE.contains(&side) {
            return Err(format!(
                "side {side} is not within {:?}",
                galgen_core::stamp::SIDE_RANGE
            ));
        }
        let n = file
            .tensor("id")
            .map_err(|_| "tensor 'id' is missing".to_string())?
            .shape()
            .first()
            .copied();
        let n = n.ok_or("tensor 'id' has no dimension")?;
        for name in file.names() {
            if !["stamps", "observed", "id"].contains(&name) && !COLUMNS.contains(&name) {
                return Err(format!("unknown tensor '{name}'"));
            }
        }
        let id = words(&file, "id", Dtype::I64, &[n])?
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(array(b)))
            .collect();
        let set = Self {
            stamps: floats(&file, "stamps", &[n, 1, side, side])?,
            observed: words(&file, "observed", Dtype::U8, &[n, side, side])?.to_vec(),
            id,
            columns: COLUMNS
                .iter()
                .map(|c| floats(&file, c, &[n]))
                .collect::<Result<_, _>>()?,
            description,
        };
        set.check()?;
        Ok(set)
    }

    /// The values' own rules.
    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for (row, id) in self.id.iter().enumerate() {
            if *id < 0 || !seen.insert(*id) {
                return Err(format!(
                    "tensor 'id': row {row} holds {id}, expected unique non-negative numbers"
                ));
            }
            let stamp = self.stamp(row);
            let sum = galgen_core::measure::total(stamp);
            if stamp.iter().any(|v| !v.is_finite()) || (sum - 1.0).abs() >= 1e-3 {
                return Err(format!(
                    "tensor 'stamps': row {row} has sum {sum}, expected finite pixels of sum 1"
                ));
            }
        }
        if let Some(at) = self.observed.iter().position(|v| *v > 1) {
            return Err(format!(
                "tensor 'observed': value {} found, expected 0 or 1",
                self.observed[at]
            ));
        }
        for (name, column) in COLUMNS.iter().zip(&self.columns) {
            let bad = |v: &f32| !(v.is_finite() || v.is_nan() && MAY_BE_NAN.contains(name));
            if let Some(row) = column.iter().position(bad) {
                return Err(format!(
                    "tensor '{name}': row {row} holds {}, expected a finite number",
                    column[row]
                ));
            }
        }
        Ok(())
    }

    /// Writes the set: whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SetError> {
        let path = path.as_ref();
        let bytes = self.to_bytes().map_err(|problem| SetError::Invalid {
            path: path.into(),
            problem,
        })?;
        Ok(galgen_io::atomic::write_atomic(path, &bytes)?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let (n, side) = (self.len(), self.description.side);
        let raw = |values: &[f32]| {
            values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let mut tensors = vec![
            (
                "stamps",
                Dtype::F32,
                vec![n, 1, side, side],
                raw(&self.stamps),
            ),
            (
                "observed",
                Dtype::U8,
                vec![n, side, side],
                self.observed.clone(),
            ),
            (
                "id",
                Dtype::I64,
                vec![n],
                self.id.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ),
        ];
        tensors.extend(
            COLUMNS
                .iter()
                .zip(&self.columns)
                .map(|(c, v)| (*c, Dtype::F32, vec![n], raw(v))),
        );
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| {
                Ok((*name, TensorView::new(*dtype, shape.clone(), data)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| e.to_string())?;
        let text = serde_json::to_string(&self.description).map_err(|e| e.to_string())?;
        let metadata = HashMap::from([(METADATA_KEY.to_string(), text)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
    }
}

fn words<'a>(
    file: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<&'a [u8], String> {
    let tensor = file
        .tensor(name)
        .map_err(|_| format!("tensor '{name}' is missing"))?;
    if tensor.dtype() != dtype || tensor.shape() != shape {
        let (found, has) = (tensor.dtype(), tensor.shape());
        return Err(format!(
            "tensor '{name}' is {found:?} {has:?}, expected {dtype:?} {shape:?}"
        ));
    }
    Ok(tensor.data())
}

fn floats(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    Ok(words(file, name, Dtype::F32, shape)?
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(array(b)))
        .collect())
}

/// A chunk of `chunks_exact(N)` as an array.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> TrainingSet {
        let side = 8;
        let description = Description {
            format_version: FORMAT_VERSION,
            side,
            hlr_px: 2.0,
            band: "r".into(),
            source: "test".into(),
            credit: "none".into(),
            stretch: "none".into(),
            pixel_scale_arcsec: None,
            accepted: 2,
            rejected: BTreeMap::from([("star".into(), 3)]),
            options: String::new(),
        };
        let mut columns = vec![vec![0.5, 0.25]; COLUMNS.len()];
        columns[10] = vec![f32::NAN; 2];
        TrainingSet {
            description,
            stamps: vec![1.0 / 64.0; 2 * side * side],
            observed: vec![1; 2 * side * side],
            id: vec![3, 5],
            columns,
        }
    }

    #[test]
    fn a_set_comes_back_as_it_was_written() {
        let path =
            std::env::temp_dir().join(format!("galgen-set-{}.safetensors", std::process::id()));
        let written = set();
        written.save(&path).expect("temporary folder");
        let read = TrainingSet::load(&path).expect("just written");
        std::fs::remove_file(&path).expect("just read");
        assert_eq!(read.description, written.description);
        assert_eq!((read.stamps, read.id), (written.stamps, written.id));
        assert_eq!(read.columns[1], [0.5, 0.25]);
        assert!(read.columns[10][0].is_nan());
    }

    #[test]
    fn every_fault_is_named() {
        let fault = |change: &dyn Fn(&mut TrainingSet)| {
            let mut faulty = set();
            change(&mut faulty);
            TrainingSet::parse(&faulty.to_bytes().expect("serialises")).expect_err("a fault")
        };
        assert!(fault(&|s| s.id[1] = 3).contains("'id': row 1"));
        assert!(fault(&|s| s.stamps[64] = f32::NAN).contains("'stamps': row 1"));
        assert!(fault(&|s| s.observed[0] = 7).contains("'observed'"));
        assert!(fault(&|s| s.columns[1][1] = f32::INFINITY).contains("'axis_ratio': row 1"));
        assert!(fault(&|s| s.description.format_version = 9).contains("version 9"));
        assert!(
            TrainingSet::parse(b"nonsense")
                .expect_err("a fault")
                .contains("safetensors")
        );
    }
}
