//! Scalar formulas that training and inference share, in f64 with `libm` (the same bits everywhere).

pub mod act;
pub mod elementary;
pub mod spline;
