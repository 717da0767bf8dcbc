//! Galaxies in a Rust program: draws two on the grid of a survey and prints what they are.
//! Run it with `cargo run --release -p galgen-cli --example embed -- models/default.safetensors`.

use galgen_core::object::Object;
use galgen_infer::render::{Grid, Psf, Renderer};
use galgen_infer::{Model, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: embed MODEL.safetensors")?;
    let model = Model::open(path)?; // immutable: share it between threads
    let mut session = Session::new(model.clone()); // one per thread, all scratch memory
    let geometry = &model.card().geometry;
    let grid = Grid {
        width: 48,
        height: 48,
        pixel_scale: 0.2,
    }; // arcsec
    let psf = Psf::moffat(0.7, 3.5)?;
    let mut renderer = Renderer::new(geometry.side, geometry.bands.len(), grid, Some(&psf))?;
    let mut image = vec![0.0f32; renderer.image_len()];
    for (id, axis_ratio, concentration) in [(1001, 0.45, 2.7), (1002, 0.8, 3.4)] {
        // Conditions in the order of `galgen inspect`; lengths in arcsec, angles in degrees.
        let conditions = [axis_ratio, concentration];
        let galaxy = Object {
            half_light_radius: 0.6,
            flux: 250.0,
            position_angle: 30.0,
            shear: [0.01, -0.02],
            ..Object::new(id, &conditions)
        };
        let drawn =
            session.sample_rendered(0, &galaxy, [0.0, 0.0], &mut renderer, None, &mut image)?;
        let sum: f32 = image.iter().sum();
        println!(
            "{id}: flux {sum:.2}, {:.4} of it inside, flags {}",
            drawn.fraction_inside, drawn.flags.0
        );
    }
    Ok(())
}
