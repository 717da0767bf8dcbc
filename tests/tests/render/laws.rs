//! What every rendered image obeys, whatever the galaxy.

use super::*;

/// Rounding of an image to f32, and of nothing else.
const FLUX: f64 = 1e-6;

#[test]
fn flux_is_conserved_and_nothing_is_negative() {
    let mut rng = Philox::new(1, 0, Stream::Training);
    let native = noisy(24, 3);
    let whole = sum(&native);
    let mut small = renderer(24, 40, 29, 0.7, None);
    let mut large = renderer(24, 220, 200, 0.7, None);
    for _ in 0..40 {
        let affine = random_affine(&mut rng);
        let offset = [6.0 * rng.uniform() - 3.0, 6.0 * rng.uniform() - 3.0];
        for r in [&mut small, &mut large] {
            let (out, inside) = draw(r, &native, &affine, offset);
            assert!(out.iter().all(|&v| v >= 0.0));
            assert!((sum(&out) / whole - inside).abs() < FLUX);
        }
        let (_, inside) = draw(&mut large, &native, &affine, offset);
        // 24 pixels of at most 4 arcsec, across, along the diagonal, fit on 140.
        assert!(
            (inside - 1.0).abs() < 1e-9,
            "{inside} inside for {affine:?}"
        );
    }
}

#[test]
fn moments_transform_as_the_map_says() {
    let native = gaussian(64, 6.0, 3.5);
    let (_, _, m) = moments(&native, 64);
    let m = [m[0] - 1.0 / 12.0, m[1], m[2] - 1.0 / 12.0];
    let mut rng = Philox::new(2, 0, Stream::Training);
    let mut r = renderer(64, 400, 400, 0.5, None);
    for _ in 0..20 {
        let affine = random_affine(&mut rng);
        let offset = [rng.uniform(), rng.uniform()];
        let (out, _) = draw(&mut r, &native, &affine, offset);
        let (_, centre, second) = moments(&out, 400);
        let expected = transformed(affine.matrix().map(|v| v / 0.5), m);
        let expected = [
            expected[0] + 1.0 / 12.0,
            expected[1],
            expected[2] + 1.0 / 12.0,
        ];
        let size = expected[0] + expected[2];
        for i in 0..2 {
            // The slopes add up to nothing, except where they are flattened near the border.
            assert!(
                (centre[i] - offset[i] / 0.5).abs() < 2e-5 * size.sqrt(),
                "{centre:?}"
            );
        }
        for i in 0..3 {
            let error = (second[i] - expected[i]).abs();
            assert!(error < 5e-5 * size, "{error:e} of {size} for {affine:?}");
        }
    }
}

#[test]
fn whole_pixels_are_copied_bit_for_bit() {
    let n = 33;
    let native = noisy(n, 5);
    let mut r = renderer(n, n, n, 0.37, None);
    let scale = Affine::scale(0.37).unwrap();
    assert_eq!(
        draw(&mut r, &native, &scale, [0.0; 2]),
        (native.clone(), 1.0)
    );
    let (turned, _) = draw(
        &mut r,
        &native,
        &scale.then(&Affine::rotation(90.0).unwrap()),
        [0.0; 2],
    );
    let (upside, _) = draw(
        &mut r,
        &native,
        &scale.then(&Affine::rotation(180.0).unwrap()),
        [0.0; 2],
    );
    for y in 0..n {
        for x in 0..n {
            let v = native[y * n + x];
            assert_eq!(turned[x * n + (n - 1 - y)], v);
            assert_eq!(upside[(n - 1 - y) * n + (n - 1 - x)], v);
        }
    }
    let mut r = renderer(n, n + 3, n + 2, 1.0, None);
    let (shifted, inside) = draw(&mut r, &native, &Affine::IDENTITY, [1.5, -1.0]);
    assert_eq!(inside, 1.0);
    assert_eq!(shifted[3..n + 3], native[..n]);
}

#[test]
fn there_and_back_again() {
    let native = gaussian(64, 7.0, 4.0);
    let mut r = renderer(64, 64, 64, 1.0, None);
    let (turned, _) = draw(&mut r, &native, &Affine::rotation(37.0).unwrap(), [0.0; 2]);
    let (back, _) = draw(&mut r, &turned, &Affine::rotation(-37.0).unwrap(), [0.0; 2]);
    let peak = native.iter().copied().fold(0.0, f32::max);
    let error = native
        .iter()
        .zip(&back)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
        / peak;
    // Planes in cells: the error is of fourth order in the pixel over the scale of 4 pixels.
    assert!(error < 2e-3, "{error}");
}

