//! Exact densities from a recipe to a model that the engine reads: rows of a table, images of grey levels, bits.

mod common;

use common::Folder;
use galgen_core::rng::{Philox, Stream};
use galgen_infer::{Model, Pixels, Session};
use galgen_train::fit_command::{DeviceChoice, FitArgs, MODEL, run};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fit(
    folder: &Folder,
    out: &str,
    text: &str,
    max_steps: Option<u64>,
    resume: bool,
) -> Result<PathBuf, String> {
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
    run(&args).map(|()| args.out.join(MODEL))
}

fn figure(path: &Path, name: &str) -> f64 {
    let model = Model::open(path).expect("a model");
    model.card().evaluation[name].as_f64().expect("a figure")
}

/// Points of two rings of different radii, one for each class; what is known of them: ln r is normal and the angle
/// uniform.
fn write_rings(folder: &Folder, count: usize) -> f64 {
    let mut rng = Philox::new(8, 0, Stream::Training);
    let mut text = String::from("id,x,y,ring\n");
    let mut entropy = 0.0;
    for id in 0..count {
        let ring = if id % 2 == 0 { "inner" } else { "outer" };
        let (angle, spread) = (std::f64::consts::TAU * rng.uniform(), 0.1);
        let log_r = if id % 2 == 0 { 0.0 } else { 1.0 } + spread * rng.normal();
        let (y, x) = angle.sin_cos();
        let r = log_r.exp();
        text += &format!("{id},{},{},{ring}\n", r * x, r * y);
        // -ln p(x, y) = ln(2 pi) + ln sigma + ln(2 pi e) / 2 + 2 E[ln r], for the average of the rings.
        entropy += 2.0 * log_r / count as f64;
    }
    std::fs::write(folder.join("rings.csv"), text).expect("a file");
    entropy + std::f64::consts::TAU.ln() + 0.1f64.ln() + 0.5 * (std::f64::consts::TAU.ln() + 1.0)
}

