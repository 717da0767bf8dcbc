//! Writing a trained density as one file, with its likelihood of the held-out part: compared with the engine that will
//! read it, and judged by that engine.

use super::{About, Draft, PARITY, agreed, finished, larger, unrounded};
use crate::fit::FitError;
use crate::fit::density::{Setup, Trainer};
use crate::lower::Follow;
use crate::recipe::DensityPreset;
use candle_core::{DType, Tensor};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{DrawError, Model, Pixels, Session};
use galgen_io::sheet::{SheetOptions, Tile, side_by_side};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Held-out objects on which the engine is compared with the training.
const CHECKED: usize = 32;
/// Largest difference of ln p that is accepted, in nats a dimension: f32 rounds to 6e-8, and a few couplings with
/// slopes of ten to a hundred follow each other.
const TOLERANCE: f64 = 1e-4;
/// The same where the training followed a velocity field with equal steps of order 4 and the engine with its own.
const CONTINUOUS_TOLERANCE: f64 = 0.02;
/// Held-out objects whose likelihood is averaged.
const SCORED: usize = 10_000;
/// Images on each side of the sheet.
const SHOWN: usize = 80;
/// Seed of what is drawn, and of the noise of grey levels.
const SEED: u64 = 1;
/// Cells along a side of the maps of two columns.
const CELLS: usize = 160;
/// Points of the density along a side of a cell: at one, the edges of a checkerboard leave 2e-3 of its integral, at four
/// 1e-4.
const POINTS: usize = 4;
/// The same of a continuous flow, which is smooth and slow.
const CONTINUOUS_POINTS: usize = 1;

/// Writes the finished model of `trainer` to `path`, its weights as f32, and `samples.png` (held-out images beside drawn
/// ones; of two columns maps of the held-out rows, of the density and of drawn rows) to the directory of the
/// training.
pub fn export<P: DensityPreset>(
    trainer: &Trainer<P>,
    provenance: Value,
    path: &Path,
) -> Result<Arc<Model>, FitError> {
    let Trainer { setup, training } = trainer;
    let about = About {
        name: &setup.recipe.name,
        description: &setup.recipe.description,
        psf: "none",
        geometry: &setup.samples.geometry,
        conditions: &setup.samples.conditions,
        model: setup.model.family(),
        training: provenance,
    };
    let mut draft = Draft::new(about, unrounded(finished(training)?)?);
    let model = draft.model()?;
    let worst = parity(trainer, &model)?;
    let tolerance = match setup.model.is_continuous() {
        true => CONTINUOUS_TOLERANCE,
        false => TOLERANCE,
    };
    agreed(&[("ln p (nats a dimension)", worst)], tolerance)?;
    let card = &mut draft.card;
    card.evaluation = evaluate(setup, &model).map_err(refused)?;
    card.evaluation[PARITY] = json!({ "objects": CHECKED.min(setup.samples.validation.len()), "nats_per_dimension": worst });
    let picture = training.directory.join("samples.png");
    if setup.samples.geometry.pixels() == 2 && !P::BINARY {
        card.evaluation["mass"] = json!(maps(setup, &model, &picture)?);
    } else if !setup.samples.geometry.is_columns() {
        sheet(setup, &model, &picture)?;
    }
    draft.write(path)
}

fn refused(e: DrawError) -> FitError {
    FitError::File(format!("the engine refuses a held-out object: {e}"))
}

/// Largest difference of ln p between training and engine on the same points, in nats a dimension.
fn parity<P: DensityPreset>(trainer: &Trainer<P>, model: &Arc<Model>) -> Result<f64, FitError> {
    let Trainer { setup, training } = trainer;
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let dim = samples.geometry.pixels();
    let mut worst = 0.0;
    for chosen in samples.fixed(&samples.validation).into_iter().take(CHECKED) {
        let id = samples.ids[chosen.position];
        let pixels = samples.shown(chosen);
        let values = samples.conditions_of(chosen.position);
        let found = session.log_likelihood(&pixels, values, None, 1, SEED, id);
        let found = found.map_err(refused)?;
        // The noise that the session gives to grey levels.
        let mut rng = Philox::new(SEED, id, Stream::Posterior);
        let points = pixels.iter().map(|&x| setup.model.point(x, &mut rng));
        let x = Tensor::from_vec(points.collect::<Vec<_>>(), (1, dim), &training.device)?;
        let context = samples.context(&[chosen], &training.device)?;
        let asked = Follow {
            noise: &setup.noise(&[chosen], SEED),
            regularise: false,
        };
        let (expected, _) =
            setup
                .model
                .log_prob(&training.state.best, &x, context.as_ref(), asked)?;
        let expected = expected.to_dtype(DType::F64)?.to_vec1::<f64>()?[0];
        worst = larger(worst, (found - expected).abs() / dim as f64);
    }
    Ok(worst)
}