#[test]
fn smooth_profiles_keep_their_peak() {
    // An exponential disc of half-light radius 8 pixels (scale 8 / 1.678), smoothed in the centre.
    let disc = |x: f64, y: f64| {
        let r = (x * x + y * y + 1.0).sqrt();
        (-r * 1.678 / 8.0).exp() / 140.0
    };
    let angle = 25f64.to_radians();
    let native = stamp(64, |x, y| disc(x, y / 0.6));
    let expected = stamp(64, |x, y| {
        let (x, y) = (x - 0.3, y - 0.4);
        let (u, v) = (
            x * angle.cos() + y * angle.sin(),
            y * angle.cos() - x * angle.sin(),
        );
        disc(u, v / 0.6)
    });
    let mut r = renderer(64, 64, 64, 1.0, None);
    let (found, _) = draw(
        &mut r,
        &native,
        &Affine::rotation(25.0).unwrap(),
        [0.3, 0.4],
    );
    let peak = expected.iter().copied().fold(0.0, f32::max);
    let mut worst = 0.0f32;
    for y in 8..56 {
        for x in 8..56 {
            let error = (found[y * 64 + x] - expected[y * 64 + x]).abs() / peak;
            // The core turns over within a pixel, which a stamp's pixels do not tell.
            let core = (x as f64 - 31.8).hypot(y as f64 - 31.9) < 3.0;
            let bound = if core { 4e-2 } else { 5e-3 };
            worst = worst.max(if core { 0.0 } else { error });
            assert!(error < bound, "{error} at {x}, {y}");
        }
    }
}

#[test]
fn native_frames_hold_all_light_of_any_galaxy() {
    let n = 64;
    let native: Vec<f32> = noisy(n, 7)
        .iter()
        .zip(&galgen_core::stamp::window(n))
        .map(|(v, w)| v * w)
        .collect();
    let whole = sum(&native);
    let mut rng = Philox::new(4, 0, Stream::Training);
    for _ in 0..20 {
        let (g, turn) = (0.8 * rng.uniform(), 7.0 * rng.uniform());
        let mu = 0.5 + 2.0 * rng.uniform();
        let lens = Lens::new(g * turn.cos(), g * turn.sin(), mu).unwrap();
        let frame = NativeFrame::new(0.05 + rng.uniform(), 360.0 * rng.uniform(), lens).unwrap();
        let mut r = renderer(n, n, n, frame.pixel_scale, None);
        let mut out = vec![0.0; n * n];
        r.render(&native, &frame.affine, [0.0; 2], mu, &mut out);
        let error = sum(&out) / (whole * mu) - 1.0;
        assert!(error.abs() < 1e-6, "{error:e}");
    }
}

#[test]
fn variances_of_galaxy_and_gaussian_psf_add() {
    let native = gaussian(48, 3.0, 2.0);
    // Finer grids of 5, 3 and 1 pixels.
    for fwhm in [0.15, 0.3, 0.7] {
        let psf = Psf::gaussian(fwhm).unwrap();
        let affine = Affine::scale(0.1).unwrap();
        let mut bare = renderer(48, 60, 52, 0.15, None);
        let mut seen = renderer(48, 60, 52, 0.15, Some(&psf));
        let (_, _, before) = moments(&draw(&mut bare, &native, &affine, [0.04, 0.0]).0, 60);
        let (flux, centre, after) = moments(&draw(&mut seen, &native, &affine, [0.04, 0.0]).0, 60);
        let variance = (fwhm / 0.15) * (fwhm / 0.15) / (8.0 * std::f64::consts::LN_2);
        assert!((flux - sum(&native)).abs() < 1e-6);
        assert!(
            (centre[0] - 0.04 / 0.15).abs() < 1e-4 && centre[1].abs() < 1e-4,
            "{centre:?}"
        );
        for i in [0, 2] {
            let error = after[i] - before[i] - variance;
            // Pixels^2; the galaxy is 1.3 pixels small, so its pixels' own moments are off by as much.
            assert!(error.abs() < 1e-3, "fwhm {fwhm}: {error} of {variance}");
        }
    }
}