fn rings(network: &str, steps: u64) -> String {
    format!(
        r#"
family = "flow"
name = "rings"
description = "points of two rings"
seed = 5
[data]
images = "rings.csv"
columns = ["x", "y"]
labels = {{ file = "rings.csv", condition = "ring", column = "ring" }}
credit = "drawn by a test"
validation = 0.2
[model.network.{network}
[train]
steps = {steps}
batch = 128
learning_rate = 5e-3
validate_every = {steps}
"#
    )
}

/// The flow comes near the entropy of its points, its density is one in all, and classes are told apart.
#[test]
fn a_conditional_spline_flow_learns_rings() {
    let folder = Folder::new("rings");
    let entropy = write_rings(&folder, 3000);
    let network = r#"coupling]
blocks = 6
hidden = [32, 32]
activation = "silu"
map = { spline = { bins = 10, bound = 5.0 } }"#;
    let path = fit(&folder, "out", &rings(network, 400), None, false).expect("a model");
    let found = -figure(&path, "log_likelihood_nats");
    println!("{found} nats, entropy {entropy}");
    assert!(
        found < entropy + 0.5 && found > entropy - 0.15,
        "{found}, {entropy}"
    );
    let mass = figure(&path, "mass");
    println!("mass {mass}");
    assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    let mut session = Session::new(Model::open(&path).unwrap());
    let mut score = |class: f32| {
        session
            .log_likelihood(&[1.0, 0.0], &[class], None, 1, 0, 0)
            .unwrap()
    };
    assert!(score(0.0) > score(1.0) + 3.0, "a point of the inner ring");
    assert!(folder.join("out/samples.png").is_file());
}

/// Points whose mean moves with a number in their own table and with one in another, and which know a class: the flow
/// comes near their entropy given all three, and draws where it is asked to. Rows without a number are left out.
#[test]
fn a_flow_learns_under_numbers() {
    let folder = Folder::new("numbers");
    let mut rng = Philox::new(12, 0, Stream::Training);
    let (mut points, mut depths) = (String::from("id,x,y,mag,side\n"), String::from("id,z\n"));
    let n = 2000;
    for id in 0..n {
        let (mag, z, side) = (20.0 + rng.normal(), rng.uniform(), id % 2);
        let x = 2.0 * (mag - 20.0) + 4.0 * z + 0.5 * rng.normal();
        let y = 6.0 * side as f64 - z + 0.3 * rng.normal();
        // Rows are joined by id, in whatever order.
        let named = 7001 + id;
        points += &format!("{named},{x},{y},{mag},{side}\n");
        let depth = match id % 10 {
            3 => continue,
            7 => "nan".to_string(),
            _ => z.to_string(),
        };
        depths = depths.replacen('\n', &format!("\n{named},{depth}\n"), 1);
    }
    std::fs::write(folder.join("points.csv"), points).expect("a file");
    std::fs::write(folder.join("depths.csv"), depths).expect("a file");
    let text = r#"
family = "flow"
name = "numbers"
description = "points under two numbers and a class"
seed = 5
[data]
images = "points.csv"
columns = ["x", "y"]
labels = { file = "points.csv", condition = "side", column = "side" }
credit = "drawn by a test"
validation = 0.2
[[data.numbers]]
condition = "magnitude"
column = "mag"
unit = "mag"
[[data.numbers]]
condition = "z"
file = "depths.csv"
description = "depth of the point"
[model.network.coupling]
blocks = 4
hidden = [32]
activation = "silu"
map = { affine = { bound = 3.0 } }
[train]
steps = 600
batch = 128
learning_rate = 1e-2
validate_every = 200
"#;
    let path = fit(&folder, "out", text, None, false).expect("a model");
    let model = Model::open(&path).expect("a model");
    let conditions = &model.card().conditions;
    let names: Vec<&str> = conditions.list.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["side", "magnitude", "z"]);
    let [_, magnitude, z] = &conditions.list[..] else {
        panic!("three conditions")
    };
    assert_eq!((magnitude.unit.as_str(), z.unit.as_str()), ("mag", ""));
    assert!((magnitude.mean - 20.0).abs() < 0.15 && (magnitude.deviation - 1.0).abs() < 0.1);
    assert!(z.range[0] < 0.05 && z.range[1] > 0.95, "{:?}", z.range);
    let training = &model.card().training;
    let objects = ["training_objects", "validation_objects"].map(|k| training[k].as_u64());
    assert_eq!(objects[0].unwrap() + objects[1].unwrap(), n * 8 / 10);

    let entropy = (std::f64::consts::TAU * std::f64::consts::E * 0.5 * 0.3).ln();
    let found = -figure(&path, "log_likelihood_nats");
    println!("{found} nats, entropy {entropy}");
    assert!(found < entropy + 0.1 && found > entropy - 0.15);
    let mut session = Session::new(model);
    for (values, [x, y]) in [
        ([0.0, 21.0, 0.5], [4.0, -0.5]),
        ([1.0, 19.0, 0.25], [-1.0, 5.75]),
    ] {
        let mut sums = [0.0; 2];
        for id in 0..400 {
            let mut point = [0.0; 2];
            session
                .sample_image(1, id, &values, Pixels::Drawn, &mut point)
                .unwrap();
            sums[0] += f64::from(point[0]) / 400.0;
            sums[1] += f64::from(point[1]) / 400.0;
        }
        // Five standard errors, and what 1,280 rows leave unknown of the mean.
        assert!((sums[0] - x).abs() < 0.125 + 0.1, "{sums:?}, {x}");
        assert!((sums[1] - y).abs() < 0.075 + 0.06, "{sums:?}, {y}");
    }
    let unknown = text.replace("column = \"mag\"", "column = \"magnitude\"");
    let problem = fit(&folder, "unknown", &unknown, None, false).unwrap_err();
    assert!(problem.contains("magnitude"), "{problem}");
    let none = text.replace("column = \"mag\"", "column = \"id\"\nfile = \"none.csv\"");
    let problem = fit(&folder, "none", &none, None, false).unwrap_err();
    assert!(problem.contains("none.csv"), "{problem}");
}

