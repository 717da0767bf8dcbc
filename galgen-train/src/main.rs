//! The galgen-train program.
fn main() {}
