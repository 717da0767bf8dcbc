//! What a training shows while it runs: loss curves, and held-out images beside their reconstructions.

use super::Training;
use galgen_core::stamp::Geometry;
use galgen_io::plot::{Figure, Frame, Series};
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};

/// Images on the sheet of reconstructions.
const SHOWN: usize = 48;

/// Writes the losses of the present phase to `name`; `label` says what they are.
pub(super) fn curves(training: &Training, name: &str, label: &str) -> Result<(), String> {
    let state = &training.state;
    let of_phase = |r: &&crate::checkpoint::Record| r.phase == state.phase;
    let records: Vec<_> = state.history.iter().filter(of_phase).collect();
    // The first record is from nearly untrained weights and would flatten the rest.
    let shown = &records[usize::from(records.len() > 3)..];
    let line = |name: &str, value: fn(&crate::checkpoint::Record) -> f64| {
        Series::new(
            name,
            shown.iter().map(|r| (r.step as f64, value(r))).collect(),
        )
    };
    let series = [
        line("training", |r| r.training),
        line("validation", |r| r.validation),
    ];
    let frame = Frame::new(&training.name, "step", label);
    let path = training.directory.join(name);
    Figure::lines(&frame, &series)
        .to_canvas()
        .save(&path)
        .map_err(|e| e.to_string())
}

/// The positions to show, evenly spread over `all`.
pub(super) fn spread(all: &[usize]) -> Vec<usize> {
    let step = (all.len() / SHOWN).max(1);
    all.iter().step_by(step).take(SHOWN).copied().collect()
}

/// Writes the `real` images beside the `decoded` ones, in the same order, each under its title, to `file`.
pub(super) fn pairs(
    training: &Training,
    file: &str,
    geometry: &Geometry,
    (title, real): (&str, &[&[f32]]),
    (other_title, decoded): (&str, &[f32]),
) -> Result<(), String> {
    let side = geometry.side;
    let tile = |pixels| Tile {
        pixels,
        width: side,
        height: side,
        caption: String::new(),
    };
    let real: Vec<Tile> = real.iter().map(|pixels| tile(pixels)).collect();
    let decoded: Vec<Tile> = decoded.chunks(geometry.pixels()).map(tile).collect();
    let galaxies = geometry.half_light_radius.is_some();
    let options = SheetOptions {
        columns: 6,
        y_down: !galaxies,
        ..SheetOptions::default()
    };
    let panels = [(title, &real[..]), (other_title, &decoded[..])];
    let sheet = side_by_side(&panels, &options);
    sheet
        .save(training.directory.join(file))
        .map_err(|e| e.to_string())
}