/// A galaxy far smaller than the pixels, anywhere in them: what is seen is the PSF, with the galaxy's own variance, where the
/// galaxy is. At 0.8 arcsec the fine grid is the grid itself, below it is three times finer.
#[test]
fn small_galaxies_are_seen_where_they_are() {
    let (side, scale) = (41usize, 0.2);
    let native = gaussian(48, 6.0, 4.0);
    let mut rng = Philox::new(5, 0, Stream::Training);
    for (fwhm, size) in [
        (0.8, 1e-4),
        (0.8, 0.004),
        (0.8, 0.016),
        (0.799, 1e-4),
        (0.799, 0.004),
        (1.3, 0.01),
        (0.5, 1e-4),
    ] {
        let mut r = renderer(48, side, side, scale, Some(&Psf::gaussian(fwhm).unwrap()));
        let affine = Affine::scale(size).unwrap();
        let edges = [[0.1, 0.0], [0.09, -0.1], [0.0, 0.0], [0.0999, 0.0334]];
        let random = (0..20).map(|_| [0.4 * rng.uniform() - 0.2, 0.4 * rng.uniform() - 0.2]);
        for offset in edges.into_iter().chain(random.collect::<Vec<_>>()) {
            let (found, _) = draw(&mut r, &native, &affine, offset);
            // Light of a Gaussian in each pixel along an axis, in pixels.
            let along = |own: f64, offset: f64| -> Vec<f64> {
                let psf = fwhm / (8.0 * std::f64::consts::LN_2).sqrt();
                let sigma = psf.hypot(own * size) / scale;
                let norm = 1.0 / (sigma * (2.0 * std::f64::consts::PI).sqrt());
                let centre = 0.5 * (side as f64 - 1.0) + offset / scale;
                let pixel = |i: usize| -> f64 {
                    let part = |k: usize| (k as f64 + 0.5) / 40.0 - 0.5 + i as f64 - centre;
                    let value = |x: f64| norm * (-0.5 * (x / sigma).powi(2)).exp();
                    (0..40).map(|k| value(part(k)) / 40.0).sum()
                };
                (0..side).map(pixel).collect()
            };
            let (x, y) = (along(6.0, offset[0]), along(4.0, offset[1]));
            let peak =
                x.iter().fold(0.0f64, |m, v| m.max(*v)) * y.iter().fold(0.0f64, |m, v| m.max(*v));
            for (i, &v) in found.iter().enumerate() {
                let error = (f64::from(v) - x[i % side] * y[i / side]) / peak;
                assert!(
                    error.abs() < 2e-3,
                    "fwhm {fwhm}, cells of {size}, at {offset:?}: pixel {i} off by {error}"
                );
            }
            let (_, centre, _) = moments(&found, side);
            for i in 0..2 {
                let error = centre[i] - offset[i] / scale;
                assert!(error.abs() < 1e-4, "fwhm {fwhm}, cells of {size}: {error}");
            }
        }
    }
}

#[test]
fn an_image_of_a_psf_does_what_the_psf_does() {
    let native = gaussian(32, 3.0, 2.0);
    let fwhm = 0.5;
    let sigma = fwhm / (8.0 * std::f64::consts::LN_2).sqrt() / 0.05;
    let affine = Affine::scale(0.06).unwrap();
    let mut direct = renderer(32, 30, 30, 0.2, Some(&Psf::gaussian(fwhm).unwrap()));
    let (expected, _) = draw(&mut direct, &native, &affine, [0.0; 2]);
    let peak = expected.iter().copied().fold(0.0, f32::max);
    for side in [56, 57] {
        let image = gaussian(side, sigma, sigma);
        for centre in [PsfCentre::Geometric, PsfCentre::Centroid] {
            let psf = Psf::image(&image, side, side, 0.05, centre).unwrap();
            let (found, _) = draw(
                &mut renderer(32, 30, 30, 0.2, Some(&psf)),
                &native,
                &affine,
                [0.0; 2],
            );
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-3 * peak, "{a} for {b}, peak {peak}");
            }
        }
    }
    // An image whose light is off its middle: the centroid option takes the shift out.
    let side = 60;
    let shifted: Vec<f32> = (0..side * side)
        .map(|i| {
            if i % side >= 4 {
                gaussian_value(i % side - 4, i / side, sigma)
            } else {
                0.0
            }
        })
        .collect();
    let at = |centre| {
        let psf = Psf::image(&shifted, side, side, 0.05, centre).unwrap();
        let (out, _) = draw(
            &mut renderer(32, 30, 30, 0.2, Some(&psf)),
            &native,
            &affine,
            [0.0; 2],
        );
        moments(&out, 30).1
    };
    let (kept, removed) = (at(PsfCentre::Geometric), at(PsfCentre::Centroid));
    assert!((kept[0] - 2.5 * 0.05 / 0.2).abs() < 1e-3 && (kept[1] + 1.5 * 0.05 / 0.2).abs() < 1e-3);
    assert!(
        removed[0].abs() < 1e-3 && removed[1].abs() < 1e-3,
        "{removed:?}"
    );
}

/// A Gaussian centred on pixel (28, 28).
fn gaussian_value(x: usize, y: usize, sigma: f64) -> f32 {
    let r2 = (x as f64 - 28.0).powi(2) + (y as f64 - 28.0).powi(2);
    (-0.5 * r2 / (sigma * sigma)).exp() as f32
}

