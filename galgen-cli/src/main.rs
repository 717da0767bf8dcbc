//! The galgen program.
fn main() {}