/// Every kind of network trains, exports with the engine in agreement, and resumes to the bit.
#[test]
fn every_kind_of_network_trains() {
    let folder = Folder::new("kinds");
    write_rings(&folder, 300);
    let hidden = r#"hidden = [8, 8]
activation = "tanh""#;
    let affine = "map = { affine = { bound = 2.0 } }";
    let autoregressive = |one_pass: &str| {
        format!("autoregressive]\nblocks = 2\n{hidden}\n{affine}\none_pass = \"{one_pass}\"")
    };
    for (i, network) in [
        format!("coupling]\nblocks = 2\n{hidden}\nmap = \"additive\"\nmix = \"linear\""),
        autoregressive("normalise"),
        autoregressive("generate"),
        format!("transformation]\nblocks = 2\n{hidden}\ncomponents = 3"),
        "planar]\nblocks = 3".into(),
        format!("continuous]\n{hidden}"),
        "continuous_planar]\nwidth = 3\nhidden = [8]".into(),
    ]
    .into_iter()
    .enumerate()
    {
        let text = rings(&network, 12);
        let whole = fit(&folder, &format!("whole-{i}"), &text, None, false);
        let whole = whole.unwrap_or_else(|e| panic!("{network}: {e}"));
        let pieces = format!("pieces-{i}");
        fit(&folder, &pieces, &text, Some(5), false).expect("a checkpoint");
        let resumed = fit(&folder, &pieces, &text, None, true).expect("a model");
        let draw = |model: Arc<Model>| {
            let mut point = [0.0; 2];
            Session::new(model)
                .sample_image(1, 2, &[0.0], Pixels::Drawn, &mut point)
                .unwrap();
            point
        };
        assert_eq!(
            draw(Model::open(whole).unwrap()),
            draw(Model::open(resumed).unwrap()),
            "{network}"
        );
    }
}

/// Rows of 70 numbers, each the one before it (times 0.8) and noise of deviation 0.6.
fn write_chains(folder: &Folder, count: usize) -> f64 {
    const N: usize = 70;
    let mut rng = Philox::new(4, 0, Stream::Training);
    let names: Vec<String> = (0..N).map(|i| format!("c{i}")).collect();
    let mut text = names.join(",") + "\n";
    for _ in 0..count {
        let mut x = rng.normal();
        let row: Vec<String> = (0..N)
            .map(|_| {
                x = 0.8 * x + 0.6 * rng.normal();
                x.to_string()
            })
            .collect();
        text += &(row.join(",") + "\n");
    }
    std::fs::write(folder.join("chains.csv"), text).expect("a file");
    // Independent standard normals; the entropy is 69 ln 0.6 lower.
    N as f64 * 0.5 * (std::f64::consts::TAU.ln() + 1.0)
}

fn chains(rest: &str, steps: u64) -> String {
    let names: Vec<String> = (0..70).map(|i| format!("\"c{i}\"")).collect();
    format!(
        r#"
family = "flow"
name = "chains"
description = "rows of a test"
seed = 5
[data]
images = "chains.csv"
columns = [{}]
credit = "drawn by a test"
validation = 0.2
[model.network.continuous]
hidden = [64]
activation = "tanh"
{rest}
[train]
steps = {steps}
batch = 64
learning_rate = 5e-3
validate_every = {steps}
"#,
        names.join(", ")
    )
}

/// More columns than an exact trace may have: learned with an estimate and regularised, exported in agreement with the
/// engine, better than independent columns, and resumed to the bit.
#[test]
fn a_continuous_flow_of_many_columns_learns_with_an_estimated_trace() {
    let folder = Folder::new("chains");
    let independent = write_chains(&folder, 1500);
    let text = chains("[regularisation]", 300);
    let path = fit(&folder, "out", &text, None, false).expect("a model");
    let found = -figure(&path, "log_likelihood_nats");
    println!("{found} nats, of independent columns {independent}");
    let entropy = independent + 69.0 * 0.6f64.ln();
    assert!(found < independent - 10.0, "{found} {independent}");
    assert!(found > entropy, "{found} {entropy}");
    let short = chains("[regularisation]\nkinetic_energy = 0.1", 6);
    let whole = fit(&folder, "whole", &short, None, false).expect("a model");
    fit(&folder, "pieces", &short, Some(3), false).expect("a checkpoint");
    let resumed = fit(&folder, "pieces", &short, None, true).expect("a model");
    assert_eq!(
        figure(&whole, "log_likelihood_nats"),
        figure(&resumed, "log_likelihood_nats")
    );
    let error = fit(
        &folder,
        "exact",
        &chains("trace = \"exact\"", 6),
        None,
        false,
    )
    .unwrap_err();
    assert!(
        error.contains("70 dimensions, expected at most 64"),
        "{error}"
    );
}

