//! Runs one of the main paths once, after a first time that is not counted: `paths PATH`, or `paths` for their names.
//! `benches/callgrind/run` counts the instructions of `counted`.
#![forbid(unsafe_code)]

use galgen_benches::Inputs;
use galgen_core::condition::Conditions;
use galgen_core::models::{Body, Head, PixelCnnPreset};
use galgen_core::object::Object;
use galgen_infer::render::{Grid, Psf, Renderer};
use galgen_infer::{Model, Pixels, Session, Simd};
use galgen_specimens::model::random_pixel_cnn;

const PATHS: [&str; 7] = [
    "load",
    "native",
    "rendered",
    "log_likelihood",
    "latent",
    "pixelcnn_draw",
    "pixelcnn_log_p",
];

/// What is counted.
#[inline(never)]
fn counted(path: &mut dyn FnMut()) {
    path();
}

fn main() {
    let Some(name) = std::env::args().nth(1) else {
        println!("{}", PATHS.join("\n"));
        return;
    };
    // Valgrind knows nothing beyond AVX2.
    let level = Simd::available()
        .filter(|simd| simd.name() != "avx512")
        .last();
    let simd = level.unwrap_or(Simd::Scalar);
    let inputs = Inputs::read();
    let mut session = Session::new(inputs.model(simd));
    let object = Object::new(7, &[0.5, 3.0]);
    let conditions = &object.conditions[..2];
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let preset = PixelCnnPreset {
        body: Body::Gated,
        channels: 32,
        blocks: 2,
        head: Head::Gaussian,
    };
    let file = random_pixel_cnn(preset, 16, Conditions::default(), 1);
    let pixels = Model::from_bytes_on(&file, simd).expect("a model");
    let mut pixels = Session::new(pixels);
    let mut image = vec![0.0; 256];
    let run = |path: &mut dyn FnMut()| {
        path();
        counted(path);
    };
    match name.as_str() {
        "load" => run(&mut || drop(inputs.model(simd))),
        "native" => run(&mut || {
            let drawn = session.sample_native(1, &object, &mut stamp);
            drawn.expect("a galaxy");
        }),
        "rendered" => {
            let grid = Grid {
                width: 64,
                height: 64,
                pixel_scale: 0.2,
            };
            let psf = Psf::moffat(0.7, 3.5).expect("a function");
            let side = session.model().card().geometry.side;
            let renderer = Renderer::new(side, 1, grid, Some(&psf));
            let mut renderer = renderer.expect("a grid that fits");
            let mut out = vec![0.0; renderer.image_len()];
            run(&mut || {
                let r = &mut renderer;
                let drawn = session.sample_rendered(1, &object, [0.0; 2], r, None, &mut out);
                drawn.expect("a galaxy");
            });
        }
        "log_likelihood" => {
            let drawn = session.sample_galaxy_frame(1, &object, &mut stamp);
            drawn.expect("a galaxy");
            run(&mut || {
                let ln_p = session.log_likelihood(&stamp, conditions, None, 1, 1, 7);
                ln_p.expect("a bound");
            });
        }
        "latent" => {
            let mut z = vec![0.0; session.model().latent()];
            run(&mut || {
                let drawn = session.sample_latent(1, 7, conditions, &mut z);
                drawn.expect("a latent");
            });
        }
        "pixelcnn_draw" => run(&mut || {
            let drawn = pixels.sample_image(1, 7, &[], Pixels::Drawn, &mut image);
            drawn.expect("an image");
        }),
        "pixelcnn_log_p" => {
            let drawn = pixels.sample_image(1, 7, &[], Pixels::Drawn, &mut image);
            drawn.expect("an image");
            run(&mut || {
                let ln_p = pixels.log_likelihood(&image, &[], None, 1, 1, 7);
                ln_p.expect("a density");
            });
        }
        other => panic!("no path is called {other}: {}", PATHS.join(", ")),
    }
}
