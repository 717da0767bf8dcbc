//! The training set on disk: one safetensors file.
//!
//! | tensor | type, shape | content |
//! |---|---|---|
//! | `stamps` | f32 `[N, 1, side, side]` | galaxy frame, windowed, each of sum 1 |
//! | `observed` | u8 `[N, side, side]` | 1 where the light was observed, 0 where it was filled in |
//! | `psf` | f32 `[N, p, p]`, p odd | point-spread function in stamp pixels, sum 1, centre at `((p - 1) / 2, (p - 1) / 2)`: all that lies between the intrinsic light and the stamp (optics, seeing, detector pixel, kernel of the resampling); a single 1 is none |
//! | `noise_acf` | f32 `[N, q, q]`, q odd | autocorrelation of the sky noise in stamp pixels, 1 at the centre, point-symmetric; a single 1 is white noise |
//! | `variance` | f32 `[N, side, side]`, may be absent | variance of each pixel in units of `sky_sigma` squared; 1 where absent |
//! | `id` | i64 `[N]` | stable identity of the source picture, non-negative, unique |
//! | each of [`COLUMNS`] | f32 `[N]` | see there; only `ra_deg` and `dec_deg` may be NaN |
//!
//! The metadata entry [`METADATA_KEY`] holds a JSON [`Description`].

use super::noise::lowest_power;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Metadata entry that holds the [`Description`].
pub const METADATA_KEY: &str = "galgen_training_set";
/// Version of the layout above.
pub const FORMAT_VERSION: u32 = 2;

/// Tensors beside the columns.
const TENSORS: [&str; 6] = ["stamps", "observed", "psf", "noise_acf", "variance", "id"];

/// Per-galaxy numbers, each an f32 tensor of shape `[N]`.
pub const COLUMNS: [&str; 17] = [
    // Standard deviation of the sky in one stamp pixel, in units of the stamp (sum 1).
    "sky_sigma",
    // Measured in the stamp, the point-spread function's effect included: galgen_core::measure.
    "axis_ratio",
    "concentration",
    "asymmetry",
    "half_light_radius_px",
    // Full width at half maximum of `psf`.
    "psf_fwhm_px",
    // Semi-major half-light radius in the source, the point-spread function's taken off in quadrature.
    "source_half_light_radius_px",
    // The same on the sky, NaN if the source's pixel scale is not known.
    "source_half_light_radius_arcsec",
    // The map: stamp pixel (u, v) from the stamp's centre is, in the source, source_scale * (u, v) turned by
    // source_position_angle_deg from (source_x_px, source_y_px).
    "source_scale",
    "source_x_px",
    "source_y_px",
    "source_position_angle_deg",
    // Sum of the stamp's light in units of the source.
    "source_flux",
    "signal_to_noise",
    // Fraction of the stamp's light that was continued beyond the picture.
    "missing_light",
    // Position on the sky, NaN if not known.
    "ra_deg",
    "dec_deg",
];
const MAY_BE_NAN: [&str; 3] = ["ra_deg", "dec_deg", "source_half_light_radius_arcsec"];
/// Largest error of a sum or a central value of 1.
const UNIT_TOLERANCE: f64 = 1e-3;
/// Rounding of f32 in an autocorrelation: of its symmetry, and of its power spectrum relative to the mean.
const ROUNDING: f64 = 1e-4;

