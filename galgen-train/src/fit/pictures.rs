//! What a training shows while it runs: loss curves, and validation galaxies beside their
//! reconstructions.

use super::Trainer;
use crate::checkpoint::Phase;
use galgen_io::plot::{Figure, Frame, Series};
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};

/// Galaxies on the sheet of reconstructions.
const SHOWN: usize = 48;

/// Writes `loss-vae.png` or `loss-flow.png`, and `reconstructions.png` while the VAE learns.
pub(super) fn draw(trainer: &Trainer) -> Result<(), String> {
    let phase = trainer.state.phase;
    curves(trainer, phase)?;
    if phase == Phase::Vae {
        reconstructions(trainer)?;
    }
    Ok(())
}

fn curves(trainer: &Trainer, phase: Phase) -> Result<(), String> {
    let (name, label) = match phase {
        Phase::Vae => (
            "loss-vae.png",
            "negative evidence lower bound, nats a stamp",
        ),
        Phase::Flow | Phase::Done => ("loss-flow.png", "-ln p(z | conditions), nats a stamp"),
    };
    let records: Vec<_> = trainer
        .state
        .history
        .iter()
        .filter(|r| r.phase == phase)
        .collect();
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
    let frame = Frame::new(&trainer.recipe.name, "step", label);
    let path = trainer.directory.join(name);
    Figure::lines(&frame, &series)
        .to_canvas()
        .save(&path)
        .map_err(|e| e.to_string())
}

fn reconstructions(trainer: &Trainer) -> Result<(), String> {
    let samples = trainer.samples;
    let step = (samples.validation.len() / SHOWN).max(1);
    let chosen: Vec<(usize, u8)> = samples
        .validation
        .iter()
        .step_by(step)
        .take(SHOWN)
        .map(|&p| (p, 0))
        .collect();
    let decode = || -> candle_core::Result<Vec<f32>> {
        let learner = trainer.learner(&trainer.state.average)?;
        let batch = samples.batch(&chosen, &trainer.device)?;
        let (mean, _) = learner.encode(&batch)?;
        learner
            .decode(&mean, batch.context.as_ref())?
            .flatten_all()?
            .to_vec1()
    };
    let decoded = decode().map_err(|e| e.to_string())?;
    let side = samples.side;
    let tile = |pixels| Tile {
        pixels,
        width: side,
        height: side,
        caption: String::new(),
    };
    let real: Vec<Tile> = chosen
        .iter()
        .map(|&(p, _)| tile(samples.stamp(p)))
        .collect();
    let drawn: Vec<Tile> = decoded.chunks(side * side).map(tile).collect();
    let options = SheetOptions {
        columns: 6,
        ..SheetOptions::default()
    };
    let sheet = side_by_side(
        ("held-out galaxies", &real),
        ("their reconstructions", &drawn),
        &options,
    );
    sheet
        .save(trainer.directory.join("reconstructions.png"))
        .map_err(|e| e.to_string())
}
