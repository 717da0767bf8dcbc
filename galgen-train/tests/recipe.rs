//! Recipes that cannot be used: one message that names the file and the key.

mod common;

use common::Folder;
use galgen_core::models::{FlowPreset, MadePreset};
use galgen_train::recipe::{
    DensityRecipe, Family, ImageRecipe, PixelCnnRecipe, Recipe, RecipeError, Stage,
};

const GOOD: &str = r#"
name = "tiny"
description = "for a test"
seed = 1
psf = "intrinsic"

[data]
sets = ["tiny.safetensors"]
conditions = ["axis_ratio"]
validation = 0.2

[model]
latent = 4
channels = [8, 6, 4]

[vae]
steps = 20
batch = 8
learning_rate = 1e-3
validate_every = 10

[flow]
steps = 10
batch = 8
learning_rate = 1e-3
weight_decay = 0.01
validate_every = 5
"#;

/// The recipe `text`, or the message.
fn load(folder: &Folder, text: &str) -> Result<Recipe, String> {
    let path = folder.join("broken.toml");
    std::fs::write(&path, text).expect("a file");
    Recipe::load(&path).map_err(|e| e.to_string())
}

#[test]
fn a_good_recipe_is_read_with_its_defaults() {
    let folder = Folder::new("recipe-good");
    let recipe = load(&folder, GOOD).expect("a good recipe");
    assert_eq!(
        (recipe.kl_warm_up, recipe.kl_weight, recipe.vae.weight_decay),
        (0.2, 1.0, 0.0)
    );
    let again = toml::to_string(&recipe).expect("TOML");
    assert_eq!(load(&folder, &again).expect("the same"), recipe);
}

