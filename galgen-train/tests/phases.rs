//! What comes after autoencoder and flow, or beside them, in the training of a tiny model: texture, plausible draws of blurred
//! stamps, a critic.

mod common;

use common::tiny::{
    RECIPE, TEXTURE, VAE_STEPS, adversarial_recipe, all_bits, bits, blurred_set, recipe, resumed,
    samples, train,
};
use common::{Folder, tiny_set};
use galgen_train::checkpoint::Phase;
use galgen_train::recipe::Recipe;

#[test]
fn a_texture_learns_on_what_is_finished_and_resumes_to_the_same_bits() {
    let set = tiny_set(96, 1);
    let with_psf = RECIPE.replace("[model]\n", "[model]\nforward = \"psf\"\n");
    let plain = recipe(&with_psf);
    let textured = recipe(&(with_psf + TEXTURE));
    let samples = samples(&set, &textured);
    let folder = Folder::new("texture");
    let before = train(&plain, &samples, &folder.join("plain"), &[]);
    let straight = train(&textured, &samples, &folder.join("straight"), &[]);
    for stops in [&[VAE_STEPS + 14 + 5][..], &[VAE_STEPS + 14, 6]] {
        resumed(&textured, &samples, &folder, stops, &straight);
    }
    let (a, b) = (bits(&before.best), bits(&straight.best));
    assert!(a.iter().all(|(name, values)| *values == b[name]));
    assert_eq!(b.len() - a.len(), 6);
    let records = straight
        .history
        .iter()
        .filter(|r| r.phase == Phase::Texture);
    let losses: Vec<f64> = records.map(|r| r.validation).collect();
    assert!(losses.len() == 3 && losses[2] < losses[0], "{losses:?}");
    assert!(folder.join("straight/loss-texture.png").is_file());
    // A recipe with one half of it is refused.
    let parts: Vec<&str> = TEXTURE.split("[texture]").collect();
    for (half, missing) in [
        (parts[0].to_string(), "`texture` is missing"),
        (
            format!("[texture]{}", parts[1]),
            "`model.texture` is missing",
        ),
    ] {
        let path = folder.join("half.toml");
        std::fs::write(&path, format!("{RECIPE}{half}")).expect("a file");
        let error = Recipe::load(&path).expect_err("half").to_string();
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn blurred_stamps_teach_the_flow_what_is_plausible() {
    let with_psf = RECIPE.replace("[model]\n", "[model]\nforward = \"psf\"\n");
    let text = |quantile: &str| {
        let more = format!("seed = 5\nflow_max_psf_fwhm = 2.0\n{quantile}");
        with_psf.replace("seed = 5", &more)
    };
    let set = blurred_set();
    let folder = Folder::new("plausible");
    let trained = |name: &str, quantile: &str, stops: &[u64]| {
        let recipe = recipe(&text(quantile));
        let samples = samples(&set, &recipe);
        all_bits(&train(&recipe, &samples, &folder.join(name), stops))
    };
    let without = trained("without", "", &[]);
    let all = trained("all", "flow_blurred_quantile = 1.0", &[]);
    let pieces = trained("pieces", "flow_blurred_quantile = 1.0", &[VAE_STEPS + 5]);
    assert!(all == pieces && all != without);
    // Hardly one draw is as symmetric as the most symmetric of a hundred.
    assert!(trained("none", "flow_blurred_quantile = 0.0", &[]) != all);
    for (quantile, problem) in [
        ("flow_blurred_quantile = 1.5", "a fraction from 0 to 1"),
        ("flow_blurred_quantile = -1.0", "a fraction from 0 to 1"),
    ] {
        let path = folder.join("bad.toml");
        std::fs::write(&path, text(quantile)).expect("a file");
        let error = Recipe::load(&path).expect_err("a refusal").to_string();
        assert!(error.contains(problem), "{error}");
    }
    let alone = with_psf.replace("seed = 5", "seed = 5\nflow_blurred_quantile = 0.9");
    std::fs::write(folder.join("alone.toml"), alone).expect("a file");
    let error = Recipe::load(&folder.join("alone.toml")).expect_err("a refusal");
    assert!(error.to_string().contains("flow_max_psf_fwhm"), "{error}");
}

#[test]
fn a_training_with_blur_and_critic_resumes_to_the_same_bits() {
    let recipe = recipe(&adversarial_recipe());
    let samples = samples(&blurred_set(), &recipe);
    let resolved = samples.resolved(2.0).expect("enough of them");
    assert_eq!(resolved.training.len() + resolved.validation.len(), 64);
    assert!(samples.resolved(1.0).is_err());
    let folder = Folder::new("critic");
    let straight = train(&recipe, &samples, &folder.join("straight"), &[]);
    for file in [
        "loss-adversarial.png",
        "draws-observed.png",
        "draws-intrinsic.png",
    ] {
        assert!(folder.join("straight").join(file).is_file(), "{file}");
    }
    // Stops in each phase, and where the conditions are measured anew.
    let stops: [&[u64]; 4] = [
        &[VAE_STEPS * 2 / 5],
        &[VAE_STEPS, 14],
        &[VAE_STEPS + 14 + 4],
        &[VAE_STEPS + 14 + 9, 5],
    ];
    for stops in stops {
        let state = resumed(&recipe, &samples, &folder, stops, &straight);
        assert_eq!(state.labels, straight.labels);
    }
    // The conditions are those of the sharpened galaxies; the decoder is not the one before, nor is the flow.
    let labels = straight.labels.as_ref().expect("conditions measured anew");
    assert_eq!(labels.step, VAE_STEPS + 9);
    assert_ne!(labels.values, samples.values);
    let flow_only = self::recipe(
        adversarial_recipe()
            .split("[adversarial]")
            .next()
            .expect("text"),
    );
    let before = train(&flow_only, &samples, &folder.join("flow"), &[]);
    let (a, b) = (bits(&before.best), bits(&straight.best));
    for (name, values) in &a {
        assert_eq!(*values == b[name], name.starts_with("encoder."), "{name}");
    }
    assert!(straight.critic.is_none());
}
