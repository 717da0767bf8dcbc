//! From a native stamp to an image: orientation, lensing, resampling, point-spread function, noise.
//!
//! A network draws a galaxy's *shape*: unit flux, major axis along x, a fixed half-light radius in
//! pixels. Everything else that a catalogue asks for is applied here, exactly by construction:
//!
//! 1. [`Affine`] maps pixels of the stamp to arcsec on the sky: pixel scale, position angle, [`Lens`].
//! 2. [`Renderer`] deposits the light through that map on the caller's [`Grid`], conserving flux and
//!    never going negative, optionally convolved with a [`Psf`].
//! 3. [`Noise`] adds photon and read-out noise.
//!
//! # Conventions
//! Images are row-major, x along a row; offsets are taken from the geometric centre
//! `((width - 1) / 2, (height - 1) / 2)` (GalSim `true_center`). The sky's x and y are the grid's.
//! A pixel's value, native or rendered, is the flux that falls *within that pixel*; a map from pixels
//! to pixels therefore adds no blur of its own, and the identity returns its input bit for bit.
//!
//! Same input, same bits, on every platform: elementary functions come from `libm`, sums have a fixed
//! order, and no fused multiply-add is left to the compiler.

mod affine;
mod error;
pub(crate) mod fft;
mod noise;
mod points;
mod poisson;
mod psf;
mod renderer;
mod resample;

pub use affine::{Affine, Lens, NativeFrame};
pub use error::RenderError;
pub use noise::{Noise, PhotonNoise};
pub use poisson::poisson;
pub use psf::{Psf, PsfCentre};
pub use renderer::{Grid, MAX_GRID_SIDE, MAX_SCRATCH_BYTES, Rendered, Renderer};
