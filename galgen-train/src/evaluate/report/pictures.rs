//! Contact sheets of the report.

use super::super::Evaluation;
use super::super::memorisation::{Memorisation, Nearest, mirrored};
use galgen_io::canvas::Canvas;
use galgen_io::sheet::{SheetOptions, Stretch, Tile, side_by_side};

/// Galaxies on each side of a contact sheet.
const SHOWN: usize = 48;
/// Pairs of each sample on the sheet of nearest training galaxies.
const PAIRS: usize = 12;
/// Galaxies on each side of `samples.png`.
const SAMPLES_SHOWN: usize = 64;

/// A sheet of square stamps in `columns` columns, captions below where there are some.
struct Panel<'a> {
    title: &'a str,
    stamps: Vec<&'a [f32]>,
    captions: Vec<String>,
}

impl<'a> Panel<'a> {
    fn new(title: &'a str, stamps: impl Iterator<Item = &'a [f32]>) -> Self {
        Self {
            title,
            stamps: stamps.collect(),
            captions: Vec::new(),
        }
    }

    fn tiles(&self, side: usize) -> Vec<Tile<'a>> {
        let stamps = self.stamps.iter().enumerate();
        stamps
            .map(|(i, &pixels)| Tile {
                pixels,
                width: side,
                height: side,
                caption: self.captions.get(i).cloned().unwrap_or_default(),
            })
            .collect()
    }
}

fn draw(panels: &[Panel], side: usize, options: &SheetOptions) -> Canvas {
    let tiles: Vec<Vec<Tile>> = panels.iter().map(|panel| panel.tiles(side)).collect();
    let titled = panels.iter().zip(&tiles);
    let titled: Vec<(&str, &[Tile])> = titled.map(|(p, t)| (p.title, &t[..])).collect();
    side_by_side(&titled, options)
}

fn options(columns: usize, enlarge: usize, stretch: Stretch) -> SheetOptions {
    SheetOptions {
        columns,
        enlarge,
        stretch,
        ..SheetOptions::default()
    }
}

/// Evenly spaced places in a list of `count` galaxies.
fn places(count: usize, shown: usize) -> impl Iterator<Item = usize> {
    let step = (count / shown).max(1);
    (0..count).step_by(step).take(shown)
}

/// Held-out, drawn and Sersic galaxies as observed, at one stretch.
pub(super) fn observed_sheet(e: &Evaluation) -> Canvas {
    let blank = vec![0.0; e.side * e.side];
    let shown = || places(e.held_out.len(), SHOWN);
    let panels = [
        Panel::new("held-out", shown().map(|i| &e.held_out[i][..])),
        Panel::new("drawn", shown().map(|i| &e.drawn[i][..])),
        Panel::new(
            "best-fit Sersic",
            shown().map(|i| e.sersic[i].as_deref().unwrap_or(&blank)),
        ),
    ];
    draw(&panels, e.side, &options(6, 1, Stretch::Shared))
}

/// Drawn galaxies before point-spread function and noise.
pub(super) fn intrinsic_sheet(e: &Evaluation) -> Canvas {
    let shown = places(e.intrinsic.len(), SHOWN).map(|i| &e.intrinsic[i][..]);
    let panel = Panel::new("drawn, before PSF and noise", shown);
    draw(&[panel], e.side, &options(16, 1, Stretch::PerTile))
}

/// Held-out galaxies beside drawn ones before point-spread function and noise.
pub fn samples_sheet(e: &Evaluation) -> Canvas {
    let shown = || places(e.held_out.len(), SAMPLES_SHOWN);
    let panels = [
        Panel::new("held-out galaxies", shown().map(|i| &e.held_out[i][..])),
        Panel::new(
            match e.provenance.reconstructions {
                true => "their own reconstructions, before PSF and noise",
                false => "drawn under the same conditions, before PSF and noise",
            },
            shown().map(|i| &e.intrinsic[i][..]),
        ),
    ];
    draw(&panels, e.side, &options(8, 0, Stretch::PerTile))
}

/// The nearest pairs: above the galaxies with their distances, below their nearest training galaxies.
pub(super) fn nearest_sheet(e: &Evaluation) -> Canvas {
    let training = |list: &[Nearest]| -> Vec<Vec<f32>> {
        Memorisation::closest(list, PAIRS)
            .iter()
            .map(|&i| mirrored(&e.training[&list[i].training], e.side, list[i].flip))
            .collect()
    };
    let samples = [
        (
            "drawn, training galaxy below",
            &e.memorisation.drawn,
            &e.drawn,
        ),
        ("held-out, the same", &e.memorisation.held_out, &e.held_out),
    ];
    let below = samples.map(|(_, list, _)| training(list));
    let panels: Vec<Panel> = samples
        .iter()
        .zip(&below)
        .map(|((title, list, images), below)| {
            let closest = Memorisation::closest(list, PAIRS);
            let own = closest.iter().map(|&i| &images[i][..]);
            let distances = closest.iter().map(|&i| format!("{:.4}", list[i].distance));
            Panel {
                captions: distances.collect(),
                ..Panel::new(title, own.chain(below.iter().map(|b| &b[..])))
            }
        })
        .collect();
    let columns = PAIRS.min(e.drawn.len());
    draw(&panels, e.side, &options(columns, 1, Stretch::PerTile))
}
