//! Pictures that are no good, tables of positions, and sources and options that cannot be used.

use super::sky::{self, Blob, Light, Scene};
use super::{column, galaxies, path, prepare};
use crate::common::Folder;
use std::path::Path;

#[test]
fn each_bad_picture_is_rejected_for_its_reason() {
    let folder = Folder::new("prepare-reasons");
    let pictures = folder.join("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    let good = Blob {
        light: Light::Exponential,
        q: 0.6,
        pa: 30.0,
        hlr: 11.0,
        dx: 0.0,
        dy: 0.0,
        peak: 180.0,
    };
    let scenes: [(&str, Vec<Blob>); 8] = [
        ("good", vec![good]),
        (
            "star",
            vec![Blob {
                light: Light::Gaussian,
                q: 1.0,
                hlr: 2.0,
                peak: 200.0,
                ..good
            }],
        ),
        (
            "too_small",
            vec![Blob {
                q: 0.5,
                hlr: 3.7,
                peak: 220.0,
                ..good
            }],
        ),
        (
            "double",
            vec![
                Blob {
                    q: 0.8,
                    hlr: 10.0,
                    pa: 0.0,
                    peak: 130.0,
                    ..good
                },
                Blob {
                    q: 0.8,
                    hlr: 6.7,
                    pa: 0.0,
                    peak: 160.0,
                    dx: 16.0,
                    dy: 4.0,
                    ..good
                },
            ],
        ),
        (
            "truncated",
            vec![Blob {
                q: 0.3,
                pa: 0.0,
                hlr: 75.0,
                ..good
            }],
        ),
        (
            "saturated",
            vec![Blob {
                peak: 2500.0,
                ..good
            }],
        ),
        ("too_faint", vec![]),
        // Seen and measured, but with a signal to noise of about 25.
        ("too_faint_galaxy", vec![Blob { peak: 14.0, ..good }]),
    ];
    for (i, (name, blobs)) in scenes.into_iter().enumerate() {
        let scene = Scene {
            width: 160,
            height: 160,
            blobs,
            sky: 20.0,
            noise: 3.0,
        };
        scene.save_png(&pictures.join(format!("{name}.png")), 50 + i as u64);
    }
    let flat = Scene {
        width: 64,
        height: 64,
        blobs: vec![],
        sky: 20.0,
        noise: 0.0,
    };
    flat.save_png(&pictures.join("not_measurable.png"), 0);
    std::fs::write(
        pictures.join("unreadable.png"),
        b"\x89PNG\r\n\x1a\nnonsense",
    )
    .expect("a file");
    std::fs::write(pictures.join("unreadable.fits"), b"SIMPLE  = nonsense").expect("a file");
    let tiny = Scene {
        width: 12,
        height: 12,
        blobs: vec![],
        sky: 20.0,
        noise: 1.0,
    };
    tiny.save_png(&pictures.join("unreadable_tiny.png"), 0);

    let sheets = folder.join("sheets");
    let options = [
        "--psf-fwhm",
        "4",
        "--min-snr",
        "50",
        "--sheets",
        path(&sheets),
    ];
    let set = prepare(&pictures, &folder, &options).expect("a set");
    assert_eq!((set.len(), set.description.accepted), (1, 1));
    let found: Vec<(&str, usize)> = set
        .description
        .rejected
        .iter()
        .map(|(name, n)| (&**name, *n))
        .collect();
    let expected = [
        ("double", 1),
        ("not_measurable", 1),
        ("saturated", 1),
        ("star", 1),
        ("too_faint", 2),
        ("too_small", 1),
        ("truncated", 1),
        ("unreadable", 3),
    ];
    assert_eq!(found, expected);
    for (reason, _) in expected
        .iter()
        .filter(|(reason, _)| *reason != "unreadable")
    {
        assert!(
            sheets.join(format!("rejected_{reason}.png")).is_file(),
            "{reason}"
        );
    }
}

