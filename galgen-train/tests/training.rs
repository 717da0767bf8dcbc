//! Trainings of a tiny model on galaxies drawn here: they learn, they repeat to the bit, and they stop
//! with a reason.

mod common;

use candle_core::Device;
use common::tiny::{
    RECIPE, TEXTURE, VAE_STEPS, all_bits, bits, recipe, resumed, samples, train, trainer,
};
use common::{Folder, SIDE, tiny_set};
use galgen_infer::weights::Weights;
use galgen_train::checkpoint::{self, Phase, State};
use galgen_train::fit::{CHECKPOINT, FitError};
use galgen_train::fit_command::MODEL;
use galgen_train::recipe::Recipe;
use galgen_train::samples::Samples;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn a_training_learns_and_an_interrupted_one_ends_with_the_same_bits() {
    let recipe = recipe(RECIPE);
    let set = tiny_set(96, 1);
    let samples = samples(&set, &recipe);
    let folder = Folder::new("resume");
    let straight = train(&recipe, &samples, &folder.join("straight"), &[]);

    let losses = |phase: Phase| -> Vec<f64> {
        let records = straight.history.iter().filter(|r| r.phase == phase);
        records.map(|r| r.validation).collect()
    };
    let (vae, flow) = (losses(Phase::Vae), losses(Phase::Flow));
    assert_eq!((vae.len(), flow.len()), (4, 2));
    assert!(vae.windows(2).all(|w| w[1] < w[0]), "{vae:?}");
    assert!(
        vae[3] < vae[0] - 1.0 && flow[1] < flow[0],
        "{vae:?} {flow:?}"
    );
    for file in [
        "loss-vae.png",
        "loss-flow.png",
        "reconstructions.png",
        CHECKPOINT,
    ] {
        assert!(folder.join("straight").join(file).is_file(), "{file}");
    }

    let stops: [&[u64]; 4] = [&[7], &[VAE_STEPS], &[VAE_STEPS + 5], &[1, 11, 13, 12]];
    for stops in stops {
        let state = resumed(&recipe, &samples, &folder, stops, &straight);
        // The training loss of a record is a mean since the last one or the restart; the rest repeats.
        let shown = |s: &State| -> Vec<(Phase, u64, f64, f64)> {
            s.history
                .iter()
                .map(|r| (r.phase, r.step, r.validation, r.divergence))
                .collect()
        };
        assert_eq!(shown(&state), shown(&straight));
    }

    let other = self::recipe(&RECIPE.replace("seed = 5", "seed = 6"));
    let state = train(&other, &samples, &folder.join("other"), &[]);
    for (a, b) in all_bits(&state)[..3].iter().zip(&all_bits(&straight)) {
        let same = a.iter().filter(|(name, v)| b[*name] == **v && v.len() > 1);
        // The learnt ones; only what is 0 at the start and never learns may agree.
        assert_eq!(same.count(), 0);
    }
}

#[test]
fn a_model_without_conditions_learns_too() {
    let recipe = recipe(&RECIPE.replace("[\"axis_ratio\", \"concentration\"]", "[]"));
    let set = tiny_set(96, 6);
    let samples = samples(&set, &recipe);
    let folder = Folder::new("unconditional");
    let state = train(&recipe, &samples, &folder.join("out"), &[]);
    assert!(
        state.history[3].validation < state.history[0].validation,
        "{:?}",
        state.history
    );
}

/// The program on a recipe in `folder`.
fn fit(folder: &Folder, out: &str, threads: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_galgen-train"))
        .arg("fit")
        .arg(folder.join("recipe.toml"))
        .arg("--data")
        .arg(folder.path())
        .arg("--out")
        .arg(folder.join(out))
        .arg("--quiet")
        .args(more)
        .env("GALGEN_THREADS", threads)
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .expect("the program starts")
}

fn message(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Every file that the program has left behind but the pictures.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for file in std::fs::read_dir(folder).expect("an output folder") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            out.insert(name, std::fs::read(&path).expect("a file"));
        }
    }
    out
}

