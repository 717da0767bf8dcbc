//! `galgen-train prepare` from files to a training set, on galaxies drawn here whose truth is known,
//! and on real ones where the data are there.

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod forward;
mod readers;
mod sky;

use clap::Parser;
use common::Folder;
use galgen_io::stamps::{Provenance, StampLayout, StampWriter};
use galgen_train::data::set::TrainingSet;
use galgen_train::prepare::{PrepareArgs, run};
use sky::{Blob, Light, Scene, concentration, half_light_radius, position_angle, write_fits};
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: PrepareArgs,
}

/// Runs the command on `source`; the set that it wrote, or its message.
fn prepare(source: &Path, folder: &Folder, options: &[&str]) -> Result<TrainingSet, String> {
    let output = folder.join("set.safetensors");
    let _ = std::fs::remove_file(&output);
    let fixed = [
        "prepare",
        "--source",
        path(source),
        "--output",
        path(&output),
    ];
    let cli = Cli::try_parse_from(fixed.iter().chain(options)).map_err(|e| e.to_string())?;
    match run(&cli.args) {
        Ok(()) => Ok(TrainingSet::load(&output).expect("a valid set")),
        Err(error) => {
            assert!(!output.exists(), "a set in spite of: {error}");
            Err(error.to_string())
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn column(set: &TrainingSet, name: &str) -> Vec<f64> {
    set.column(name)
        .expect("a column")
        .iter()
        .map(|&v| f64::from(v))
        .collect()
}

/// Galaxies of every size, angle and place that the stamps must not show.
fn galaxies() -> Vec<Blob> {
    let table = [
        (Light::Exponential, 0.35, 20.0, 8.0, 0.0, 0.0),
        (Light::Exponential, 0.35, -65.0, 14.0, 2.3, -1.6),
        (Light::Exponential, 0.7, 90.0, 10.0, -3.0, 0.4),
        (Light::Gaussian, 0.5, 135.0, 12.0, 1.0, 1.0),
        (Light::Gaussian, 0.5, -10.0, 18.0, -2.5, 3.0),
        (Light::Gaussian, 0.85, 45.0, 9.0, 0.2, -0.7),
    ];
    let blob = |(light, q, pa, hlr, dx, dy)| Blob {
        light,
        q,
        pa,
        hlr,
        dx,
        dy,
        peak: 180.0,
    };
    table.into_iter().map(blob).collect()
}

/// What every stamp must be, whatever its source was.
fn check_against_truth(set: &TrainingSet, truth: &[Blob], what: &str) {
    assert_eq!(
        set.len(),
        truth.len(),
        "{what}: rejected {:?}",
        set.description.rejected
    );
    let (q, c) = (column(set, "axis_ratio"), column(set, "concentration"));
    let (size, angle) = (
        column(set, "source_half_light_radius_px"),
        column(set, "source_position_angle_deg"),
    );
    for (i, blob) in truth.iter().enumerate() {
        let at = format!("{what}, {blob:?}");
        let stamp: Vec<f64> = set.stamp(i).iter().map(|&v| f64::from(v)).collect();
        assert!((stamp.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{at}");
        let hlr = half_light_radius(&stamp, 64, q[i]);
        assert!(
            (hlr / 8.0 - 1.0).abs() < 0.01,
            "{at}: half-light radius {hlr}"
        );
        let pa = position_angle(&stamp, 64, 8.0);
        assert!(blob.q > 0.8 || pa.abs() < 1.0, "{at}: position angle {pa}");
        assert!(
            (q[i] / blob.q - 1.0).abs() < 0.04,
            "{at}: axis ratio {}",
            q[i]
        );
        let expected = concentration(blob.light, blob.q, 64, 8.0);
        assert!(
            (c[i] / expected - 1.0).abs() < 0.03,
            "{at}: C {} for {expected}",
            c[i]
        );
        // The stamp ends at four half-light radii, where an exponential lacks two percent of its light.
        assert!(
            (0.94..1.03).contains(&(size[i] / blob.hlr)),
            "{at}: source radius {}",
            size[i]
        );
        let turned = (angle[i] - blob.pa).to_radians().sin();
        assert!(
            blob.q > 0.8 || turned.abs() < 0.03,
            "{at}: source angle {}",
            angle[i]
        );
    }
}

#[test]
fn a_folder_of_png() {
    let folder = Folder::new("prepare-png");
    let pictures = folder.join("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    for (i, blob) in galaxies().into_iter().enumerate() {
        let scene = Scene {
            width: 160,
            height: 160,
            blobs: vec![blob],
            sky: 20.0,
            noise: 2.0,
        };
        scene.save_png(&pictures.join(format!("g{i}.png")), i as u64);
    }
    std::fs::write(pictures.join("notes.txt"), "no picture").expect("a file");
    let sheets = folder.join("sheets");
    let set = prepare(&pictures, &folder, &["--sheets", path(&sheets)]);
    let set = set.expect("a set");
    check_against_truth(&set, &galaxies(), "PNG");
    assert!(sheets.join("accepted.png").is_file());
    assert_eq!(set.description.source, "pictures");
    // Ids depend on the names alone.
    let options = ["--limit", "2", "--name", "drawn"];
    let again = prepare(&pictures, &folder, &options).expect("a set");
    assert_eq!(again.id, set.id[..2]);
    assert_eq!(again.description.source, "drawn");
    assert!(again.stamp(1) == set.stamp(1));
}

#[test]
fn a_folder_of_fits() {
    let folder = Folder::new("prepare-fits");
    let pictures = folder.join("cutouts");
    std::fs::create_dir(&pictures).expect("a folder");
    for (i, blob) in galaxies().into_iter().enumerate() {
        // Not square, and with a corner that was not observed.
        let scene = Scene {
            width: 170,
            height: 150,
            blobs: vec![blob],
            sky: -3.0,
            noise: 1.0,
        };
        let mut pixels = scene.pixels(i as u64);
        for k in (0..pixels.len()).filter(|k| k % 170 < 20 && k / 170 < 20) {
            pixels[k] = f32::NAN;
        }
        let extension = if i % 2 == 0 { "fits" } else { "fit" };
        write_fits(
            &pictures.join(format!("g{i}.{extension}")),
            &[170, 150],
            &pixels,
        );
    }
    let set = prepare(&pictures, &folder, &["--pixel-scale", "0.2"]).expect("a set");
    check_against_truth(&set, &galaxies(), "FITS");
    let arcsec = column(&set, "source_half_light_radius_arcsec");
    let px = column(&set, "source_half_light_radius_px");
    assert!(
        arcsec
            .iter()
            .zip(px)
            .all(|(a, p)| (a / (0.2 * p) - 1.0).abs() < 1e-6)
    );
}

/// A plain cube, and a stamp file of galgen, which has its cube in an extension and a table beside it.
#[test]
fn fits_cubes() {
    let folder = Folder::new("prepare-cube");
    let scenes: Vec<Vec<f32>> = galaxies()
        .into_iter()
        .enumerate()
        .map(|(i, blob)| {
            let scene = Scene {
                width: 160,
                height: 160,
                blobs: vec![blob],
                sky: 5.0,
                noise: 1.0,
            };
            scene.pixels(i as u64)
        })
        .collect();
    let plain = folder.join("plain.fits");
    write_fits(&plain, &[160, 160, scenes.len()], &scenes.concat());
    let plain = prepare(&plain, &folder, &[]).expect("a set");
    check_against_truth(&plain, &galaxies(), "cube");

    let stamps = folder.join("stamps.fits");
    let layout = StampLayout {
        bands: 1,
        height: 160,
        width: 160,
        columns: Vec::new(),
    };
    let layout = StampLayout {
        columns: vec![galgen_io::stamps::Column::new(
            "id",
            galgen_io::stamps::CellKind::I64,
            "",
            "",
        )],
        ..layout
    };
    let mut writer = StampWriter::create(&stamps, layout, &Provenance::default()).expect("a file");
    for (i, pixels) in scenes.iter().enumerate() {
        writer
            .push(pixels, &[galgen_io::stamps::Cell::I64(i as i64)])
            .expect("a stamp");
    }
    writer.finish().expect("a stamp file");
    let ours = prepare(&stamps, &folder, &[]).expect("a set");
    assert!(ours.stamps == plain.stamps && ours.observed == plain.observed);
}

/// The folder of real data: `GALGEN_DATA`, else beside the repository.
fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GALGEN_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn real_galaxies_of_sdss() {
    let Some(source) = data("sdss200/images") else {
        return;
    };
    let folder = Folder::new("prepare-sdss");
    let table = source.with_file_name("index.csv");
    let options = [
        "--limit",
        "30",
        "--stretch",
        "sky-server",
        "--psf-fwhm",
        "6.8",
    ];
    let set = prepare(
        &source,
        &folder,
        &[&options, &["--table", path(&table)][..]].concat(),
    );
    let set = set.expect("a set");
    assert!(set.len() >= 10, "{:?}", set.description.rejected);
    assert_eq!(set.description.rejected["unreadable"], 0);
    check_real(&set);
    assert!(
        column(&set, "ra_deg")
            .iter()
            .all(|ra| (0.0..360.0).contains(ra))
    );
}

#[test]
fn real_galaxies_of_cosmos() {
    let Some(source) = data("cosmos_hst/real_galaxy_catalog.fits") else {
        return;
    };
    let folder = Folder::new("prepare-cosmos");
    let options = [
        "--pixel-scale",
        "0.03",
        "--psf-fwhm",
        "3",
        "--min-hlr",
        "4",
        "--band",
        "F814W",
    ];
    let set = prepare(&source, &folder, &options).expect("a set");
    assert!(set.len() >= 10, "{:?}", set.description.rejected);
    assert_eq!(set.description.rejected["unreadable"], 0);
    check_real(&set);
    // Positions of the COSMOS field; ids are the catalogue's numbers.
    assert!(
        column(&set, "ra_deg")
            .iter()
            .all(|ra| (149.0..151.5).contains(ra))
    );
    assert!(
        column(&set, "dec_deg")
            .iter()
            .all(|dec| (1.0..3.5).contains(dec))
    );
}

fn check_real(set: &TrainingSet) {
    for i in 0..set.len() {
        let stamp: Vec<f64> = set.stamp(i).iter().map(|&v| f64::from(v)).collect();
        let q = column(set, "axis_ratio")[i];
        let hlr = half_light_radius(&stamp, 64, q);
        let said = column(set, "half_light_radius_px")[i];
        assert!((hlr / said - 1.0).abs() < 0.015 && hlr > 7.9, "{i}: {hlr}");
        assert!((0.05..=1.0).contains(&q) && (1.5..6.0).contains(&column(set, "concentration")[i]));
    }
}
