//! Linear sources that bring their point-spread functions along: cubes with PSFs, images of the sky with
//! stars, and the COSMOS catalogue.

use super::sky::write_fits;
use super::{column, data, path, prepare};
use crate::common::Folder;
use galgen_core::rng::{Philox, Stream};
use std::io::Write;

/// A round Gaussian of sum 1 and deviation `sigma` at (x, y).
fn gaussian(sigma: f64, x: f64, y: f64) -> f64 {
    (-0.5 * (x * x + y * y) / (sigma * sigma)).exp() / (std::f64::consts::TAU * sigma * sigma)
}

fn psf(side: usize, sigma: f64, off: f64) -> Vec<f32> {
    let c = (side as f64 - 1.0) / 2.0;
    (0..side * side)
        .map(|k| {
            gaussian(
                sigma,
                (k % side) as f64 - c - off,
                (k / side) as f64 - c + off,
            ) as f32
        })
        .collect()
}

/// Two galaxies, each a Gaussian of deviations 8 and 5 pixels with its PSF, over noise 1.
fn stamps(sigmas: [f64; 2]) -> Vec<f32> {
    let n = 141;
    let mut out = Vec::new();
    for (i, sigma) in sigmas.into_iter().enumerate() {
        let mut rng = Philox::new(3, i as u64, Stream::Noise);
        let (a, b) = ((64.0 + sigma * sigma).sqrt(), (25.0 + sigma * sigma).sqrt());
        out.extend((0..n * n).map(|k| {
            let (x, y) = ((k % n) as f64 - 70.0, (k / n) as f64 - 70.0);
            (400.0 * (-0.5 * ((x / a).powi(2) + (y / b).powi(2))).exp() + rng.normal()) as f32
        }));
    }
    out
}

#[test]
fn a_cube_with_psfs_is_as_with_the_same_psf_by_name() {
    let folder = Folder::new("prepare-psf-file");
    let sigmas = [2.0, 3.0];
    let cube = folder.join("cube.fits");
    write_fits(&cube, &[141, 141, 2], &stamps(sigmas));
    // Each one off its image's middle: it is centred on its own light.
    let images = folder.join("psf.fits");
    let both = [psf(41, sigmas[0], 0.3), psf(41, sigmas[1], -0.4)].concat();
    write_fits(&images, &[41, 41, 2], &both);
    let set = prepare(
        &cube,
        &folder,
        &[
            "--psf-file",
            path(&images),
            "--gain",
            "2",
            "--noise-sigma",
            "1",
        ],
    )
    .expect("a set");
    for (row, sigma) in sigmas.into_iter().enumerate() {
        let fwhm = (sigma * (8.0 * 2f64.ln()).sqrt()).to_string();
        let options = ["--psf-fwhm", &fwhm, "--psf-profile", "gaussian"];
        let named = prepare(&cube, &folder, &options).expect("a set");
        assert!(named.variance.is_none());
        // Keys's kernel resamples the off-centre image to within this fraction of its peak.
        let peak = named.psf(row).iter().fold(0.0f32, |a, v| a.max(*v));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 6e-3 * peak;
        assert!(set.psf(row).iter().zip(named.psf(row)).all(close), "{row}");
        let size = column(&set, "source_half_light_radius_px")[row];
        assert!((size / (8.0 * 1.177_41) - 1.0).abs() < 0.02, "{size}");
        // Light of 400 with 2 electrons a unit and a sky of 1: its variance is 200 times the sky's. Smoothed over
        // a stamp's pixel, 1/6.8 and 1/4.2 (or with the wider PSF a little less) of its deviations, 0.96 of it.
        let variance = set.variance(row).expect("a gain was given");
        let most = variance.iter().fold(0.0f32, |a, v| a.max(*v));
        assert!(
            variance[0] < 1.1 && (190.0..198.0).contains(&most),
            "{most}"
        );
    }

    let fault = |pixels: &[f32], planes: usize| {
        write_fits(&images, &[41, 41, planes], pixels);
        prepare(&cube, &folder, &["--psf-file", path(&images)])
            .map(|set| set.len())
            .expect_err("a fault")
    };
    let text = fault(&[both.clone(), psf(41, 2.0, 0.0)].concat(), 3);
    assert!(
        text.contains("3 point-spread functions") && text.contains("2 pictures"),
        "{text}"
    );
    let text = fault(&vec![0.0; 41 * 41 * 2], 2);
    assert!(text.contains("no picture was accepted"), "{text}");
}

