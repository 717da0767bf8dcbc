//! How each family draws and scores, on top of lowered networks.

pub(crate) mod flow_vae;
