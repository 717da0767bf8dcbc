//! Writes a model file of random weights with the sizes of the default preset, to measure speed or
//! to build before a model is trained: `cargo run -p galgen-cli --example random_model -- FILE`.

// Its functions serve the tests too.
#[allow(dead_code)]
#[path = "../tests/cli/random_model.rs"]
mod random_model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: random_model FILE")?;
    let preset = galgen_core::models::FlowVaePreset::default();
    galgen_io::atomic::write_atomic(path, &random_model::random_model(&preset, 1))?;
    Ok(())
}
