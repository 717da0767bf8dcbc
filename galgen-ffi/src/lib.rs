//! The C ABI of galgen.