#[test]
fn the_published_recipes_are_good() {
    let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    let mut found = 0;
    for folder in ["", "flows", "known-truth"] {
        for file in std::fs::read_dir(recipes.join(folder)).expect("a folder of recipes") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|e| e == "toml") {
                found += 1;
                good(&path).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
    assert!(found > 15, "{found} recipes");
}

fn good(path: &std::path::Path) -> Result<(), RecipeError> {
    match Family::of(path)? {
        Family::Vae | Family::Autoencoder => ImageRecipe::load(path).map(drop),
        Family::PixelCnn => PixelCnnRecipe::load(path).map(drop),
        Family::Flow => DensityRecipe::<FlowPreset>::load(path).map(drop),
        Family::Made => DensityRecipe::<MadePreset>::load(path).map(drop),
        Family::FlowVae => {
            let recipe = Recipe::load(path)?;
            let side = 4 << (recipe.model.channels.len() - 1);
            let geometry = galgen_core::stamp::Geometry {
                side,
                bands: vec!["r".into()],
                half_light_radius: Some(side as f64 / 8.0),
            };
            let model = recipe.model.build(&geometry, recipe.data.conditions.len());
            model.expect("a consistent model");
            Ok(())
        }
    }
}

#[test]
fn every_fault_names_file_and_key() {
    let folder = Folder::new("recipe-faults");
    // (text replaced, by what, words of the message)
    let faults: [(&str, &str, &[&str]); 26] = [
        ("seed = 1", "seed = 1\nsede = 2", &["sede", "unknown"]),
        ("latent = 4", "latents = 4", &["latents", "unknown"]),
        (
            "validation = 0.2",
            "validation = 0.2\nfraction = 1",
            &["fraction", "unknown"],
        ),
        (
            "weight_decay = 0.01",
            "weight_decoy = 0.01",
            &["weight_decoy", "unknown"],
        ),
        ("seed = 1", "", &["seed", "missing"]),
        ("[flow]", "[flaw]", &["flaw"]),
        ("seed = 1", "seed = \"one\"", &["seed", "invalid type"]),
        ("seed = 1", "seed = -1", &["seed"]),
        ("steps = 20", "steps = 2.5", &["steps", "invalid type"]),
        (
            "sets = [\"tiny.safetensors\"]",
            "sets = \"tiny.safetensors\"",
            &["sets"],
        ),
        ("name = \"tiny\"", "name = \"tiny", &["name"]),
        ("sets = [\"tiny.safetensors\"]", "sets = []", &["data.sets"]),
        (
            "sets = [\"tiny.safetensors\"]",
            "sets = [\"a.safetensors\", \"a.safetensors\"]",
            &["data.sets", "a.safetensors", "once"],
        ),
        (
            "conditions = [\"axis_ratio\"]",
            "conditions = [\"axis_ratio\", \"axis_ratio\"]",
            &["data.conditions", "axis_ratio", "once"],
        ),
        (
            "validation = 0.2",
            "validation = 0.7",
            &["data.validation", "0.7"],
        ),
        ("validation = 0.2", "validation = nan", &["data.validation"]),
        (
            "validation = 0.2",
            "validation = 0.2\nnoise_correlation = 0.5",
            &["data.noise_correlation", "0.5"],
        ),
        (
            "psf = \"intrinsic\"",
            "psf = \"intrinsic\"\nkl_warm_up = 1.5",
            &["kl_warm_up", "1.5"],
        ),
        (
            "psf = \"intrinsic\"",
            "psf = \"intrinsic\"\nkl_weight = -1.0",
            &["kl_weight", "-1"],
        ),
        ("steps = 10", "steps = 0", &["flow.steps", "0"]),
        ("batch = 8", "batch = 0", &["vae.batch", "0"]),
        (
            "validate_every = 5",
            "validate_every = 0",
            &["flow.validate_every", "0"],
        ),
        (
            "learning_rate = 1e-3",
            "learning_rate = -1e-3",
            &["vae.learning_rate", "-0.001"],
        ),
        (
            "learning_rate = 1e-3",
            "learning_rate = inf",
            &["vae.learning_rate", "inf"],
        ),
        (
            "weight_decay = 0.01",
            "weight_decay = -0.01",
            &["flow.weight_decay", "-0.01"],
        ),
        (
            "weight_decay = 0.01",
            "weight_decay = nan",
            &["flow.weight_decay", "NaN"],
        ),
    ];
    // A training that starts from a model may keep its encoder and decoder.
    load(&folder, &GOOD.replacen("steps = 20", "steps = 0", 1)).expect("a recipe");
    for (good, bad, words) in faults {
        assert!(GOOD.contains(good));
        let message = load(&folder, &GOOD.replacen(good, bad, 1)).expect_err(bad);
        for word in words.iter().chain(&["broken.toml"]) {
            assert!(message.contains(word), "`{bad}`: no `{word}` in: {message}");
        }
    }
    let absent = Recipe::load(&folder.join("absent.toml"))
        .expect_err("no file")
        .to_string();
    assert!(absent.contains("absent.toml"), "{absent}");
}

#[test]
fn the_learning_rate_warms_up_and_falls_to_a_hundredth() {
    let stage = Stage {
        steps: 1000,
        batch: 1,
        learning_rate: 0.5,
        weight_decay: 0.0,
        validate_every: 1,
    };
    let rates: Vec<f64> = (0..1000).map(|step| stage.learning_rate_at(step)).collect();
    assert!(
        rates[..20].windows(2).all(|w| w[0] < w[1]) && rates[20..].windows(2).all(|w| w[0] >= w[1])
    );
    assert!((rates[19] - 0.5).abs() < 1e-12 && (rates[999] / 0.005 - 1.0).abs() < 0.01);
    // A training of a few steps has a rate as well.
    for steps in 1..5 {
        let stage = Stage {
            steps,
            ..stage.clone()
        };
        assert!(
            (0..steps).all(|s| stage.learning_rate_at(s) > 0.0 && stage.learning_rate_at(s) <= 0.5)
        );
    }
}