#[test]
fn the_program_gives_the_same_bits_on_any_number_of_threads_and_refuses_what_it_should() {
    let folder = Folder::new("program");
    tiny_set(96, 2)
        .save(folder.join("tiny.safetensors"))
        .expect("a training set");
    // Large enough for every operation to be shared among threads.
    let recipe = RECIPE
        .replace("flow_hidden = 8", "flow_hidden = 96")
        .replace("[8, 6, 4]", "[64, 32, 16]")
        .replace("latent = 4", "latent = 16")
        .replace("batch = 8", "batch = 128");
    std::fs::write(folder.join("recipe.toml"), &recipe).expect("a file");
    for (out, threads) in [("one", "1"), ("two", "2")] {
        let output = fit(&folder, out, threads, &["--max-steps", "30"]);
        assert!(output.status.success(), "{output:?}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "not quiet: {output:?}"
        );
    }
    let (one, two) = (files(&folder.join("one")), files(&folder.join("two")));
    assert!(one.contains_key(CHECKPOINT));
    assert!(one == two, "the number of threads changes the result");

    // Continued with another number of threads, or with the rest in one go: the same.
    assert!(
        fit(&folder, "one", "2", &["--resume", "--max-steps", "3"])
            .status
            .success()
    );
    assert!(
        fit(&folder, "two", "1", &["--resume", "--max-steps", "3"])
            .status
            .success()
    );
    assert!(files(&folder.join("one")) == files(&folder.join("two")));

    // To the end: a model file with the same weights.
    let weights = |out: &str, threads: &str| -> Vec<u8> {
        let output = fit(&folder, out, threads, &["--resume"]);
        assert!(output.status.success(), "{output:?}");
        let bytes = std::fs::read(folder.join(out).join(MODEL)).expect("a model");
        let header: [u8; 8] = bytes[..8].try_into().expect("8 bytes");
        bytes[8 + u64::from_le_bytes(header) as usize..].to_vec()
    };
    assert!(weights("one", "1") == weights("two", "2"));

    let again = message(&fit(&folder, "one", "1", &[]));
    assert!(
        again.contains("--resume") && again.contains(CHECKPOINT),
        "{again}"
    );
    std::fs::write(folder.join("recipe.toml"), recipe.replace("3e-3", "2e-3")).expect("a file");
    let other = message(&fit(&folder, "one", "1", &["--resume"]));
    assert!(
        other.contains("another recipe") && other.contains(CHECKPOINT),
        "{other}"
    );

    std::fs::write(folder.join("recipe.toml"), &recipe).expect("a file");
    let half = std::fs::read(folder.join("one").join(CHECKPOINT)).expect("a checkpoint");
    std::fs::write(folder.join("one").join(CHECKPOINT), &half[..half.len() / 2]).expect("a file");
    let broken = message(&fit(&folder, "one", "1", &["--resume"]));
    assert!(broken.contains(CHECKPOINT), "{broken}");

    std::fs::remove_file(folder.join("tiny.safetensors")).expect("a file");
    let absent = message(&fit(&folder, "three", "1", &[]));
    assert!(absent.contains("tiny.safetensors"), "{absent}");
    assert!(
        !folder.join("three").exists(),
        "an output folder for nothing"
    );
}