#[test]
fn positions_come_from_a_table() {
    let folder = Folder::new("prepare-table");
    let pictures = folder.join("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    for (i, blob) in galaxies().into_iter().take(2).enumerate() {
        let scene = Scene {
            width: 160,
            height: 160,
            blobs: vec![blob],
            sky: 20.0,
            noise: 2.0,
        };
        scene.save_png(&pictures.join(format!("g{i}.png")), i as u64);
    }
    let table = folder.join("table.csv");
    let run = |text: &str, options: &[&str]| {
        std::fs::write(&table, text).expect("a file");
        let options = [&["--table", path(&table)], options].concat();
        prepare(&pictures, &folder, &options)
    };
    let set = run("file,ra_deg,dec_deg\ng1.png,10.5,-3\nother.png,1,2\n", &[]).expect("a set");
    assert!(column(&set, "ra_deg")[0].is_nan() && column(&set, "dec_deg")[0].is_nan());
    assert_eq!(
        (column(&set, "ra_deg")[1], column(&set, "dec_deg")[1]),
        (10.5, -3.0)
    );
    let named = [
        "--file-column",
        "name",
        "--ra-column",
        "RA",
        "--dec-column",
        "DE",
    ];
    let set = run("name,RA,DE\ng0.png,359,89\ng1.png,0,-90\n", &named).expect("a set");
    assert_eq!(column(&set, "ra_deg"), [359.0, 0.0]);

    let fault = |text: &str| run(text, &[]).map(|set| set.len()).expect_err("a fault");
    let missing = fault("file,ra_deg\ng1.png,10.5\n");
    assert!(
        missing.contains("table.csv") && missing.contains("dec_deg"),
        "{missing}"
    );
    let beyond = fault("file,ra_deg,dec_deg\ng0.png,10,20\ng1.png,10,120\n");
    assert!(
        beyond.contains("row 2") && beyond.contains("dec_deg"),
        "{beyond}"
    );
    let empty = fault("file,ra_deg,dec_deg\n");
    assert!(empty.contains("no rows"), "{empty}");
    let none = fault("file,ra_deg,dec_deg\nother.png,1,2\n");
    assert!(
        none.contains("table.csv") && none.contains("file"),
        "{none}"
    );
    let absent = prepare(
        &pictures,
        &folder,
        &["--table", path(&folder.join("absent.csv"))],
    );
    assert!(
        absent
            .map(|set| set.len())
            .expect_err("no table")
            .contains("absent.csv")
    );
}

#[test]
fn sources_and_options_that_cannot_be_used() {
    let folder = Folder::new("prepare-faults");
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    let fault = |source: &Path, options: &[&str]| {
        prepare(source, &folder, options)
            .map(|set| set.len())
            .expect_err("a fault")
    };
    let text = fault(&empty, &[]);
    assert!(text.contains("empty") && text.contains(".png"), "{text}");
    let text = fault(&folder.join("absent"), &[]);
    assert!(text.contains("absent"), "{text}");

    std::fs::write(empty.join("a.png"), "no picture").expect("a file");
    let text = fault(&empty, &[]);
    assert!(text.contains("no picture was accepted"), "{text}");
    let text = fault(&empty.join("a.png"), &[]);
    assert!(
        text.contains("a.png") && text.contains("folder of pictures"),
        "{text}"
    );

    // A table that is no RealGalaxyCatalog, and no image either.
    let shapes = folder.join("table.fits");
    sky::write_table(&shapes);
    let text = fault(&shapes, &[]);
    assert!(
        text.contains("table.fits") && text.contains("GAL_FILENAME"),
        "{text}"
    );

    for (options, word) in [
        (["--side", "4"], "--side"),
        (["--hlr-px", "0"], "--hlr-px"),
        (["--hlr-px", "20"], "--hlr-px"),
        (["--pixel-scale", "-1"], "--pixel-scale"),
        (["--min-snr", "nan"], "--min-snr"),
        (["--psf-side", "32"], "--psf-side"),
        (["--gain", "0"], "--gain"),
        (["--stretch", "log"], "stretch"),
        (["--channel", "Z"], "channel"),
    ] {
        let text = fault(&empty, &[&format!("{}={}", options[0], options[1])]);
        assert!(text.contains(word), "{options:?}: {text}");
    }
}
