//! How each family learns: its losses.

pub mod flow_vae;
