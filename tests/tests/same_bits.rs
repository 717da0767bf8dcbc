//! The same sample from C, C++, Rust and the command line, on every level of instructions, in any
//! batch, order and thread: bit for bit.

mod programs;

use galgen_core::object::{Object, SizeDefinition};
use galgen_infer::render::{Grid, Noise, PhotonNoise, Psf, Renderer};
use galgen_infer::{Model, Session, Simd};
use programs::{Link, Models, cargo_build, compile, compiler, folder, random_model, succeed};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// As in `tests/c/scene.h`, which every number must follow.
mod scene {
    use super::*;

    pub const OBJECTS: u32 = 10;
    pub const SEED: u64 = 20261;
    pub const SKY: f64 = 0.0625;

    pub fn object(model: &Model, i: u32) -> Object {
        let x = f64::from(i);
        let values: Vec<f32> = (0..)
            .zip(&model.card().conditions.list)
            .map(|(k, c)| {
                let step = (f64::from((7 * i + 3 * k) % 8) + 0.5) / 8.0;
                (c.range[0] + (c.range[1] - c.range[0]) * step) as f32
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

    pub fn offset(i: u32) -> [f64; 2] {
        [0.125 * f64::from(i), -0.25]
    }

    pub fn renderer(model: &Model, height: usize) -> Renderer {
        let grid = Grid {
            width: 24,
            height,
            pixel_scale: 0.5,
        };
        let geometry = &model.card().geometry;
        let psf = Psf::moffat(0.75, 2.5).unwrap();
        Renderer::new(geometry.side, geometry.bands.len(), grid, Some(&psf)).unwrap()
    }

    pub fn noise() -> Noise {
        let photons = PhotonNoise {
            gain: 50.0,
            sky_level: 0.25,
        };
        Noise::new(0.0625, Some(photons)).unwrap()
    }

    pub fn hash(values: &[f32]) -> u64 {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// All outputs of one object.
#[derive(Clone, Debug, PartialEq)]
struct Outputs {
    native: Vec<f32>,
    frame: Vec<f32>,
    rendered: Vec<f32>,
    log_likelihood: f64,
    log_prob_latent: f64,
    encoded: Vec<f32>,
    decoded: Vec<f32>,
}

fn outputs(session: &mut Session, renderer: &mut Renderer, i: u32) -> Outputs {
    let model = session.model().clone();
    let object = scene::object(&model, i);
    let conditions = &object.conditions[..model.card().conditions.len()];
    let mut native = vec![0.0; model.stamp_len()];
    let (mut frame, mut decoded) = (native.clone(), native.clone());
    let mut rendered = vec![0.0; renderer.image_len()];
    let mut encoded = vec![0.0; model.latent()];
    let mut spread = encoded.clone();
    let (seed, noise) = (scene::SEED, scene::noise());
    session.sample_native(seed, &object, &mut native).unwrap();
    session
        .sample_galaxy_frame(seed, &object, &mut frame)
        .unwrap();
    session
        .sample_rendered(
            seed,
            &object,
            scene::offset(i),
            renderer,
            Some(&noise),
            &mut rendered,
        )
        .unwrap();
    let log_likelihood = session
        .log_likelihood(&frame, conditions, Some(scene::SKY), 3, seed, object.id)
        .unwrap();
    session
        .encode(&frame, conditions, &mut encoded, &mut spread)
        .unwrap();
    session.decode(&encoded, conditions, &mut decoded).unwrap();
    let latent: Vec<f64> = encoded.iter().map(|&v| f64::from(v)).collect();
    let log_prob_latent = session.log_prob_latent(&latent, conditions).unwrap();
    Outputs {
        native,
        frame,
        rendered,
        log_likelihood,
        log_prob_latent,
        encoded,
        decoded,
    }
}

fn draw(model: &Arc<Model>, objects: impl Iterator<Item = u32>) -> Vec<Outputs> {
    let mut session = Session::new(model.clone());
    let mut renderer = scene::renderer(model, 20);
    objects
        .map(|i| outputs(&mut session, &mut renderer, i))
        .collect()
}

#[test]
fn levels_orders_threads_and_sessions_do_not_matter() {
    let bytes = random_model(16, 5);
    let scalar = Model::from_bytes_on(&bytes, Simd::Scalar).unwrap();
    let expected = draw(&scalar, 0..scene::OBJECTS);
    for simd in Simd::available() {
        let model = Model::from_bytes_on(&bytes, simd).unwrap();
        let mut backwards = draw(&model, (0..scene::OBJECTS).rev());
        backwards.reverse();
        assert!(backwards == expected, "{} differs from scalar", simd.name());
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let model = model.clone();
                let share = (t..scene::OBJECTS).step_by(4);
                std::thread::spawn(move || draw(&model, share))
            })
            .collect();
        for (t, thread) in threads.into_iter().enumerate() {
            let share = expected.iter().skip(t).step_by(4);
            assert!(
                thread.join().unwrap().iter().eq(share),
                "thread {t}, {}",
                simd.name()
            );
        }
    }
}

#[test]
fn a_full_size_model_draws_the_same_on_every_level() {
    let bytes = random_model(64, 6);
    let mut all = Simd::available().map(|simd| {
        let model = Model::from_bytes_on(&bytes, simd).unwrap();
        (simd, draw(&model, 0..2))
    });
    let (_, expected) = all.next().expect("scalar is always there");
    for (simd, found) in all {
        assert!(found == expected, "{} differs from scalar", simd.name());
    }
}

/// What tests/c/draw.c prints.
fn report(outputs: &[Outputs]) -> String {
    let mut text = String::new();
    for (name, part) in [
        ("native", (|o| &o.native) as fn(&Outputs) -> &Vec<f32>),
        ("galaxy_frame", |o| &o.frame),
        ("rendered", |o| &o.rendered),
    ] {
        for (i, o) in outputs.iter().enumerate() {
            writeln!(text, "{name} {} {:016x}", 1000 + i, scene::hash(part(o))).unwrap();
        }
    }
    for (i, o) in outputs.iter().enumerate() {
        let id = 1000 + i;
        writeln!(text, "log_likelihood {id} {}", o.log_likelihood).unwrap();
        writeln!(text, "log_prob_latent {id} {}", o.log_prob_latent).unwrap();
        writeln!(text, "encode {id} {:016x}", scene::hash(&o.encoded)).unwrap();
        writeln!(text, "decode {id} {:016x}", scene::hash(&o.decoded)).unwrap();
    }
    text
}

/// C's `%.17g` and Rust's shortest decimal are two spellings of one number.
fn same(found: &str, expected: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().map(f64::to_bits);
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    let (found, expected) = (words(found), words(expected));
    found == expected
        || found[0].starts_with("log_")
            && found[..2] == expected[..2]
            && number(&found[2]) == number(&expected[2])
}

#[test]
fn c_cpp_and_rust_agree() {
    let (Some(cc), Some(cxx)) = (compiler("CC", "cc"), compiler("CXX", "c++")) else {
        return;
    };
    let folder = folder("same-bits");
    let models = Models::write(&folder);
    let c = compile(&cc, "-std=c99", "c/draw.c", Link::Static, &folder);
    let cpp = compile(&cxx, "-std=c++17", "cpp/draw.cpp", Link::Shared, &folder);
    for path in &models.good {
        let model = Model::open(path).unwrap();
        let expected = report(&draw(&model, 0..scene::OBJECTS));
        for program in [&c, &cpp] {
            let found = succeed(Command::new(program).arg(path));
            let found: Vec<_> = found
                .lines()
                .filter(|line| !line.starts_with('#'))
                .collect();
            assert_eq!(found.len(), expected.lines().count());
            for (found, expected) in found.into_iter().zip(expected.lines()) {
                assert!(same(found, expected), "found {found}, expected {expected}");
            }
        }
    }
}

/// The pixels of the image extension STAMPS of a FITS file (Pence et al. 2010, the standard).
fn read_cube(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let cards: Vec<&str> = rest
            .chunks_exact(80)
            .map(|card| std::str::from_utf8(card).unwrap())
            .take_while(|card| !card.starts_with("END "))
            .collect();
        let value = |key: &str| {
            let card = cards
                .iter()
                .find(|card| card.split('=').next().unwrap().trim() == key)?;
            Some(
                card.split('=')
                    .nth(1)?
                    .split('/')
                    .next()?
                    .trim()
                    .trim_matches('\'')
                    .trim(),
            )
        };
        let number = |key: &str| value(key).map_or(0, |v| v.parse::<i64>().unwrap());
        let header = ((cards.len() + 1) * 80).next_multiple_of(2880);
        let axes = number("NAXIS");
        let count: i64 = (1..=axes).map(|i| number(&format!("NAXIS{i}"))).product();
        let size = match axes {
            0 => 0,
            _ => (count + number("PCOUNT")) * number("BITPIX").abs() / 8,
        } as usize;
        if value("EXTNAME") == Some("STAMPS") {
            assert_eq!(number("BITPIX"), -32);
            let data = rest[header..header + size].chunks_exact(4);
            return data
                .map(|v| f32::from_be_bytes(v.try_into().unwrap()))
                .collect();
        }
        rest = &rest[header + size.next_multiple_of(2880)..];
    }
    panic!("{} has no extension STAMPS", path.display());
}

#[test]
fn the_command_line_and_rust_agree() {
    let folder = folder("same-bits-cli");
    let models = Models::write(&folder);
    let program = cargo_build(&["-p", "galgen-cli", "--bin", "galgen"]).join("galgen");
    let path = &models.small;
    let model = Model::open(path).unwrap();
    let objects: Vec<Object> = (0..scene::OBJECTS)
        .map(|i| Object {
            size_definition: SizeDefinition::Circular,
            ..scene::object(&model, i)
        })
        .collect();
    let mut text = String::from("id,half_light_radius,flux,position_angle,g1,g2,magnification");
    for condition in &model.card().conditions.list {
        write!(text, ",{}", condition.name).unwrap();
    }
    for o in &objects {
        let [g1, g2] = o.shear;
        let (id, r, pa, mu) = (o.id, o.half_light_radius, o.position_angle, o.magnification);
        write!(text, "\n{id},{r},{},{pa},{g1},{g2},{mu}", o.flux).unwrap();
        for &value in &o.conditions[..model.card().conditions.len()] {
            write!(text, ",{}", f64::from(value)).unwrap();
        }
    }
    let catalog = folder.join("catalog.csv");
    fs::write(&catalog, text + "\n").unwrap();
    let generate = |threads: &str, options: &str| {
        let out = folder.join("stamps.fits");
        let mut command = Command::new(&program);
        command
            .arg("generate")
            .arg("--catalog")
            .arg(&catalog)
            .arg("--model")
            .arg(path);
        command
            .arg("--out")
            .arg(&out)
            .args(["--quiet", "--threads", threads]);
        command
            .args(["--seed", &scene::SEED.to_string()])
            .args(options.split_whitespace());
        succeed(&mut command);
        read_cube(&out)
    };

    let mut session = Session::new(model.clone());
    let mut renderer = scene::renderer(&model, 24);
    let noise = scene::noise();
    let mut expected = [const { Vec::new() }; 3];
    for object in &objects {
        let mut stamp = vec![0.0; model.stamp_len()];
        let mut image = vec![0.0; renderer.image_len()];
        session
            .sample_native(scene::SEED, object, &mut stamp)
            .unwrap();
        expected[0].extend_from_slice(&stamp);
        session
            .sample_galaxy_frame(scene::SEED, object, &mut stamp)
            .unwrap();
        expected[1].extend_from_slice(&stamp);
        let (centre, noise) = ([0.0, 0.0], Some(&noise));
        session
            .sample_rendered(
                scene::SEED,
                object,
                centre,
                &mut renderer,
                noise,
                &mut image,
            )
            .unwrap();
        expected[2].extend_from_slice(&image);
    }
    let rendered = "--pixel-scale 0.5 --size 24 --psf moffat:0.75,2.5 \
                    --noise-sigma 0.0625 --gain 50 --sky-level 0.25";
    for (options, expected) in ["", "--frame galaxy", rendered].into_iter().zip(&expected) {
        for threads in ["1", "4"] {
            let found = generate(threads, options);
            assert!(&found == expected, "{threads} threads, `{options}`");
        }
    }
}
