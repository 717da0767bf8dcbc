//! The f64 referee and the shared case tables of the test suite.
