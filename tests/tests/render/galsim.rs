//! Images drawn by GalSim.

use super::*;

/// One image of goldens/render.py, whose table of cases is the same.
struct Case {
    name: &'static str,
    scale: f64,
    pa: f64,
    lens: [f64; 3],
    offset: [f64; 2],
    pixel: f64,
    psf: Option<Psf>,
    /// Bound on the largest difference, over the peak.
    peak: f64,
}

fn cases() -> Vec<Case> {
    let image = golden("psf");
    let psf_image = Psf::image(
        &image.values,
        image.width,
        image.height,
        0.1,
        PsfCentre::Geometric,
    )
    .unwrap();
    let wide = |name, psf, peak| Case {
        name,
        scale: 0.08,
        pa: 110.0,
        lens: [-0.1, 0.03, 0.9],
        offset: [-0.1, 0.15],
        pixel: 0.2,
        psf: Some(psf),
        peak,
    };
    let bare = |name, pa, lens, offset, pixel, peak| Case {
        name,
        scale: 0.1,
        pa,
        lens,
        offset,
        pixel,
        psf: None,
        peak,
    };
    // The knots of the galaxy have sigma = 0.9 pixels of the stamp. Their peaks are what a stamp tells
    // least: at its own scale and above, the bounds are theirs. Larger pixels and PSFs forgive.
    vec![
        bare("turned", 30.0, [0.0, 0.0, 1.0], [0.03, -0.02], 0.1, 4e-2),
        bare("lensed", -70.0, [0.1, -0.05, 1.2], [0.0, 0.05], 0.2, 1.5e-2),
        bare("enlarged", 20.0, [0.0, 0.0, 1.0], [0.01, 0.02], 0.04, 5e-2),
        Case {
            name: "gaussian",
            scale: 0.05,
            pa: 40.0,
            lens: [0.05, 0.1, 1.0],
            offset: [0.02, 0.03],
            pixel: 0.1,
            psf: Some(Psf::gaussian(0.16).unwrap()),
            peak: 4e-3,
        },
        wide("moffat", Psf::moffat(0.7, 2.5).unwrap(), 4e-4),
        // Its pixels are a third of its core's sigma.
        wide("image", psf_image, 2e-3),
    ]
}

fn rendered(case: &Case, width: usize, height: usize) -> (Vec<f32>, f64) {
    let native = golden("native");
    let [g1, g2, mu] = case.lens;
    let lens = Lens::new(g1, g2, mu).unwrap();
    let affine = NativeFrame::new(case.scale, case.pa, lens).unwrap().affine;
    let mut r = renderer(native.width, width, height, case.pixel, case.psf.as_ref());
    let mut out = vec![0.0; r.image_len()];
    let rendered = r.render(&native.values, &affine, case.offset, mu, &mut out);
    (out, rendered.fraction_inside)
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f64 {
    let peak = expected.iter().copied().fold(0.0, f32::max);
    let difference = |(a, b): (&f32, &f32)| f64::from((a - b).abs() / peak);
    found
        .iter()
        .zip(expected)
        .map(difference)
        .fold(0.0, f64::max)
}

#[test]
fn images_of_an_analytic_galaxy_are_reproduced_from_its_stamp() {
    for case in cases() {
        let name = case.name;
        let expected = golden(name);
        let (found, inside) = rendered(&case, expected.width, expected.height);
        let difference = largest_difference(&found, &expected.values);
        assert!(difference < case.peak, "{name}: {difference}");
        assert!(
            difference > case.peak / 5.0,
            "{name}: bound {} is loose",
            case.peak
        );
        let (flux, centre, second) = moments(&found, expected.width);
        let (flux0, centre0, second0) = moments(&expected.values, expected.width);
        // GalSim's stamp lacks 3e-6 of the light.
        assert!(
            (flux / flux0 - 1.0).abs() < 1e-5,
            "{name}: flux {flux} for {flux0}"
        );
        assert!(
            (inside - flux0 / case.lens[2]).abs() < 1e-5,
            "{name}: {inside} inside"
        );
        for i in 0..2 {
            assert!(
                (centre[i] - centre0[i]).abs() < 2e-4,
                "{name}: {centre:?} for {centre0:?}"
            );
        }
        let bound = 1e-3 + 1e-4 * (second0[0] + second0[2]);
        for i in 0..3 {
            assert!(
                (second[i] - second0[i]).abs() < bound,
                "{name}: {second:?} for {second0:?}"
            );
        }
    }
}

/// GalSim reads the stamp's pixels as samples to be joined by straight lines: a triangle of variance
/// 1/6 pixel^2, on top of the pixels' own 1/12 that the renderer takes out.
#[test]
fn galsims_interpolated_stamp_is_the_same_but_for_the_blur_of_its_interpolant() {
    let cases = cases();
    let (turned, moffat) = (&cases[0], &cases[4]);
    let expected = golden("stamp_turned");
    let (found, _) = rendered(turned, expected.width, expected.height);
    let (_, centre, second) = moments(&found, expected.width);
    let (_, centre0, second0) = moments(&expected.values, expected.width);
    for i in 0..2 {
        assert!((centre[i] - centre0[i]).abs() < 1e-4);
    }
    for (i, blur) in [(0, 0.25), (1, 0.0), (2, 0.25)] {
        let error = second0[i] - second[i] - blur;
        assert!(error.abs() < 5e-3, "{error}");
    }
    // Of the knots' peaks it takes 8 %.
    assert!(largest_difference(&found, &expected.values) < 0.1);
    // Under seeing of 8.75 pixels of the stamp, 0.25 pixel^2 is 1 % of the area of the peak.
    let expected = golden("stamp_moffat");
    let (found, _) = rendered(moffat, expected.width, expected.height);
    let difference = largest_difference(&found, &expected.values);
    assert!(difference < 1e-2, "{difference}");
}
