//! Point-spread functions of stamps to be scored.

use crate::failure::Failure;
use galgen_io::fits::read_named_image;
use std::path::Path;

/// One function for all stamps, or one for each.
pub struct StampPsf {
    /// `[1 or N, side, side]`, row-major.
    pub values: Vec<f32>,
    /// Odd.
    pub side: usize,
}

impl StampPsf {
    /// Reads the first image of a FITS file (or that in brackets) for `stamps` stamps of `stamp_side` pixels.
    pub fn read(path: &Path, stamps: usize, stamp_side: usize) -> Result<Self, Failure> {
        let fail = |problem: String| {
            Err(Failure::Failed(format!(
                "PSF {}: {problem}",
                path.display()
            )))
        };
        let image = read_named_image(path).map_err(|e| Failure::Failed(format!("PSF {e}")))?;
        let (side, planes) = (image.width, image.planes);
        if side != image.height || side.is_multiple_of(2) || side > stamp_side {
            let (width, height) = (image.width, image.height);
            return fail(format!(
                "{width} x {height} pixels, expected a square of odd side, at most {stamp_side}, centred on its middle pixel"
            ));
        }
        if planes != 1 && planes != stamps {
            return fail(format!(
                "{planes} planes, expected one, or one for each of the {stamps} stamps"
            ));
        }
        Ok(StampPsf {
            values: image.data,
            side,
        })
    }

    /// The function of stamp `row`, and its side.
    pub fn of(&self, row: usize) -> (Vec<f32>, usize) {
        let area = self.side * self.side;
        let start = if self.values.len() == area {
            0
        } else {
            row * area
        };
        (self.values[start..start + area].to_vec(), self.side)
    }
}
