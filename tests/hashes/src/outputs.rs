//! Everything that a session gives for one object.

use crate::Fnv;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::object::{Object, SizeDefinition};
use galgen_infer::render::{Grid, Noise, PhotonNoise, Psf, Renderer};
use galgen_infer::{DrawError, Model, Pixels, Session};

const SEED: u64 = 20_262;
/// Posterior draws of a bound.
const DRAWS: u32 = 2;

/// Names of the outputs of one object and hashes of their bytes.
pub type Outputs = Vec<(&'static str, Fnv)>;

/// Everything that `session` gives for object `i`, in an order that depends on the model only.
///
/// # Panics
/// If the object cannot be drawn or scored.
pub fn outputs(session: &mut Session, i: u32) -> Outputs {
    let model = session.model().clone();
    let mut all = Vec::new();
    let object = object(&model, i);
    let conditions = &object.conditions[..model.card().conditions.len()];
    let mut stamp = vec![0.0; model.stamp_len()];
    let galaxies = model.card().geometry.half_light_radius.is_some();
    if galaxies {
        draw_galaxy(session, i, &object, &mut stamp, &mut all);
    } else {
        let mut mean = stamp.clone();
        let id = object.id;
        for (name, pixels, out) in [
            ("mean", Pixels::Mean, &mut mean),
            ("drawn", Pixels::Drawn, &mut stamp),
        ] {
            let drawn = session.sample_image(SEED, id, conditions, pixels, out);
            drawn.expect("an image");
            all.push((name, of_f32(out)));
        }
    }
    if model.takes_psf() {
        let cross = [0.0, 0.5, 0.0, 0.25, 2.0, 0.5, 0.0, 0.75, 0.0];
        session.set_psf(&cross, 3).expect("a function");
    }
    let mut made = vec![0.0; stamp.len()];
    let done = session.reconstruct(&stamp, conditions, &mut made);
    done.expect("a reconstruction");
    all.push(("reconstruction", of_f32(&made)));
    match model.head() {
        None => code(session, &object, conditions, &stamp, &mut all),
        Some(head) => pixels(
            session,
            object.id,
            conditions,
            &stamp,
            head.parameters(),
            &mut all,
        ),
    }
    let sky = model.takes_sky().then_some(0.0625);
    match session.log_likelihood(&stamp, conditions, sky, DRAWS, SEED, object.id) {
        Ok(ln_p) => all.push(("log_likelihood", of_f64(&[ln_p]))),
        Err(DrawError::NoLikelihood) => {}
        Err(error) => panic!("no likelihood: {error}"),
    }
    all
}

/// Galaxy `i`, with conditions across the trained range. All numbers are exact in binary.
fn object(model: &Model, i: u32) -> Object {
    let x = f64::from(i);
    let values: Vec<f32> = (0..)
        .zip(&model.card().conditions.list)
        .map(|(k, c)| match c.classes.len() as u32 {
            0 => {
                let step = (f64::from((7 * i + 3 * k) % 8) + 0.5) / 8.0;
                (c.range[0] + (c.range[1] - c.range[0]) * step) as f32
            }
            classes => (i % classes) as f32,
        })
        .collect();
    Object {
        half_light_radius: 0.5 + 0.25 * x,
        flux: 10.0 * (x + 1.0),
        position_angle: 17.0 * x,
        shear: [x / 64.0, x / -128.0],
        magnification: 1.0 + x / 32.0,
        size_definition: match i % 2 {
            0 => SizeDefinition::Circular,
            _ => SizeDefinition::SemiMajor,
        },
        ..Object::new(1000 + u64::from(i), &values)
    }
}

/// Leaves the galaxy in its own frame in `stamp`.
fn draw_galaxy(
    session: &mut Session,
    i: u32,
    object: &Object,
    stamp: &mut [f32],
    all: &mut Outputs,
) {
    let geometry = &session.model().card().geometry;
    let grid = Grid {
        width: 24,
        height: 20,
        pixel_scale: 0.5,
    };
    let psf = Psf::moffat(0.75, 2.5).expect("a point-spread function");
    let renderer = Renderer::new(geometry.side, geometry.bands.len(), grid, Some(&psf));
    let mut renderer = renderer.expect("a grid that fits");
    let photons = PhotonNoise {
        gain: 50.0,
        sky_level: 0.25,
    };
    let noise = Noise::new(0.0625, Some(photons)).expect("noise");
    let (mut image, mut share) = (vec![0.0; renderer.image_len()], 0.0);
    let offset = [0.125 * f64::from(i), -0.25];
    // Photons come in whole numbers, which hide the last bits of what they are drawn from.
    for (name, noise) in [("rendered", None), ("rendered_with_noise", Some(&noise))] {
        let r = &mut renderer;
        let drawn = session.sample_rendered(SEED, object, offset, r, noise, &mut image);
        share = drawn.expect("a galaxy").fraction_inside;
        all.push((name, of_f32(&image)));
    }
    all.push(("fraction_inside", of_f64(&[share])));
    let drawn = session.sample_native(SEED, object, stamp);
    let drawn = drawn.expect("a galaxy");
    all.push(("native", of_f32(stamp)));
    let [a, b, c, d] = drawn.jacobian;
    let geometry = [drawn.pixel_scale, drawn.half_light_radius, a, b, c, d];
    all.push(("geometry", of_f64(&geometry)));
    let drawn = session.sample_galaxy_frame(SEED, object, stamp);
    drawn.expect("a galaxy");
    all.push(("galaxy_frame", of_f32(stamp)));
}

/// The two ways between stamp and latent.
fn code(
    session: &mut Session,
    object: &Object,
    conditions: &[f32],
    stamp: &[f32],
    all: &mut Outputs,
) {
    let n = session.model().latent();
    let (mut z, mut mean, mut spread) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let mut decoded = vec![0.0; stamp.len()];
    let drawn = session.sample_latent(SEED, object.id, conditions, &mut z);
    drawn.expect("a latent");
    all.push(("latent", of_f32(&z)));
    let encoded = session.encode(stamp, conditions, &mut mean, &mut spread);
    encoded.expect("a code");
    all.push(("code", of_f32(&mean)));
    all.push(("spread", of_f32(&spread)));
    let done = session.decode(&mean, conditions, &mut decoded);
    done.expect("a stamp");
    all.push(("decoded", of_f32(&decoded)));
    let z: Vec<f64> = mean.iter().map(|&v| f64::from(v)).collect();
    let ln_p = session.log_prob_latent(&z, conditions).expect("a density");
    all.push(("log_prob_latent", of_f64(&[ln_p])));
}

/// What autoregressive models say of single pixels.
fn pixels(
    session: &mut Session,
    id: u64,
    conditions: &[f32],
    image: &[f32],
    parameters: usize,
    all: &mut Outputs,
) {
    let n = image.len();
    let (mut map, mut natural, mut completed) =
        (vec![0.0; n], vec![0.0; parameters * n], vec![0.0; n]);
    let done = session.pixel_log_likelihoods(image, conditions, &mut map);
    done.expect("likelihoods");
    all.push(("pixel_log_likelihoods", of_f64(&map)));
    let done = session.pixel_parameters(image, conditions, false, &mut natural);
    done.expect("parameters");
    all.push(("pixel_parameters", of_f32(&natural)));
    let given: Vec<bool> = (0..n).map(|k| k % 7 < 3).collect();
    let done = session.complete(SEED, id + 500, conditions, image, &given, &mut completed);
    done.expect("a completion");
    all.push(("completed", of_f32(&completed)));
}

fn of_f32(values: &[f32]) -> Fnv {
    let mut hash = Fnv::default();
    for value in values {
        // Which NaN it is would not be defined.
        assert!(!value.is_nan());
        hash.add(&value.to_le_bytes());
    }
    hash
}

fn of_f64(values: &[f64]) -> Fnv {
    let mut hash = Fnv::default();
    for value in values {
        assert!(!value.is_nan());
        hash.add(&value.to_le_bytes());
    }
    hash
}