/// Weights of the regularisers shorten the paths; without the key nothing changes; other flows have none.
#[test]
fn regularisation_is_of_continuous_flows_and_off_by_default() {
    let folder = Folder::new("regularised");
    write_rings(&folder, 300);
    let network = "continuous]\nhidden = [8]\nactivation = \"tanh\"";
    let nats = |out: &str, rest: &str| {
        let text = rings(&format!("{network}\n{rest}"), 30);
        let path = fit(&folder, out, &text, None, false).unwrap_or_else(|e| panic!("{rest}: {e}"));
        figure(&path, "log_likelihood_nats")
    };
    let off = nats("off", "");
    let zero = "[regularisation]\nkinetic_energy = 0\njacobian = 0";
    assert_eq!(nats("zero", zero), off);
    let weighted = "[regularisation]\nkinetic_energy = 5.0\njacobian = 5.0";
    assert!(nats("weighted", weighted) < off);
    let planar = rings("planar]\nblocks = 1\n[regularisation]", 3);
    let error = fit(&folder, "planar", &planar, None, false).unwrap_err();
    assert!(
        error.contains("regularisation") && error.contains("continuous"),
        "{error}"
    );
    let negative = rings(&format!("{network}\n[regularisation]\njacobian = -1.0"), 3);
    let error = fit(&folder, "negative", &negative, None, false).unwrap_err();
    assert!(
        error.contains("regularisation.jacobian") && error.contains("-1"),
        "{error}"
    );
}

/// `count` images of 8 x 8 bytes with a bright left or right half.
fn write_images(folder: &Folder, count: usize) {
    let mut rng = Philox::new(9, 0, Stream::Training);
    let mut bytes = vec![0, 0, 8, 3];
    bytes.extend([count as u32, 8, 8].iter().flat_map(|n| n.to_be_bytes()));
    for i in 0..count {
        for p in 0..64 {
            let bright = (p % 8 < 4) == (i % 2 == 0);
            bytes.push((rng.uniform() * 60.0) as u8 + if bright { 180 } else { 10 });
        }
    }
    std::fs::write(folder.join("images"), bytes).expect("a file");
}

/// Bytes in ranges of 60 cost ln(60) of the 8 bits; a few steps of a multi-scale flow are well below 8 bits.
#[test]
fn a_multi_scale_flow_of_images_and_a_made_of_bits() {
    let folder = Folder::new("grey");
    write_images(&folder, 160);
    let recipe = |family: &str, data: &str, model: &str| {
        format!(
            r#"
family = "{family}"
name = "grey"
description = "images drawn by a test"
seed = 5
[data]
images = "images"
credit = "drawn by a test"
validation = 0.2
{data}
{model}
[train]
steps = 40
batch = 32
learning_rate = 5e-3
validate_every = 40
"#
        )
    };
    for network in [
        "checkerboards = 2\nresidual = 1\nmap = { affine = { bound = 2.0 } }",
        "map = { shift_scale = { sigmoid = { floor = 0.0 } } }\nmix = \"linear\"",
    ] {
        let model = format!(
            "[model]\nlevels = 256\nlogit = 0.05\n[model.network.multi_scale]\nscales = 2\nsteps = 2\nchannels = 8\n{network}"
        );
        let out = format!("out-{}", network.len());
        let path = fit(&folder, &out, &recipe("flow", "", &model), None, false).expect("a model");
        let bits = figure(&path, "bits_per_dimension");
        println!("{bits} bits a pixel");
        assert!(bits < 7.3 && bits > 5.5, "{bits}");
    }
    let model = "[model]\nhidden = [32]\nactivation = \"relu\"";
    let text = recipe("made", "binarise = \"dynamic\"", model);
    let text = text
        .replace("steps = 40", "steps = 200")
        .replace("every = 40", "every = 200");
    let path = fit(&folder, "made", &text, None, false);
    let nats = -figure(&path.expect("a model"), "log_likelihood_nats");
    // 64 fair coins are 44.4 nats; coins of the means 0.16 and 0.82 are 29.
    assert!(nats < 36.0 && nats > 27.0, "{nats}");
    let error = fit(
        &folder,
        "grey-made",
        &recipe("made", "", model),
        None,
        false,
    )
    .unwrap_err();
    assert!(error.contains("data.binarise"), "{error}");
    let wrong = "[model]\nlevels = 16\n[model.network.planar]\nblocks = 1";
    let error = fit(&folder, "levels", &recipe("flow", "", wrong), None, false).unwrap_err();
    assert!(error.contains("16 grey levels"), "{error}");
}
