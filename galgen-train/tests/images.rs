//! Autoencoders of images: their losses against exact values, and trainings from a file of images to a model that
//! the engine reads.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Folder, elements, parameters, tensor};
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::Geometry;
use galgen_infer::{Model, Pixels, Session};
use galgen_tests::goldens::{VaeGolden, vaes};
use galgen_train::fit_command::{DeviceChoice, FitArgs, MODEL, run};
use galgen_train::models::vae::{Batch, Learner};
use std::path::{Path, PathBuf};

/// Both sides compute in f64, through two layers of up to 67 terms.
const TOLERANCE: f64 = 1e-12;

/// The images of a golden as a batch of f64.
fn batch(golden: &VaeGolden) -> Batch {
    let n = golden.items.len();
    let classes = golden.model.encoder.context;
    let pixels: Vec<f64> = golden.items.iter().flat_map(|i| i.x.clone()).collect();
    let one_hot = |label: f64| (0..classes).map(move |c| f64::from(c as f64 == label));
    let context: Vec<f64> = golden.items.iter().flat_map(|i| one_hot(i.label)).collect();
    Batch {
        images: tensor(&pixels, &[n, 1, 8, 8], DType::F64),
        observed: None,
        context: (classes > 0).then(|| tensor(&context, &[n, classes], DType::F64)),
    }
}

fn with_learner(mut judge: impl FnMut(&VaeGolden, &Learner, &Batch)) {
    let geometry = Geometry {
        side: 8,
        bands: vec!["grey".into()],
        half_light_radius: None,
    };
    for golden in vaes() {
        let parameters = parameters(&golden.tensors, DType::F64);
        let (model, device) = (&golden.model, Device::Cpu);
        let learner = Learner::new(model, &geometry, &parameters, DType::F64, &device);
        judge(&golden, &learner.expect("a learner"), &batch(&golden));
    }
}

fn close(found: &Tensor, expected: impl Iterator<Item = f64>) {
    for (a, b) in elements(found).into_iter().zip(expected) {
        assert!((a - b).abs() < TOLERANCE * b.abs().max(1.0), "{a}, {b}");
    }
}

#[test]
fn encoder_and_decoder_agree_with_torch() {
    with_learner(|golden, learner, batch| {
        let items = &golden.items;
        let (mean, log_variance) = learner.encode(batch).unwrap();
        close(&mean, items.iter().flat_map(|i| i.mean.clone()));
        let expected = items.iter().flat_map(|i| i.log_variance.clone());
        close(&log_variance.expect("a posterior"), expected);
        let z: Vec<f64> = items.iter().flat_map(|i| i.z.clone()).collect();
        let z = tensor(&z, &[items.len(), 2], DType::F64);
        let decoded = learner.decode(&z, batch.context.as_ref()).unwrap();
        close(&decoded, items.iter().flat_map(|i| i.decoded.clone()));
    });
}

/// The mean of `n` losses and its standard error.
fn mean_and_error(n: u64, mut loss: impl FnMut(u64) -> f64) -> (f64, f64) {
    let values: Vec<f64> = (0..n).map(&mut loss).collect();
    let mean = values.iter().sum::<f64>() / n as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    (mean, (variance / n as f64).sqrt())
}

/// Both estimates of the evidence lower bound, with the KL term in closed form and with one importance weight, have
/// the mean that quadrature gives; many weights lie between it and ln p(x).
#[test]
fn the_losses_agree_with_quadrature() {
    with_learner(|golden, learner, batch| {
        let n = golden.items.len();
        let mean = |value: fn(&galgen_tests::goldens::VaeItem) -> f64| {
            golden.items.iter().map(value).sum::<f64>() / n as f64
        };
        let (elbo, exact) = (mean(|i| i.elbo), mean(|i| i.log_likelihood));
        let normals = |id, shape: &[usize]| {
            let mut rng = Philox::new(4, id, Stream::Training);
            let count = shape.iter().product();
            let values: Vec<f64> = (0..count).map(|_| rng.normal()).collect();
            tensor(&values, shape, DType::F64)
        };
        let scalar = |t: &Tensor| elements(t)[0];
        let closed = mean_and_error(1000, |id| {
            let bound = learner.bound(batch, &normals(id, &[n, 2])).unwrap();
            -scalar(&bound.reconstruction) - scalar(&bound.divergence)
        });
        let weighted = |samples: usize| {
            move |id| {
                let normals = normals(id, &[samples, n, 2]);
                -scalar(&learner.importance_weighted(batch, &normals).unwrap())
            }
        };
        for (found, error) in [closed, mean_and_error(1000, weighted(1))] {
            assert!(error < 0.2 * (exact - elbo), "{error}");
            assert!((found - elbo).abs() < 5.0 * error, "{found}, {elbo}");
        }
        let (many, error) = mean_and_error(20, weighted(100));
        assert!(elbo < many && many < exact + 5.0 * error, "{many}, {exact}");
    });
}

/// `count` images of 8 x 8 in two classes that lie in a plane: a constant, and two patterns whose amplitudes vary,
/// the first brighter for class 1; as IDX files beside each other.
fn write_images(folder: &Folder, count: usize) {
    let mut rng = Philox::new(8, 0, Stream::Training);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..count {
        let class = i % 2;
        let (a, b) = (rng.uniform() + class as f64, 2.0 * rng.uniform());
        for p in 0..64 {
            let (x, y) = (p % 8, p / 8);
            let value = 20.0 + 50.0 * a * f64::from(x < 4) + 7.5 * b * f64::from(y);
            pixels.push(value as u8);
        }
        labels.push(class as u8 + 3);
    }
    let array = |shape: &[u32], values: &[u8]| {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|n| n.to_be_bytes()));
        bytes.extend(values);
        bytes
    };
    let n = count as u32;
    std::fs::write(folder.join("images"), array(&[n, 8, 8], &pixels)).expect("a file");
    std::fs::write(folder.join("labels"), array(&[n], &labels)).expect("a file");
}

