//! What a drawn galaxy promises: flux, size, angle, sign, border, flags; and the likelihood's laws.
//! All on the model that ships in the repository.

use galgen_core::condition::Flags;
use galgen_core::measure;
use galgen_core::object::{Object, SizeDefinition};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::render::{Grid, Psf, Renderer};
use galgen_infer::{DrawError, Model, Session};
use std::path::Path;
use std::sync::Arc;

fn model() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/default.safetensors");
    Model::open(path).expect("the model of the repository")
}

/// Random requests inside the trained range.
fn objects(count: u64) -> Vec<Object> {
    let mut rng = Philox::new(3, 1, Stream::Training);
    let mut between = move |low: f64, high: f64| low + (high - low) * rng.uniform();
    (0..count)
        .map(|id| {
            let conditions = [between(0.2, 0.9) as f32, between(2.2, 3.6) as f32];
            let mut object = Object::new(id, &conditions);
            object.half_light_radius = between(0.1, 3.0);
            object.flux = between(1.0, 1e5);
            object.position_angle = between(-180.0, 360.0);
            object.shear = [between(-0.2, 0.2), between(-0.2, 0.2)];
            object.magnification = between(0.7, 1.6);
            if id % 2 == 0 {
                object.size_definition = SizeDefinition::SemiMajor;
            }
            object
        })
        .collect()
}

fn total(stamp: &[f32]) -> f64 {
    stamp.iter().map(|&v| f64::from(v)).sum()
}

#[test]
fn native_stamps_hold_exactly_the_flux_and_end_at_the_border() {
    let mut session = Session::new(model());
    let side = session.model().card().geometry.side;
    let mut stamp = vec![0.0; session.model().stamp_len()];
    for object in objects(60) {
        for galaxy_frame in [true, false] {
            let drawn = if galaxy_frame {
                session.sample_galaxy_frame(5, &object, &mut stamp)
            } else {
                session.sample_native(5, &object, &mut stamp)
            };
            let drawn = drawn.unwrap();
            let flux = object.flux * object.magnification;
            assert_eq!(drawn.flux, flux);
            // 1e-6 is the promise; 4,096 roundings of f32 pixels leave about 1e-8.
            assert!((total(&stamp) / flux - 1.0).abs() < 1e-6);
            assert!(stamp.iter().all(|&p| p >= 0.0));
            let border =
                (0..side).flat_map(|i| [i, i * side, (side - 1) * side + i, i * side + side - 1]);
            // The window is zero from half a pixel inside the border on.
            let worst = border.map(|i| stamp[i]).fold(0f32, f32::max);
            assert!(
                f64::from(worst) < 1e-4 * flux,
                "border pixel {worst} of {flux}"
            );
        }
    }
}

/// A stamp in the galaxy frame, measured, times the returned scale is the size that was asked for.
#[test]
fn the_half_light_radius_is_exact() {
    let mut session = Session::new(model());
    let side = session.model().card().geometry.side;
    let mut stamp = vec![0.0; session.model().stamp_len()];
    for object in objects(40) {
        let drawn = session.sample_galaxy_frame(5, &object, &mut stamp).unwrap();
        let axis_ratio = match object.size_definition {
            SizeDefinition::Circular => 1.0,
            SizeDefinition::SemiMajor => f64::from(object.conditions[0]),
        };
        let radius = measure::half_light_radius(&stamp, side, axis_ratio).unwrap();
        let arcsec = radius * drawn.pixel_scale;
        assert!((arcsec / object.half_light_radius - 1.0).abs() < 1e-6);
    }
}

/// Without lensing, the light of the native stamp, which lies along the sky's axes, points where the
/// catalogue said. Tolerance: resampling by up to 45 degrees moves the measured angle by less than half a degree.
#[test]
fn the_position_angle_is_exact() {
    let mut session = Session::new(model());
    let side = session.model().card().geometry.side;
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let mut judged = 0;
    for mut object in objects(60) {
        object.shear = [0.0, 0.0];
        let drawn = session.sample_native(5, &object, &mut stamp).unwrap();
        let found = measure::shape(&stamp, side).unwrap().ellipse;
        if drawn.flags.0 & Flags::ROUND != 0 || found.axis_ratio > 0.9 {
            continue;
        }
        judged += 1;
        let turn = (found.position_angle - object.position_angle).rem_euclid(180.0);
        let difference = turn.min(180.0 - turn);
        assert!(
            difference < 0.5,
            "asked {}, found {found:?}",
            object.position_angle
        );
    }
    assert!(judged > 30, "only {judged} of 60 stamps were elongated");
}

/// The Jacobian maps the measured covariance of the galaxy-frame stamp to that of a rendered one.
#[test]
fn the_jacobian_is_the_map_that_was_applied() {
    let mut session = Session::new(model());
    let n = session.model().card().geometry.side;
    let grid = Grid {
        width: 301,
        height: 301,
        pixel_scale: 0.05,
    };
    let mut renderer = Renderer::new(n, 1, grid, None).unwrap();
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let mut image = vec![0.0; renderer.image_len()];
    for mut object in objects(8) {
        object.half_light_radius = 1.0;
        let drawn = session.sample_galaxy_frame(5, &object, &mut stamp).unwrap();
        session
            .sample_rendered(5, &object, [0.0; 2], &mut renderer, None, &mut image)
            .unwrap();
        let [xx, xy, yy] = covariance(&stamp, n);
        let [a, b, c, d] = drawn.jacobian;
        let expected = [
            a * a * xx + 2.0 * a * b * xy + b * b * yy,
            a * c * xx + (a * d + b * c) * xy + b * d * yy,
            c * c * xx + 2.0 * c * d * xy + d * d * yy,
        ];
        let found = covariance(&image, 301).map(|v| v * 0.05 * 0.05);
        let size = expected[0] + expected[2];
        for (e, f) in expected.iter().zip(found) {
            // Light cut off by the grid and the pixels' own width (1/12 each) leave a few 1e-3.
            assert!(
                (e - f).abs() < 5e-3 * size,
                "expected {expected:?}, found {found:?}"
            );
        }
    }
}

