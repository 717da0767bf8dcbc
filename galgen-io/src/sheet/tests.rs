use super::*;

/// A round exponential disc with noise, `side` pixels wide.
fn disc(side: usize, flux: f64, noise: f64) -> Vec<f32> {
    let middle = (side as f64 - 1.0) / 2.0;
    let mut state = 1u64;
    (0..side * side)
        .map(|i| {
            let r = ((i % side) as f64 - middle).hypot((i / side) as f64 - middle);
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let random = (state >> 40) as f64 / f64::from(1 << 24) - 0.5;
            (flux * (-r / (side as f64 / 12.0)).exp() + noise * random) as f32
        })
        .collect()
}

fn tile(pixels: &[f32], side: usize) -> Tile<'_> {
    Tile {
        pixels,
        width: side,
        height: side,
        caption: String::new(),
    }
}

#[test]
fn brightness_rises_from_black_to_white_and_is_defined_everywhere() {
    let levels = Levels::of(&disc(64, 1.0, 0.0));
    let values: Vec<f64> = (0..100)
        .map(|i| levels.brightness(f64::from(i) * 0.02))
        .collect();
    assert!(values.windows(2).all(|w| w[0] <= w[1]));
    assert_eq!((values[0], values[99]), (0.0, 1.0));
    for odd in [f64::NAN, f64::INFINITY, -1.0, f64::NEG_INFINITY] {
        assert_eq!(levels.brightness(odd), 0.0);
    }
    // A hundredth of the centre is still seen.
    assert!(levels.brightness(0.01) > 0.08);
}

/// Flux units do not change a picture.
#[test]
fn pictures_do_not_depend_on_the_flux() {
    let picture = |flux: f64| {
        sheet(
            &[tile(&disc(32, flux, 0.01 * flux), 32)],
            &SheetOptions::default(),
        )
    };
    assert_eq!(picture(1.0), picture(1024.0));
    assert_eq!(picture(1.0), picture(1.0 / 4096.0));
}

#[test]
fn noise_stays_dark() {
    let noisy = disc(64, 1.0, 0.3);
    let levels = Levels::of(&noisy);
    let corner: f64 = (0..16)
        .map(|i| levels.brightness(f64::from(noisy[i])))
        .sum::<f64>()
        / 16.0;
    assert!(corner < 0.15, "{corner}");
}

#[test]
fn row_0_is_at_the_bottom_unless_asked() {
    let pixels = [1.0, 1.0, 0.0, 0.0];
    let options = SheetOptions {
        enlarge: 1,
        ..SheetOptions::default()
    };
    let up = sheet(&[tile(&pixels, 2)], &options);
    let down = sheet(
        &[tile(&pixels, 2)],
        &SheetOptions {
            y_down: true,
            ..options
        },
    );
    assert_eq!(
        (up.get(GAP, GAP), up.get(GAP, GAP + 1)),
        (Some([0; 3]), Some([255; 3]))
    );
    assert_eq!(
        (down.get(GAP, GAP), down.get(GAP, GAP + 1)),
        (Some([255; 3]), Some([0; 3]))
    );
}

#[test]
fn three_bands_keep_their_hue_and_nothing_is_a_picture_too() {
    let band = disc(16, 1.0, 0.0);
    let red: Vec<f32> = [band.clone(), vec![0.0; 256], vec![0.0; 256]].concat();
    let picture = sheet(
        &[tile(&red, 16)],
        &SheetOptions {
            enlarge: 1,
            ..Default::default()
        },
    );
    let [r, g, b] = picture.get(GAP + 8, GAP + 8).unwrap();
    assert!(r > 100 && g == 0 && b == 0);
    assert!(sheet(&[], &SheetOptions::default()).width() > 0);
    sheet(
        &[tile(&[f32::NAN; 4], 2), tile(&[0.0; 4], 2)],
        &SheetOptions::default(),
    );
}

#[test]
fn a_shared_stretch_keeps_faint_tiles_faint() {
    let (bright, faint) = (disc(16, 1.0, 0.0), disc(16, 0.01, 0.0));
    let tiles = [tile(&faint, 16), tile(&bright, 16), tile(&bright, 16)];
    let levels: Vec<Levels> = tiles.iter().map(|t| Levels::of(t.pixels)).collect();
    let common = shared(levels.clone(), Stretch::Shared);
    assert!(common.iter().all(|l| *l == levels[1]));
    assert_eq!(shared(levels.clone(), Stretch::PerTile), levels);
    let titles = SheetOptions {
        title: "both".into(),
        ..Default::default()
    };
    let panels: [(&str, &[Tile]); 3] = [
        ("real", &tiles[..1]),
        ("generated", &tiles[1..2]),
        ("", &tiles[2..]),
    ];
    let pair = side_by_side(&panels[..2], &titles);
    assert!(pair.width() > pair.height());
    let three = side_by_side(&panels, &titles);
    assert!(three.width() > pair.width() && three.height() == pair.height());
}