/// An image of the sky: stars of one Gaussian PSF, galaxies convolved with it, fainter blobs; packed and not.
#[test]
fn an_image_of_the_sky_shows_its_own_psf() {
    const N: usize = 500;
    const SIGMA: f64 = 1.9;
    let mut rng = Philox::new(5, 0, Stream::Noise);
    let mut pixels: Vec<f64> = (0..N * N).map(|_| 0.3 + 0.02 * rng.normal()).collect();
    let mut add = |x: f64, y: f64, (a, b): (f64, f64), flux: f64| {
        for j in (y as usize).saturating_sub(60)..(y as usize + 60).min(N) {
            for i in (x as usize).saturating_sub(60)..(x as usize + 60).min(N) {
                let (u, v) = ((i as f64 - x) / a, (j as f64 - y) / b);
                let light = (-0.5 * (u * u + v * v)).exp() / (std::f64::consts::TAU * a * b);
                pixels[j * N + i] += flux * light;
            }
        }
    };
    let mut place = Philox::new(5, 1, Stream::Noise);
    for k in 0..20 {
        let (x, y) = (
            55.0 + 95.0 * f64::from(k % 5),
            55.0 + 125.0 * f64::from(k / 5),
        );
        let star = k % 4 != 1;
        let (x, y) = (x + place.uniform(), y + place.uniform());
        if star {
            let flux = 200.0 + 400.0 * place.uniform() + if k == 0 { 3000.0 } else { 0.0 };
            add(x, y, (SIGMA, SIGMA), flux);
        } else {
            let wide = |s: f64| s.hypot(SIGMA);
            add(x, y, (wide(5.0), wide(3.0)), 900.0);
        }
    }
    let pixels: Vec<f32> = pixels.iter().map(|v| *v as f32).collect();
    let folder = Folder::new("prepare-sky");
    let plain = folder.join("sky.fits");
    write_fits(&plain, &[N, N], &pixels);
    let options = ["--sky-images", "--min-hlr", "3"];
    let set = prepare(&plain, &folder, &options).expect("a set");
    assert_eq!(set.len(), 5, "{:?}", set.description.rejected);
    assert!(
        set.description.psf.contains("stars"),
        "{}",
        set.description.psf
    );
    for row in 0..set.len() {
        let fwhm = column(&set, "psf_fwhm_px")[row] * column(&set, "source_scale")[row];
        let ratio = fwhm / (SIGMA * (8.0 * 2f64.ln()).sqrt());
        assert!((0.99..1.05).contains(&ratio), "{ratio}");
        let size = column(&set, "source_half_light_radius_px")[row];
        assert!((size / (5.0 * 1.177_41) - 1.0).abs() < 0.04, "{size}");
    }
    let packed = folder.join("sky.fits.bz2");
    let file = std::fs::File::create(&packed).expect("a file");
    let mut encoder = bzip2::write::BzEncoder::new(file, bzip2::Compression::fast());
    encoder
        .write_all(&std::fs::read(&plain).expect("just written"))
        .expect("a file");
    encoder.finish().expect("a file");
    let again = prepare(&packed, &folder, &options).expect("a set");
    assert!(again.stamps == set.stamps && again.psf == set.psf);

    let fault = |options: &[&str]| prepare(&plain, &folder, options).map(|s| s.len());
    write_fits(&plain, &[N, N], &vec![1.0; N * N]);
    let text = fault(&options).expect_err("no sky");
    assert!(
        text.contains("sky.fits") && text.contains("no sky"),
        "{text}"
    );
    let noise: Vec<f32> = (0..N * N).map(|_| place.normal() as f32).collect();
    write_fits(&plain, &[N, N], &noise);
    let text = fault(&options).expect_err("no star");
    assert!(
        text.contains("0 stars") && text.contains("--psf-file"),
        "{text}"
    );
}

#[test]
fn the_cosmos_catalogue_brings_psf_and_noise() {
    let Some(source) = data("cosmos_hst/real_galaxy_catalog.fits") else {
        return;
    };
    let folder = Folder::new("prepare-cosmos-psf");
    let set = prepare(
        &source,
        &folder,
        &["--pixel-scale", "0.03", "--min-hlr", "4"],
    );
    let set = set.expect("a set");
    assert!(set.len() >= 15, "{:?}", set.description.rejected);
    assert!(set.description.noise.contains("acs_I_unrot_sci_20_cf.fits"));
    for row in 0..set.len() {
        // ACS with its pixel and drizzling: about 0.1 arcsec.
        let fwhm = 0.03 * column(&set, "psf_fwhm_px")[row] * column(&set, "source_scale")[row];
        assert!((0.08..0.14).contains(&fwhm), "{fwhm}");
    }
}

#[test]
fn sdss_frames_show_their_seeing() {
    let Some(source) = data("sdss_frames/frame-r-002188-2-0037.fits.bz2") else {
        return;
    };
    let folder = Folder::new("prepare-frame");
    let options = ["--sky-images", "--pixel-scale", "0.396", "--min-hlr", "3"];
    let set = prepare(&source, &folder, &options).expect("a set");
    assert!(set.len() >= 5, "{:?}", set.description.rejected);
    for row in 0..set.len() {
        let fwhm = 0.396 * column(&set, "psf_fwhm_px")[row] * column(&set, "source_scale")[row];
        assert!((1.0..2.0).contains(&fwhm), "{fwhm}");
    }
}