fn covariance(image: &[f32], side: usize) -> [f64; 3] {
    let centre = (side as f64 - 1.0) / 2.0;
    let mut sums = [0.0; 3];
    for (i, &pixel) in image.iter().enumerate() {
        let (x, y) = ((i % side) as f64 - centre, (i / side) as f64 - centre);
        let light = f64::from(pixel);
        sums = [
            sums[0] + light * x * x,
            sums[1] + light * x * y,
            sums[2] + light * y * y,
        ];
    }
    sums.map(|s| s / total(image))
}

#[test]
fn rendered_stamps_report_what_the_border_cuts_off() {
    let mut session = Session::new(model());
    let n = session.model().card().geometry.side;
    let psf = Psf::moffat(0.7, 3.5).unwrap();
    let grid = Grid {
        width: 40,
        height: 32,
        pixel_scale: 0.2,
    };
    let mut renderer = Renderer::new(n, 1, grid, Some(&psf)).unwrap();
    let mut image = vec![0.0; renderer.image_len()];
    let mut cut = 0;
    for object in objects(20) {
        let drawn = session
            .sample_rendered(5, &object, [0.3, -0.1], &mut renderer, None, &mut image)
            .unwrap();
        assert!((total(&image) / drawn.flux - drawn.fraction_inside).abs() < 1e-6);
        assert!(image.iter().all(|&p| p >= 0.0));
        cut += usize::from(drawn.fraction_inside < 0.95);
    }
    assert!(cut > 0, "large galaxies must lose light on a small grid");
}

#[test]
fn requests_outside_the_trained_range_are_drawn_and_flagged() {
    let mut session = Session::new(model());
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let mut flags = |conditions: &[f32]| {
        session
            .sample_galaxy_frame(0, &Object::new(1, conditions), &mut stamp)
            .unwrap()
            .flags
    };
    assert_eq!(flags(&[0.6, 2.8]).0 & !Flags::ROUND, 0);
    assert!(flags(&[0.05, 2.8]).out_of_range(0));
    assert!(flags(&[0.6, 5.0]).out_of_range(1));
}

#[test]
fn impossible_requests_are_refused_by_name() {
    let mut session = Session::new(model());
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let mut object = Object::new(9, &[0.6, 2.8]);
    object.half_light_radius = -1.0;
    let error = session.sample_native(0, &object, &mut stamp).unwrap_err();
    assert!(matches!(error, DrawError::Object { id: 9, .. }));
    assert!(error.to_string().contains("half_light_radius is -1"));
    let blank = vec![0.0; stamp.len()];
    let conditions = [0.6, 2.8];
    assert!(
        session
            .log_likelihood(&blank, &conditions, None, 4, 0, 0)
            .is_err()
    );
    assert!(
        session
            .log_likelihood(&[1.0f32].repeat(stamp.len()), &conditions, None, 0, 0, 0)
            .is_err()
    );
    assert!(
        session
            .log_prob_latent(&vec![f64::NAN; session.model().latent()], &conditions)
            .is_err()
    );
}

/// The importance-weighted bound grows with the number of draws (Burda et al. 2016, theorem 1): on the
/// mean over stamps, with a tolerance of nothing.
#[test]
fn the_bound_grows_with_the_number_of_draws() {
    let mut session = Session::new(model());
    let mut stamp = vec![0.0; session.model().stamp_len()];
    let mut means = [0.0; 3];
    for object in objects(12) {
        let conditions = &object.conditions[..2];
        session.sample_galaxy_frame(5, &object, &mut stamp).unwrap();
        for (mean, samples) in means.iter_mut().zip([1, 8, 64]) {
            *mean += session
                .log_likelihood(&stamp, conditions, None, samples, 1, object.id)
                .unwrap()
                / 12.0;
        }
    }
    assert!(means[0] < means[1] && means[1] < means[2], "{means:?}");
}

/// A galaxy is likelier than the same pixels in another order.
#[test]
fn scrambled_pixels_are_unlikely() {
    let mut session = Session::new(model());
    let mut stamp = vec![0.0; session.model().stamp_len()];
    for object in objects(5) {
        let conditions = &object.conditions[..2];
        session.sample_galaxy_frame(5, &object, &mut stamp).unwrap();
        let likely = session
            .log_likelihood(&stamp, conditions, None, 8, 1, 1)
            .unwrap();
        let n = stamp.len();
        let scrambled: Vec<f32> = (0..n).map(|i| stamp[(i * 1021) % n]).collect();
        let unlikely = session
            .log_likelihood(&scrambled, conditions, None, 8, 1, 1)
            .unwrap();
        assert!(unlikely < likely - 100.0);
    }
}
