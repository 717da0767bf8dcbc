//! What can be wrong with a request to render.

/// Why a map, a point-spread function, a grid or a noise model was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A number lies outside the range in which it has a meaning.
    #[error("{what}: found {found}, expected {expected}")]
    OutOfRange {
        /// The quantity, with its unit.
        what: &'static str,
        /// Its value.
        found: f64,
        /// The values that are accepted.
        expected: &'static str,
    },
    /// A matrix that collapses the sky to a line or a point, or that is not finite.
    #[error("affine map {found:?}: found determinant {determinant}, expected finite and not zero")]
    SingularMap {
        /// The matrix, row-major.
        found: [f64; 4],
        /// Its determinant.
        determinant: f64,
    },
    /// An image whose length is not the product of its sides.
    #[error("{what}: found {found} values, expected {expected} (width x height)")]
    Length {
        /// Which image.
        what: &'static str,
        /// Values given.
        found: usize,
        /// Values that its sides ask for.
        expected: usize,
    },
    /// A pixel of a point-spread function that is negative or not finite.
    #[error(
        "PSF image, pixel x = {x}, y = {y}: found {found}, expected a finite value >= 0 (of a measured PSF subtract the sky and set its noise below 0 to 0)"
    )]
    PsfPixel {
        /// Column, from 0.
        x: usize,
        /// Row, from 0.
        y: usize,
        /// The value.
        found: f32,
    },
    /// A point-spread function without light.
    #[error("PSF image: found a sum of 0, expected some light")]
    EmptyPsf,
    /// The scratch memory of a renderer would pass [`MAX_SCRATCH_BYTES`](super::MAX_SCRATCH_BYTES).
    #[error(
        "rendering {width} x {height} pixels with this PSF needs {found} bytes of scratch, expected at \
         most {expected}: render a smaller grid, or use a narrower or coarser PSF"
    )]
    TooLarge {
        /// Width of the grid in pixels.
        width: usize,
        /// Height of the grid in pixels.
        height: usize,
        /// Bytes needed.
        found: u64,
        /// Bytes allowed.
        expected: u64,
    },
}

/// Accepts a finite number above zero.
pub(super) fn positive(what: &'static str, found: f64) -> Result<f64, RenderError> {
    within(what, found, found > 0.0, "a finite number above 0")
}

/// Accepts a finite number for which `holds`.
pub(super) fn within(
    what: &'static str,
    found: f64,
    holds: bool,
    expected: &'static str,
) -> Result<f64, RenderError> {
    if holds && found.is_finite() {
        Ok(found)
    } else {
        Err(RenderError::OutOfRange {
            what,
            found,
            expected,
        })
    }
}