#[test]
fn a_psf_scatters_light_off_the_grid_and_onto_it() {
    let native = gaussian(32, 3.0, 3.0);
    let affine = Affine::scale(0.1).unwrap();
    let psf = Psf::moffat(0.6, 3.0).unwrap();
    // A galaxy beyond the right border of the small grid, which is the middle of the large one.
    let offset = [2.3, 0.2];
    let mut small = renderer(32, 20, 20, 0.2, Some(&psf));
    let mut large = renderer(32, 60, 60, 0.2, Some(&psf));
    let (part, inside) = draw(&mut small, &native, &affine, offset);
    let (all, _) = draw(&mut large, &native, &affine, offset);
    assert!((sum(&part) / sum(&native) - inside).abs() < FLUX && inside < 0.5);
    for y in 0..20 {
        for x in 0..20 {
            let (a, b) = (part[y * 20 + x], all[(y + 20) * 60 + x + 20]);
            // The kernels reach differently far.
            assert!((a - b).abs() < 1e-5 * 0.02, "{a} for {b} at {x}, {y}");
        }
    }
    assert!(part.iter().all(|&v| v >= 0.0));
}

#[test]
fn bits_repeat_whatever_was_drawn_before_and_bands_are_independent() {
    let (a, b) = (noisy(20, 1), noisy(20, 2));
    let psf = Psf::moffat(0.9, 2.5).unwrap();
    let affine = Affine::scale(0.2)
        .unwrap()
        .then(&Affine::rotation(11.0).unwrap());
    let mut one = renderer(20, 25, 31, 0.3, Some(&psf));
    let first = draw(&mut one, &a, &affine, [0.1, 0.0]);
    let second = draw(&mut one, &b, &affine, [0.1, 0.0]);
    assert_eq!(draw(&mut one, &a, &affine, [0.1, 0.0]), first);
    let grid = Grid {
        width: 25,
        height: 31,
        pixel_scale: 0.3,
    };
    let mut two = Renderer::new(20, 2, grid, Some(&psf)).unwrap();
    let (both, _) = draw(&mut two, &[a, b].concat(), &affine, [0.1, 0.0]);
    assert_eq!(both, [first.0, second.0].concat());
}

#[test]
fn extreme_maps_and_values_end_quickly_and_stay_finite() {
    let native = noisy(16, 9);
    let mut r = renderer(16, 40, 40, 1.0, None);
    for scale in [1e-12, 1e-3, 50.0, 1e5, 1e12] {
        let lens = Lens::new(0.9, 0.3, 1.0).unwrap();
        let affine = Affine::scale(scale)
            .unwrap()
            .then(&Affine::rotation(1e-13).unwrap())
            .then(&lens.affine());
        for offset in [[0.0, 0.0], [20.0, -20.0], [1e300, 0.0], [f64::NAN, 0.0]] {
            let (out, inside) = draw(&mut r, &native, &affine, offset);
            assert!(out.iter().all(|v| v.is_finite() && *v >= 0.0));
            assert!((0.0..=1.0).contains(&inside));
            let share = sum(&out) / sum(&native);
            assert!(
                (share - inside).abs() < FLUX,
                "{share} for {inside}: {scale:e} {offset:?}"
            );
        }
    }
    let (out, inside) = draw(&mut r, &[-1.0; 256], &Affine::IDENTITY, [0.0; 2]);
    assert!(inside == 1.0 && out.iter().all(|&v| v == 0.0));
}

#[test]
fn impossible_renderers_are_refused_before_memory_is_asked_for() {
    let psf = Psf::gaussian(0.1).unwrap();
    let new = |side, bands, width, height, pixel_scale, psf: Option<&Psf>| {
        Renderer::new(
            side,
            bands,
            Grid {
                width,
                height,
                pixel_scale,
            },
            psf,
        )
        .unwrap_err()
    };
    for error in [
        new(0, 1, 8, 8, 0.1, None),
        new(64, 0, 8, 8, 0.1, None),
        new(64, 1, 4097, 8, 0.1, None),
        new(64, 1, 8, 0, 0.1, None),
        new(64, 1, 8, 8, f64::NAN, None),
    ] {
        assert!(matches!(error, RenderError::OutOfRange { .. }), "{error}");
    }
    let error = new(64, 1, 4096, 4096, 0.1, Some(&psf));
    assert!(
        matches!(
            error,
            RenderError::TooLarge {
                width: 4096,
                height: 4096,
                ..
            }
        ),
        "{error}"
    );
}
