//! From pictures of galaxies to training stamps, and the file that holds them.
//!
//! A picture's display stretch is undone ([`stretch`]), its sky measured ([`plane`]), the central galaxy
//! found and neighbours taken off ([`neighbours`], [`profile`]); the galaxy is then turned and scaled until
//! the stamp itself measures as it should ([`galaxy`], [`framing`], [`resample`]), or rejected for one named [`reason`].
//! What lies between the light and the picture goes the same way ([`psf`], [`noise`]).
//! [`source`] lists the pictures of a folder or file (with [`catalogue`] and [`frame`]), [`set`] is the training set on disk.
//!
//! [`images`] are plain images as they are, [`labels`] their classes; [`conditions`] says what a model is asked for.

pub mod catalogue;
pub mod conditions;
pub mod frame;
pub mod framing;
pub mod galaxy;
pub mod images;
pub mod labels;
pub mod light_noise;
pub mod neighbours;
pub mod noise;
pub mod plane;
pub mod profile;
pub mod psf;
pub mod reason;
pub mod resample;
pub mod set;
pub mod source;
pub mod stretch;
