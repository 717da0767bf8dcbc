//! Writing a trained density as one file, with its likelihood of the held-out part: compared with the engine that will
//! read it, and judged by that engine.

use super::larger;
use crate::checkpoint::Phase;
use crate::fit::FitError;
use crate::fit::density::{Setup, Trainer};
use crate::lower::Follow;
use crate::recipe::DensityPreset;
use crate::tensors;
use candle_core::{DType, Device, Tensor};
use galgen_core::card::{Card, FORMAT_VERSION, METADATA_KEY};
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{DrawError, Model, Pixels, Session};
use galgen_io::sheet::{SheetOptions, Stretch, Tile, side_by_side};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
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
    if training.state.phase != Phase::Done {
        let problem = "the training is not finished: continue it with `galgen-train fit --resume`";
        return Err(FitError::File(problem.into()));
    }
    let stored: BTreeMap<String, Tensor> = training
        .state
        .best
        .iter(&[""])
        .map(|(name, var)| Ok((name.to_string(), var.as_tensor().to_device(&Device::Cpu)?)))
        .collect::<candle_core::Result<_>>()?;
    let mut card = Card {
        format_version: FORMAT_VERSION,
        name: setup.recipe.name.clone(),
        description: setup.recipe.description.clone(),
        fingerprint: String::new(),
        geometry: setup.samples.geometry.clone(),
        psf: "none".into(),
        conditions: setup.samples.conditions.clone(),
        model: setup.model.family(),
        training: provenance,
        evaluation: Value::Null,
    };
    card.fingerprint = card.compute_fingerprint();
    let load = |card: &Card| -> Result<(Vec<u8>, Arc<Model>), FitError> {
        let metadata = HashMap::from([(METADATA_KEY.to_string(), card.to_json())]);
        let bytes = tensors::to_bytes(&stored, metadata)?;
        let model = Model::from_bytes(&bytes)
            .map_err(|e| FitError::File(format!("the engine refuses the exported model: {e}")))?;
        Ok((bytes, model))
    };
    let (_, model) = load(&card)?;
    let worst = parity(trainer, &model)?;
    let tolerance = match setup.model.is_continuous() {
        true => CONTINUOUS_TOLERANCE,
        false => TOLERANCE,
    };
    if worst.is_nan() || worst > tolerance {
        return Err(FitError::File(format!(
            "engine and training disagree by {worst:.1e} nats a dimension, expected at most {tolerance:.0e}. \
             Nothing was written; please report this recipe"
        )));
    }
    card.evaluation = evaluate(setup, &model).map_err(refused)?;
    card.evaluation["parity"] = json!({ "objects": CHECKED, "nats_per_dimension": worst });
    let picture = training.directory.join("samples.png");
    if setup.samples.geometry.pixels() == 2 && !P::BINARY {
        card.evaluation["mass"] = json!(maps(setup, &model, &picture)?);
    } else if !setup.samples.geometry.is_columns() {
        sheet(setup, &model, &picture)?;
    }
    let (bytes, model) = load(&card)?;
    galgen_io::atomic::write_atomic(path, &bytes).map_err(|e| FitError::File(e.to_string()))?;
    Ok(model)
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
    let condition = samples.conditions.list.first();
    let classes = condition.map_or(1, |c| c.classes.len());
    let mut chosen = Vec::new();
    for class in 0..classes {
        let of_class = |p: &usize| condition.is_none() || samples.values[*p] == class as f32;
        let members = samples.validation.iter().copied().filter(of_class);
        chosen.extend(members.take(SHOWN.div_ceil(classes)));
    }
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
    let side = samples.geometry.side;
    let tile = |pixels| Tile {
        pixels,
        width: side,
        height: side,
        caption: String::new(),
    };
    let real: Vec<_> = chosen.iter().map(|&p| tile(samples.image(p))).collect();
    let drawn: Vec<_> = drawn.iter().map(|pixels| tile(pixels)).collect();
    let options = SheetOptions {
        columns: 8,
        stretch: Stretch::PerTile,
        y_down: true,
        ..SheetOptions::default()
    };
    side_by_side(&[("held out", &real), ("drawn", &drawn)], &options)
        .save(path)
        .map_err(|e| FitError::File(e.to_string()))
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
    let values = samples.conditions_of(samples.validation[0]);
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
        ("density", &density[..]),
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
