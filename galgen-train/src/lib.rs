//! Training of galgen models.

pub mod data;
pub mod ops;
pub mod checkpoint;
pub mod fit;
pub mod lower;
pub mod models;
pub mod optim;
pub mod params;
pub mod recipe;
pub mod samples;
pub mod tensors;
pub mod fit_command;
pub mod prepare;