/// A training that starts from a finished model keeps what it does not train, says whose weights they were, and refuses a
/// model of other sizes.
#[test]
fn a_training_starts_from_a_finished_model() {
    let folder = Folder::new("start");
    tiny_set(96, 2)
        .save(folder.join("tiny.safetensors"))
        .expect("a training set");
    let write = |text: &str| std::fs::write(folder.join("recipe.toml"), text).expect("a file");
    let finish = |out: &str, more: &[&str]| {
        let output = fit(&folder, out, "2", more);
        assert!(output.status.success(), "{output:?}");
        let path = folder.join(out).join(MODEL);
        let bytes = std::fs::read(&path).expect("a model");
        let weights = Weights::parse(bytes).expect("weights");
        let names: Vec<String> = weights.names().map(String::from).collect();
        let all = names.into_iter().map(|name| {
            let values = weights.get(&name).expect("values");
            (name, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        });
        (path, all.collect::<BTreeMap<_, _>>())
    };
    write(RECIPE);
    let (first, before) = finish("first", &[]);
    let first = first.to_str().expect("UTF-8");

    // Other galaxies, whose conditions have other means.
    let others = tiny_set(96, 7);
    others
        .save(folder.join("tiny.safetensors"))
        .expect("a training set");
    let kept = RECIPE.replace("steps = 24", "steps = 0");
    let kept = kept.replace("name = \"tiny\"", "name = \"second\"");
    write(&kept);
    let lost = message(&fit(&folder, "lost", "1", &[]));
    assert!(
        lost.contains("--start") && lost.contains("vae.steps"),
        "{lost}"
    );
    let (second, after) = finish("second", &["--start", first]);
    for (name, values) in &before {
        assert_eq!(*values == after[name], !name.starts_with("flow."), "{name}");
    }
    // A texture is new; the rest stays.
    write(&format!("{kept}{TEXTURE}"));
    let (third, textured) = finish("textured", &["--start", first]);
    assert!(textured.keys().any(|name| name.starts_with("texture.")));
    write(&kept);
    for (name, values) in &before {
        let same = *values == textured[name];
        assert_eq!(same, !name.starts_with("flow."), "{name}");
    }
    // Or it stays behind.
    let third_path = third.to_str().expect("UTF-8").to_string();
    let (_, bare) = finish("bare", &["--start", &third_path]);
    assert!(bare.keys().eq(before.keys()));
    let third = galgen_infer::Model::open(third).expect("a model");
    let parity = &third.card().evaluation["parity"]["texture"];
    assert!(parity.as_f64().is_some_and(|d| d < 1e-4), "{parity}");
    let model = galgen_infer::Model::open(second).expect("a model");
    // What it keeps sees the conditions as it has learned them.
    let scale = |model: &galgen_infer::Model| -> Vec<_> {
        let list = model.card().conditions.list.iter();
        list.map(|c| (c.mean, c.deviation)).collect()
    };
    let of_first = galgen_infer::Model::open(first).expect("a model");
    assert_eq!(scale(&model), scale(&of_first));
    let data = samples(&others, &recipe(&kept)).scale();
    assert_ne!(scale(&model)[0].0, data[0][0]);
    let start = &model.card().training["start"];
    assert_eq!(start["name"], "tiny");
    assert_eq!(start["training"]["recipe"]["vae"]["steps"], VAE_STEPS);

    // Stopped and continued: the same, but only from the same model.
    let stop = ["--start", first, "--max-steps", "5"];
    assert!(fit(&folder, "pieces", "1", &stop).status.success());
    let alone = message(&fit(&folder, "pieces", "1", &["--resume"]));
    assert!(alone.contains("--start"), "{alone}");
    write(&kept.replace("steps = 0", "steps = 1"));
    let other = message(&fit(&folder, "pieces", "1", &["--resume"]));
    assert!(other.contains("another --start"), "{other}");
    write(&kept);
    let (_, pieces) = finish("pieces", &["--start", first, "--resume"]);
    assert!(pieces == after);

    write(&kept.replace("[8, 6, 4]", "[8, 6, 5]"));
    let sizes = message(&fit(&folder, "sizes", "1", &["--start", first]));
    assert!(
        sizes.contains(first) && sizes.contains("decoder."),
        "{sizes}"
    );
    assert!(
        !folder.join("sizes").exists(),
        "a model that does not fit leaves a folder"
    );
    let order = [
        "\"axis_ratio\", \"concentration\"",
        "\"concentration\", \"axis_ratio\"",
    ];
    write(&kept.replace(order[0], order[1]));
    let conditions = message(&fit(&folder, "conditions", "1", &["--start", first]));
    assert!(
        conditions.contains("its conditions are axis_ratio, concentration"),
        "{conditions}"
    );
    let no_model = folder.join("tiny.safetensors");
    let no_model = ["--start", no_model.to_str().expect("UTF-8")];
    let problem = message(&fit(&folder, "none", "1", &no_model));
    assert!(
        problem.contains("--start") && problem.contains("tiny.safetensors"),
        "{problem}"
    );

    let mut smaller = tiny_set(96, 2);
    smaller.description.hlr_px *= 0.75;
    smaller
        .save(folder.join("tiny.safetensors"))
        .expect("a training set");
    write(&kept);
    let radius = message(&fit(&folder, "radius", "1", &["--start", first]));
    assert!(radius.contains("half-light radius"), "{radius}");
}

/// The checkpoint that a failed training has left, which must hold finite weights only.
fn last_checkpoint(recipe: &Recipe, samples: &Samples, directory: &Path) -> State {
    let text = checkpoint::identity(recipe, samples.digest(), None).expect("TOML");
    let state = checkpoint::load(&directory.join(CHECKPOINT), &text, &Device::Cpu);
    let state = state.expect("a readable checkpoint");
    for parameters in [&state.parameters, &state.average, &state.best] {
        let finite = |values: &Vec<u32>| values.iter().all(|b| f32::from_bits(*b).is_finite());
        let bad: Vec<_> = bits(parameters)
            .into_iter()
            .filter(|(_, v)| !finite(v))
            .collect();
        assert!(
            bad.is_empty(),
            "not finite: {:?}",
            bad.iter().map(|(n, _)| n).collect::<Vec<_>>()
        );
    }
    state
}

#[test]
fn a_stamp_that_is_not_a_number_stops_the_training_and_is_named() {
    let recipe = recipe(&RECIPE.replace("validate_every = 6", "validate_every = 1"));
    let clean = samples(&tiny_set(96, 3), &recipe);
    // A stamp that no batch holds before step 4.
    let visit = |position: usize| {
        let meets = |step: &u64| {
            clean
                .choose(recipe.seed, *step, 8)
                .iter()
                .any(|c| c.0 == position)
        };
        (0..VAE_STEPS).find(meets)
    };
    let position = clean
        .training
        .iter()
        .copied()
        .find(|&p| visit(p) == Some(4));
    let position = position.expect("8 new stamps at step 4");
    let mut set = tiny_set(96, 3);
    set.stamps[position * SIDE * SIDE + 100] = f32::NAN;
    let samples = samples(&set, &recipe);
    let folder = Folder::new("nan");
    let mut trainer = trainer(&recipe, &samples, &folder.join("out"), false).expect("a trainer");
    let error = trainer.run(None).expect_err("a loss that is not a number");
    let text = error.to_string();
    let FitError::NotFinite {
        phase, step, ids, ..
    } = error
    else {
        panic!("{text}")
    };
    assert_eq!((phase, step), (Phase::Vae, 4));
    assert!(
        ids.contains(&clean.ids[position]) && ids.len() == 8,
        "{ids:?}"
    );
    assert!(
        text.contains("step 4") && text.contains(&clean.ids[position].to_string()),
        "{text}"
    );
    assert_eq!(
        last_checkpoint(&recipe, &samples, &folder.join("out")).step,
        4
    );
}

#[test]
fn an_absurd_learning_rate_stops_the_training_and_leaves_a_good_checkpoint() {
    // Sane for one piece; then the same training runs away.
    for rate in ["1e30", "1e4"] {
        let text = RECIPE.replacen(
            "learning_rate = 3e-3",
            &format!("learning_rate = {rate}"),
            1,
        );
        let recipe = recipe(&text.replace("validate_every = 6", "validate_every = 1"));
        let samples = samples(&tiny_set(96, 4), &recipe);
        let folder = Folder::new(&format!("absurd-{rate}"));
        let out = folder.join("out");
        let mut trainer = trainer(&recipe, &samples, &out, false).expect("a trainer");
        match trainer.run(None) {
            Err(FitError::NotFinite { phase, step, .. }) => {
                assert!(
                    phase == Phase::Vae && (1..VAE_STEPS).contains(&step),
                    "{phase:?} {step}"
                );
                if out.join(CHECKPOINT).exists() {
                    let state = last_checkpoint(&recipe, &samples, &out);
                    assert!(state.history.iter().all(|r| r.validation.is_finite()));
                }
            }
            other => panic!("rate {rate}: {:?}", other.map_err(|e| e.to_string())),
        }
    }
}

#[test]
fn a_model_that_does_not_fit_the_stamps_is_refused() {
    let set = tiny_set(96, 5);
    let faults = [
        ("channels = [8, 6, 4]", "channels = [8, 6, 4, 2]", "16"),
        ("channels = [8, 6, 4]", "channels = []", "channel"),
        ("channels = [8, 6, 4]", "channels = [8, 0, 4]", "0"),
        ("latent = 4", "latent = 1", "latent"),
        ("flow_bins = 4", "flow_bins = 1", "bins"),
        ("flow_hidden = 8", "flow_hidden = 0", "0"),
        ("flow_bins = 4", "flow_bins = 4\nnoise_floor = 0.0", "floor"),
        (
            "flow_bins = 4",
            "flow_bins = 4\nnoise_relative = -0.1",
            "noise",
        ),
    ];
    for (good, bad, word) in faults {
        let recipe = recipe(&RECIPE.replace(good, bad));
        let samples = samples(&set, &recipe);
        let folder = Folder::new("misfit");
        let text = match trainer(&recipe, &samples, &folder.join("out"), false) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("`{bad}` is not refused"),
        };
        assert!(text.contains(word), "`{bad}`: {text}");
        assert!(
            !folder.join("out").exists(),
            "`{bad}` leaves an output folder"
        );
    }
}
