//! `galgen-train evaluate` on tiny stamps and a model with random weights.

mod common;

use common::{Folder, SIDE, tiny_set};
use galgen_infer::Model;
use galgen_tests::model::random_model;
use galgen_train::evaluate::card_file::with_evaluation;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const RECIPE: &str = r#"
name = "tiny"
description = "galaxies drawn by a test"
seed = 5
psf = "intrinsic"

[data]
sets = ["tiny.safetensors"]
conditions = ["axis_ratio", "concentration"]
validation = 0.2

[model]
latent = 4
channels = [8, 6, 4]

[vae]
steps = 1
batch = 8
learning_rate = 3e-3
validate_every = 1

[flow]
steps = 1
batch = 8
learning_rate = 3e-3
validate_every = 1
"#;

/// A folder with recipe, training set and model.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    std::fs::write(folder.join("recipe.toml"), RECIPE).expect("a file");
    std::fs::write(folder.join("model.safetensors"), random_model(SIDE, 3)).expect("a file");
    let set = tiny_set(120, 1);
    set.save(folder.join("tiny.safetensors"))
        .expect("a training set");
    folder
}

fn evaluate(folder: &Folder, out: &str, threads: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_galgen-train"))
        .arg("evaluate")
        .arg("--model")
        .arg(folder.join("model.safetensors"))
        .arg("--recipe")
        .arg(folder.join("recipe.toml"))
        .arg("--data")
        .arg(folder.path())
        .arg("--out")
        .arg(folder.join(out))
        .arg("--quiet")
        .args(more)
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .expect("the program starts")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a text file")
}

/// The tensors of a model file.
fn tensors(bytes: &[u8]) -> &[u8] {
    let header: [u8; 8] = bytes[..8].try_into().expect("8 bytes");
    &bytes[8 + u64::from_le_bytes(header) as usize..]
}

#[test]
fn the_report_is_whole_and_repeats_and_the_card_tells_of_it() {
    let folder = folder("evaluate");
    let before = std::fs::read(folder.join("model.safetensors")).expect("a model");
    for (out, threads, more) in [("one", "1", &[][..]), ("two", "2", &["--write-card"])] {
        let output = evaluate(&folder, out, threads, more);
        assert!(output.status.success(), "{output:?}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "not quiet: {output:?}"
        );
        if out == "one" {
            let untouched = std::fs::read(folder.join("model.safetensors")).expect("a model");
            assert!(
                untouched == before,
                "the model is changed without being asked for"
            );
        }
    }
    for file in ["report.html", "evaluation.json", "samples.png"] {
        let [one, two] =
            ["one", "two"].map(|out| std::fs::read(folder.join(out).join(file)).expect(file));
        assert!(one == two, "{file} depends on the number of threads");
    }
    let own = evaluate(&folder, "own", "2", &["--reconstructions"]);
    assert!(own.status.success());
    let own: Value =
        serde_json::from_str(&read(&folder.join("own/evaluation.json"))).expect("JSON");
    let about = |of: &Value| of["about"].as_str().expect("text").contains("not drawn");
    assert!(
        about(&own)
            && own["command"]
                .as_str()
                .is_some_and(|c| c.ends_with("--reconstructions"))
    );
    let other = evaluate(&folder, "other", "2", &["--seed", "2"]);
    assert!(other.status.success(), "{other:?}");
    let name = "evaluation.json";
    assert_ne!(
        read(&folder.join("one").join(name)),
        read(&folder.join("other").join(name))
    );

    // Nothing is loaded from elsewhere, and no path of this machine is told.
    let html = read(&folder.join("one").join("report.html"));
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    let folder_name = folder.path().to_string_lossy().into_owned();
    for (text, word) in [
        (&outside, "http"),
        (&outside, "src=\"/"),
        (&html, &folder_name),
        (&html, "NaN"),
    ] {
        assert!(!text.contains(word), "{word} in the report");
    }
    for part in [
        "Goals",
        "Gini",
        "Memorisation",
        "<svg",
        "data:image/png;base64,",
        "--seed 1",
    ] {
        assert!(html.contains(part), "no {part} in the report");
    }

    let json: Value = serde_json::from_str(&read(&folder.join("one").join(name))).expect("JSON");
    // Stamps of 16 pixels are too small for a Petrosian radius; their spectrum is always there.
    let spectrum = &json["statistics"]["power_spectrum"];
    for key in [
        "wasserstein",
        "floor",
        "sersic",
        "ratio_to_floor",
        "ratio_to_sersic",
    ] {
        assert!(
            spectrum[key].as_f64().is_some_and(f64::is_finite),
            "{key}: {spectrum}"
        );
    }
    // Galaxies that training and model do not share: far from each other, and said so.
    assert_eq!(spectrum["floor_goal_met"], json!(false));

    let after = std::fs::read(folder.join("model.safetensors")).expect("a model");
    assert!(tensors(&after) == tensors(&before), "weights have changed");
    let model = Model::open(folder.join("model.safetensors")).expect("a good model");
    let card = model.card();
    assert_eq!(card.evaluation["statistics"], json["statistics"]);
    assert_eq!(card.evaluation["held_out"], json["held_out"]);
    let unchanged = Model::from_bytes(&before).expect("a good model");
    assert_eq!(card.fingerprint, unchanged.card().fingerprint);
}

#[test]
fn a_card_keeps_what_it_is_told_to_keep() {
    let bytes = random_model(SIDE, 3);
    let first = json!({ "parity": { "encoder": 1e-6 }, "seed": 1 });
    let once = with_evaluation(&bytes, &first, &["parity"]).expect("a good model");
    let twice = with_evaluation(&once, &json!({ "seed": 2 }), &["parity"]).expect("a good model");
    let model = Model::from_bytes(&twice).expect("a good model");
    let expected = json!({ "parity": { "encoder": 1e-6 }, "seed": 2 });
    assert_eq!(model.card().evaluation, expected);
    for wrong in [&b"short"[..], &bytes[..bytes.len() - 4], &[255; 64]] {
        assert!(with_evaluation(wrong, &first, &[]).is_err());
    }
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let folder = folder("misfit");
    let refused = |words: [&str; 2]| {
        let output = evaluate(&folder, "out", "1", &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.lines().count() == 1 && !text.contains("panicked"),
            "{text}"
        );
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
        assert!(!folder.join("out").exists(), "an output folder for nothing");
    };
    let recipe = |text: &str| std::fs::write(folder.join("recipe.toml"), text).expect("a file");
    recipe(&RECIPE.replace(", \"concentration\"", ""));
    refused(["(axis_ratio)", "(axis_ratio, concentration)"]);
    recipe(&RECIPE.replace("validation = 0.2", "validation = 0.04"));
    refused(["held-out", "validation fraction"]);
    recipe(&RECIPE.replace("tiny.safe", "absent.safe"));
    refused(["absent.safetensors", "No such file"]);
    recipe(RECIPE);
    std::fs::write(folder.join("model.safetensors"), random_model(32, 3)).expect("a file");
    refused(["side 16", "side 32"]);
    std::fs::write(folder.join("model.safetensors"), "nonsense").expect("a file");
    refused(["model.safetensors", ""]);
}