/// Mean ln p of the held-out part with its standard error, and bits a dimension.
fn evaluate<P: DensityPreset>(setup: &Setup<P>, model: &Arc<Model>) -> Result<Value, DrawError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let scored = &samples.validation[..samples.validation.len().min(SCORED)];
    let n = scored.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for chosen in samples.fixed(scored) {
        let (pixels, values) = (
            samples.shown(chosen),
            samples.conditions_of(chosen.position),
        );
        let id = samples.ids[chosen.position];
        let found = session.log_likelihood(&pixels, values, None, 1, SEED, id)?;
        sum += found;
        squares += found * found;
    }
    let mean = sum / n;
    let variance = (squares / n - mean * mean).max(0.0);
    let mut figures = json!({
        "objects": n,
        "log_likelihood_nats": mean,
        "standard_error": (variance / n).sqrt(),
    });
    if setup.model.levels().is_some() {
        figures["bits_per_dimension"] = json!(setup.model.bits(mean, samples.geometry.pixels()));
    }
    Ok(figures)
}

/// Images of the data beside drawn ones, in the order of their classes.
fn sheet<P: DensityPreset>(
    setup: &Setup<P>,
    model: &Arc<Model>,
    path: &Path,
) -> Result<(), FitError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let chosen = samples.for_sheet(SHOWN);
    let mut drawn = Vec::new();
    for &position in &chosen {
        let mut image = vec![0.0; model.stamp_len()];
        let values = samples.conditions_of(position);
        let made = session.sample_image(
            SEED,
            samples.ids[position],
            values,
            Pixels::Drawn,
            &mut image,
        );
        made.map_err(refused)?;
        drawn.push(image);
    }
    let real: Vec<Vec<f32>> = chosen.iter().map(|&p| samples.image(p).to_vec()).collect();
    super::sheet(samples, &chosen, [&real, &drawn], path)
}

/// Maps of held-out rows, of the density and of as many drawn rows, over the range of the rows and a quarter of it
/// beyond; returns the integral of the density over the map.
fn maps<P: DensityPreset>(
    setup: &Setup<P>,
    model: &Arc<Model>,
    path: &Path,
) -> Result<f64, FitError> {
    let samples = setup.samples;
    let mut session = Session::new(model.clone());
    let rows: Vec<&[f32]> = samples
        .validation
        .iter()
        .map(|&p| samples.image(p))
        .collect();
    let range = |column: usize| {
        let values = || rows.iter().map(|r| f64::from(r[column]));
        let (low, high) = (
            values().fold(f64::MAX, f64::min),
            values().fold(f64::MIN, f64::max),
        );
        let margin = 0.25 * (high - low).max(f64::MIN_POSITIVE);
        [low - margin, (high - low + 2.0 * margin) / CELLS as f64]
    };
    let [x, y] = [range(0), range(1)];
    let at = |[low, step]: [f64; 2], value: f32| {
        let cell = (f64::from(value) - low) / step;
        (cell >= 0.0 && cell < CELLS as f64).then_some(cell as usize)
    };
    let count = |map: &mut Vec<f32>, row: &[f32]| {
        if let (Some(x), Some(y)) = (at(x, row[0]), at(y, row[1])) {
            map[y * CELLS + x] += 1.0;
        }
    };
    let [mut real, mut drawn] = [0; 2].map(|_| vec![0.0; CELLS * CELLS]);
    for (id, row) in rows.iter().enumerate() {
        count(&mut real, row);
        let values = samples.conditions_of(samples.validation[id]);
        let mut made = [0.0; 2];
        let result = session.sample_image(SEED, id as u64, values, Pixels::Drawn, &mut made);
        result.map_err(refused)?;
        count(&mut drawn, &made);
    }
    let first = samples.validation[0];
    let values = samples.conditions_of(first);
    let title = match values {
        [] => "density".to_string(),
        _ => format!("density given what {} has", samples.ids[first]),
    };
    let points = match setup.model.is_continuous() {
        true => CONTINUOUS_POINTS,
        false => POINTS,
    };
    let middle = |[low, step]: [f64; 2], cell: usize, point: usize| {
        let place = (point as f64 + 0.5) / points as f64;
        (low + (cell as f64 + place) * step) as f32
    };
    let mut density = Vec::with_capacity(CELLS * CELLS);
    for cell in 0..CELLS * CELLS {
        let mut sum = 0.0;
        for i in 0..points * points {
            let point = [
                middle(x, cell % CELLS, i % points),
                middle(y, cell / CELLS, i / points),
            ];
            let found = session.log_likelihood(&point, values, None, 1, SEED, 0);
            sum += found.map_err(refused)?.exp();
        }
        density.push((sum / (points * points) as f64) as f32);
    }
    let mass = density.iter().map(|&p| f64::from(p)).sum::<f64>() * x[1] * y[1];
    let tile = |pixels| {
        [Tile {
            pixels,
            width: CELLS,
            height: CELLS,
            caption: String::new(),
        }]
    };
    let (real, density, drawn) = (tile(&real), tile(&density), tile(&drawn));
    let panels = [
        ("held out", &real[..]),
        (&title, &density[..]),
        ("drawn", &drawn[..]),
    ];
    let options = SheetOptions {
        enlarge: 2,
        ..SheetOptions::default()
    };
    let picture = side_by_side(&panels, &options);
    picture
        .save(path)
        .map_err(|e| FitError::File(e.to_string()))?;
    Ok(mass)
}
