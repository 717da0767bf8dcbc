//! Shape measurements.