fn recipe(family: &str, rest: &str) -> String {
    format!(
        r#"
family = "{family}"
name = "tiny"
description = "images drawn by a test"
seed = 5
{rest}
"#
    )
}

fn fit(folder: &Folder, out: &str, text: &str, max_steps: Option<u64>, resume: bool) -> PathBuf {
    let path = folder.join("recipe.toml");
    std::fs::write(&path, text).expect("a file");
    let args = FitArgs {
        recipe: path,
        data: folder.path().into(),
        out: folder.join(out),
        start: None,
        resume,
        max_steps,
        device: DeviceChoice::Cpu,
        quiet: true,
    };
    run(&args).unwrap_or_else(|e| panic!("{e}"));
    args.out.join(MODEL)
}

fn figure(path: &Path, name: &str) -> f64 {
    let model = Model::open(path).expect("a model");
    model.card().evaluation[name].as_f64().expect("a figure")
}

/// Images in a plane of two dimensions need two codes: the error that is left is that of their rounding to bytes.
#[test]
fn a_linear_autoencoder_finds_the_plane_of_its_images() {
    let folder = Folder::new("linear");
    write_images(&folder, 200);
    let text = recipe(
        "autoencoder",
        r#"
[data]
images = "images"
credit = "drawn by a test"
validation = 0.0
[model]
latent = 2
likelihood = { gaussian = { deviation = 0.1 } }
network = "linear"
[train]
steps = 1500
batch = 50
learning_rate = 1e-2
validate_every = 500
"#,
    );
    let path = fit(&folder, "out", &text, None, false);
    // Truncation to bytes: variance 1/12 of a step of 1/255.
    let rounding = 1.0 / 12.0 / 255f64.powi(2);
    let error = figure(&path, "mean_squared_error");
    assert!(error < 3.0 * rounding, "{error:e}, rounding {rounding:e}");

    // What it draws has the mean and the spread of what it was shown.
    let mut session = Session::new(Model::open(&path).unwrap());
    let mut image = [0.0; 64];
    let (drawn, spread) = mean_and_error(400, |id| {
        let mean = Pixels::Mean;
        session.sample_image(1, id, &[], mean, &mut image).unwrap();
        f64::from(image[0])
    });
    let shown = std::fs::read(folder.join("images")).expect("the images");
    let (real, error) = mean_and_error(200, |i| f64::from(shown[16 + 64 * i as usize]) / 255.0);
    assert!(
        (drawn - real).abs() < 5.0 * spread.hypot(error),
        "{drawn}, {real}"
    );
}

const VAE: &str = r#"
[data]
images = "images"
labels = { file = "labels", condition = "kind" }
credit = "drawn by a test"
binarise = "BINARISE"
validation = 0.2
[model]
latent = 3
likelihood = "bernoulli"
network = { convolutional = { channels = [4, 8], activation = "silu" } }
[train]
steps = 60
batch = 20
learning_rate = 1e-2
validate_every = 20
OBJECTIVE
"#;

#[test]
fn a_conditional_vae_learns_its_classes_and_resumes_to_the_bit() {
    let folder = Folder::new("vae");
    write_images(&folder, 200);
    for (binarise, objective) in [("static", ""), ("dynamic", "[objective]\nsamples = 3")] {
        let rest = VAE
            .replace("BINARISE", binarise)
            .replace("OBJECTIVE", objective);
        let text = recipe("vae", &rest);
        let path = fit(&folder, &format!("{binarise}-whole"), &text, None, false);
        let pieces = format!("{binarise}-pieces");
        fit(&folder, &pieces, &text, Some(31), false);
        let resumed = fit(&folder, &pieces, &text, None, true);
        let (a, b) = (Model::open(&path).unwrap(), Model::open(&resumed).unwrap());
        let draw = |model: &std::sync::Arc<Model>, class: f32| {
            let mut session = Session::new(model.clone());
            let mut image = vec![0.0; 64];
            session
                .sample_image(1, 2, &[class], Pixels::Mean, &mut image)
                .unwrap();
            image
        };
        assert_eq!(draw(&a, 0.0), draw(&b, 0.0));
        let names = &a.card().conditions.list[0].classes;
        assert_eq!(names, &["3", "4"]);
        let left = |image: Vec<f32>| image[0] + image[1];
        assert!(
            left(draw(&a, 1.0)) > left(draw(&a, 0.0)),
            "the classes differ in x < 4"
        );
    }
}

#[test]
fn a_table_of_labels_makes_classes_of_ranges() {
    let folder = Folder::new("labels");
    write_images(&folder, 100);
    let rows: String = (0..90).map(|i| format!("{i},{}\n", i % 9)).collect();
    std::fs::write(folder.join("labels.csv"), format!("id,stage\n{rows}")).expect("a file");
    let labels = r#"labels = { file = "labels.csv", condition = "kind", column = "stage", classes = { late = [5, 8], early = [0, 2] } }"#;
    let rest = VAE
        .replace(
            r#"labels = { file = "labels", condition = "kind" }"#,
            labels,
        )
        .replace("BINARISE", "static")
        .replace("OBJECTIVE", "");
    let path = fit(&folder, "out", &recipe("vae", &rest), None, false);
    let model = Model::open(&path).unwrap();
    assert_eq!(model.card().conditions.list[0].classes, ["early", "late"]);
    let training = &model.card().training;
    let images = ["training_images", "validation_images"].map(|n| training[n].as_u64().unwrap());
    assert_eq!(
        images[0] + images[1],
        70,
        "30 early and 40 late ones have a class"
    );
}
