//! Absurd requests, grids, stamps and latents for a good model.

use super::{BYTES, PATIENCE, judge, peak, timed};
use galgen_core::object::{Object, SizeDefinition};
use galgen_infer::render::{Affine, Grid, Psf, Renderer};
use galgen_infer::{Model, Session};
use galgen_tests::model::random_model;

/// Every field of a request at its extremes, alone and in pairs.
#[test]
fn absurd_requests_are_refused_or_drawn_right() {
    let model = Model::from_bytes(&random_model(16, 1)).unwrap();
    let mut session = Session::new(model.clone());
    let mut stamp = vec![0.0; model.stamp_len()];
    let grid = Grid {
        width: 20,
        height: 14,
        pixel_scale: 0.3,
    };
    let mut renderer = Renderer::new(16, 1, grid, None).unwrap();
    let mut image = vec![0.0; renderer.image_len()];
    type Change = fn(&mut Object);
    let changes: &[(&str, Change)] = &[
        ("nothing", |_| ()),
        ("size 1e-300", |o| o.half_light_radius = 1e-300),
        ("size 1e-12", |o| o.half_light_radius = 1e-12),
        ("size 1e12", |o| o.half_light_radius = 1e12),
        ("size 1e300", |o| o.half_light_radius = 1e300),
        ("size 5e-324", |o| o.half_light_radius = 5e-324),
        ("size nan", |o| o.half_light_radius = f64::NAN),
        ("semi-major", |o| {
            o.size_definition = SizeDefinition::SemiMajor
        }),
        ("flux 1e308", |o| o.flux = 1e308),
        ("flux 1e37", |o| o.flux = 1e37),
        ("flux 1e-33", |o| o.flux = 1e-33),
        ("flux 1e-320", |o| o.flux = 1e-320),
        ("flux 0", |o| o.flux = 0.0),
        ("PA 1e300", |o| o.position_angle = 1e300),
        ("PA -1e17", |o| o.position_angle = -1e17),
        ("|g| near 1", |o| o.shear = [0.999_999, 0.0]),
        ("|g| very near 1", |o| {
            o.shear = [0.6, -(0.64f64 - 1e-15).sqrt()]
        }),
        ("mu 1e200", |o| o.magnification = 1e200),
        ("mu 1e-200", |o| o.magnification = 1e-200),
        ("mu 1e4", |o| o.magnification = 1e4),
        ("conditions 1e30", |o| o.conditions = [1e30; 16]),
        ("conditions -1e30", |o| o.conditions = [-1e30; 16]),
        ("conditions max", |o| o.conditions = [f32::MAX; 16]),
        ("conditions denormal", |o| o.conditions = [1e-45; 16]),
        ("id", |o| o.id = u64::MAX),
    ];
    let mut drawn = 0;
    for (a, first) in changes {
        for (b, second) in changes {
            let mut object = Object::new(1, &[0.5, 3.0]);
            first(&mut object);
            second(&mut object);
            let what = format!("{a}, {b}");
            for seed in [0, u64::MAX] {
                if let Ok(d) = session.sample_native(seed, &object, &mut stamp) {
                    drawn += 1;
                    judge(&what, &stamp, d.flux);
                    let numbers = [d.pixel_scale, d.half_light_radius, d.flux]
                        .into_iter()
                        .chain(d.jacobian);
                    assert!(numbers.clone().all(f64::is_finite), "{what}: {d:?}");
                }
            }
            for offset in [[0.0, 0.0], [1e300, -1e300], [f64::NAN, 0.0]] {
                if let Ok(d) =
                    session.sample_rendered(1, &object, offset, &mut renderer, None, &mut image)
                {
                    assert!((0.0..=1.0).contains(&d.fraction_inside), "{what}: {d:?}");
                    // A share far below the rounding of the whole is not held to its own digits.
                    let flux = d.flux * d.fraction_inside;
                    if d.fraction_inside == 0.0 || flux > 1e-33 {
                        judge(&what, &image, flux);
                    }
                }
            }
        }
    }
    assert!(drawn > 300, "{drawn} drawn");
}

