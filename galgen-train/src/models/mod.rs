//! How each family learns: its losses.

pub mod critic;
pub mod density;
pub mod flow;
pub mod flow_vae;
pub mod pixel_cnn;
pub mod vae;