/// Where a training set comes from and what was done to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Side of the stamps in pixels.
    pub side: usize,
    /// Semi-major half-light radius of every stamp before its point-spread function (estimated), in pixels.
    pub hlr_px: f64,
    /// Band of the light.
    pub band: String,
    /// Name of the source.
    pub source: String,
    /// Whom to credit.
    pub credit: String,
    /// Display stretch that was undone, and how well it is known.
    pub stretch: String,
    /// Where the point-spread functions come from.
    pub psf: String,
    /// Where the noise's autocorrelation comes from.
    pub noise: String,
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
    /// Side of the point-spread functions, odd.
    pub psf_side: usize,
    /// `[N, psf_side, psf_side]`.
    pub psf: Vec<f32>,
    /// Side of the autocorrelations, odd.
    pub acf_side: usize,
    /// `[N, acf_side, acf_side]`.
    pub noise_acf: Vec<f32>,
    /// `[N, side, side]`, if not 1 everywhere.
    pub variance: Option<Vec<f32>>,
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

    /// Point-spread function of galaxy `index`, `psf_side * psf_side`.
    pub fn psf(&self, index: usize) -> &[f32] {
        let pixels = self.psf_side * self.psf_side;
        &self.psf[index * pixels..(index + 1) * pixels]
    }

    /// Autocorrelation of the sky noise of galaxy `index`, `acf_side * acf_side`.
    pub fn noise_acf(&self, index: usize) -> &[f32] {
        let lags = self.acf_side * self.acf_side;
        &self.noise_acf[index * lags..(index + 1) * lags]
    }

    /// Variance of galaxy `index` in units of its sky's, `side * side`; `None` for 1 everywhere.
    pub fn variance(&self, index: usize) -> Option<&[f32]> {
        let pixels = self.description.side * self.description.side;
        let all = self.variance.as_ref()?;
        Some(&all[index * pixels..(index + 1) * pixels])
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
            if !TENSORS.contains(&name) && !COLUMNS.contains(&name) {
                return Err(format!("unknown tensor '{name}'"));
            }
        }
        let id = words(&file, "id", Dtype::I64, &[n])?
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(array(b)))
            .collect();
        let psf_side = odd_side(&file, "psf")?;
        let acf_side = odd_side(&file, "noise_acf")?;
        let variance = file.tensor("variance").is_ok();
        let set = Self {
            psf: floats(&file, "psf", &[n, psf_side, psf_side])?,
            psf_side,
            noise_acf: floats(&file, "noise_acf", &[n, acf_side, acf_side])?,
            acf_side,
            variance: variance
                .then(|| floats(&file, "variance", &[n, side, side]))
                .transpose()?,
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
            if stamp.iter().any(|v| !v.is_finite()) || (sum - 1.0).abs() >= UNIT_TOLERANCE {
                return Err(format!(
                    "tensor 'stamps': row {row} has sum {sum}, expected finite pixels of sum 1"
                ));
            }
        }
        for row in 0..self.len() {
            check_psf(self.psf(row)).map_err(|e| format!("tensor 'psf': row {row} {e}"))?;
            check_correlation(self.noise_acf(row), self.acf_side)
                .map_err(|e| format!("tensor 'noise_acf': row {row} {e}"))?;
        }
        if let Some(variance) = &self.variance
            && let Some(v) = variance.iter().find(|v| !(v.is_finite() && **v > 0.0))
        {
            return Err(format!(
                "tensor 'variance': value {v} found, expected a positive number"
            ));
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
        tensors.push((
            "psf",
            Dtype::F32,
            vec![n, self.psf_side, self.psf_side],
            raw(&self.psf),
        ));
        tensors.push((
            "noise_acf",
            Dtype::F32,
            vec![n, self.acf_side, self.acf_side],
            raw(&self.noise_acf),
        ));
        if let Some(variance) = &self.variance {
            tensors.push(("variance", Dtype::F32, vec![n, side, side], raw(variance)));
        }
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

/// Finite pixels of sum 1.
fn check_psf(psf: &[f32]) -> Result<(), String> {
    let sum = galgen_core::measure::total(psf);
    if psf.iter().any(|v| !v.is_finite()) || (sum - 1.0).abs() >= UNIT_TOLERANCE {
        return Err(format!("has sum {sum}, expected finite pixels of sum 1"));
    }
    Ok(())
}

/// 1 at the centre, point-symmetric, a power spectrum that is nowhere negative.
fn check_correlation(correlation: &[f32], side: usize) -> Result<(), String> {
    let centre = f64::from(correlation[correlation.len() / 2]);
    if correlation.iter().any(|v| !v.is_finite()) || (centre - 1.0).abs() >= UNIT_TOLERANCE {
        return Err(format!(
            "has {centre} at its centre, expected finite values and 1"
        ));
    }
    let opposite = correlation.iter().zip(correlation.iter().rev());
    if let Some((a, b)) = opposite
        .into_iter()
        .find(|(a, b)| f64::from((**a - **b).abs()) > ROUNDING)
    {
        return Err(format!(
            "holds {a} opposite {b}, expected a point-symmetric array"
        ));
    }
    let wide: Vec<f64> = correlation.iter().map(|v| f64::from(*v)).collect();
    let lowest = lowest_power(&wide, side);
    if lowest < -ROUNDING {
        return Err(format!(
            "has a power spectrum that falls to {lowest} of its mean, expected none below 0"
        ));
    }
    Ok(())
}

/// Last dimension of a tensor, which must be odd.
fn odd_side(file: &SafeTensors<'_>, name: &str) -> Result<usize, String> {
    let tensor = file
        .tensor(name)
        .map_err(|_| format!("tensor '{name}' is missing"))?;
    match tensor.shape().last() {
        Some(side) if side % 2 == 1 => Ok(*side),
        _ => Err(format!(
            "tensor '{name}' is {:?}, expected [N, p, p] with p odd",
            tensor.shape()
        )),
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
mod tests;