#[test]
fn absurd_grids_are_refused_or_rendered() {
    let native = vec![1.0 / 256.0; 256];
    for pixel_scale in [
        0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        5e-324,
        1e-300,
        1e-3,
        1e3,
        1e300,
    ] {
        for (width, height) in [
            (0, 1),
            (1, 1),
            (1, 300),
            (7, 5),
            (1 << 10, 1),
            (1 << 20, 1 << 20),
            (usize::MAX, 2),
        ] {
            for psf in [
                None,
                Some(Psf::gaussian(0.7).unwrap()),
                Some(Psf::moffat(1e-9, 1.01).unwrap()),
            ] {
                let grid = Grid {
                    width,
                    height,
                    pixel_scale,
                };
                let (renderer, memory) = peak(|| Renderer::new(16, 1, grid, psf.as_ref()));
                assert!(memory < (1 << 30) + BYTES, "{grid:?}: {memory} bytes");
                let Ok(mut renderer) = renderer else { continue };
                let mut image = vec![0.0; renderer.image_len()];
                let (rendered, time) = timed(|| {
                    renderer.render(&native, &Affine::IDENTITY, [0.1, 0.2], 2.0, &mut image)
                });
                judge(&format!("{grid:?}"), &image, 2.0 * rendered.fraction_inside);
                assert!(time < 4 * PATIENCE, "{grid:?}: {time:?}");
            }
        }
    }
}

/// Scores are numbers or minus infinity, or the stamp is refused.
#[test]
fn absurd_stamps_are_refused_or_scored() {
    let model = Model::from_bytes(&random_model(16, 1)).unwrap();
    let mut session = Session::new(model.clone());
    let n = model.stamp_len();
    let stamps = [
        ("zeros", vec![0.0; n]),
        ("flat", vec![1.0; n]),
        ("huge", vec![1e36; n]),
        ("max", vec![f32::MAX; n]),
        ("denormal", vec![1e-45; n]),
        ("negative", vec![-1.0; n]),
        ("nan", vec![f32::NAN; n]),
        ("cancelling", (0..n).map(|i| [1e38, -1e38][i % 2]).collect()),
        (
            "nearly cancelling",
            (0..n).map(|i| [1e30, -0.999_999_9e30][i % 2]).collect(),
        ),
        (
            "a spike",
            (0..n).map(|i| if i == 3 { 1e38 } else { -1e20 }).collect(),
        ),
    ];
    let (mut mean, mut log_variance) = (vec![0.0; model.latent()], vec![0.0; model.latent()]);
    for (what, stamp) in &stamps {
        for conditions in [
            [0.5, 3.0],
            [1e30, -1e30],
            [f32::MAX, f32::MIN],
            [f32::NAN, 0.0],
        ] {
            for sky in [
                None,
                Some(0.0),
                Some(1e-300),
                Some(1e300),
                Some(f64::NAN),
                Some(-1.0),
            ] {
                if let Ok(score) = session.log_likelihood(stamp, &conditions, sky, 2, 1, 1) {
                    assert!(score < f64::INFINITY, "{what}, sky {sky:?}: score {score}");
                }
            }
            if session
                .encode(stamp, &conditions, &mut mean, &mut log_variance)
                .is_ok()
            {
                let numbers = || mean.iter().chain(&log_variance);
                let lawful = conditions == [0.5, 3.0];
                assert!(
                    !lawful || numbers().all(|v| v.is_finite()),
                    "{what}: code {mean:?} {log_variance:?}"
                );
            }
        }
    }
    let mut stamp = vec![0.0; n];
    for z in [
        0.0,
        1e-300,
        1e10,
        1e38,
        1e300,
        f64::MAX,
        -f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ] {
        for conditions in [[0.5, 3.0], [1e30, -1e30]] {
            if let Ok(score) = session.log_prob_latent(&vec![z; model.latent()], &conditions) {
                assert!(score < f64::INFINITY, "z {z}: {score}");
            }
            let z = vec![z as f32; model.latent()];
            if session.decode(&z, &conditions, &mut stamp).is_ok() {
                judge("decoded", &stamp, 1.0);
            }
        }
    }
}
