//! A CUDA device against the CPU: every operation, every layer and transform of the specification, and one training
//! step, values and gradients. Without a device the test says so and passes.
//!
//! `cargo test --release --features cuda -p galgen-train --test cuda -- --nocapture`
#![cfg(feature = "cuda")]

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use common::{geometry, parameters, random_batch, random_parameters, tiny_model};
use galgen_core::spec::Shape;
use galgen_tests::cases;
use galgen_tests::tensors::random_values;
use galgen_train::lower::{forward, normalise};
use galgen_train::models::flow_vae::{Batch, Learner, Prior};
use galgen_train::ops::{self, Activation, Padding};
use galgen_train::params::Parameters;
use std::collections::BTreeMap;

/// Of each type: the largest difference over the largest expected value, and what stands for that value where it is
/// smaller (a gradient that a norm makes 0 is rounding only).
///
/// Both devices sum the same terms in another order. f64 shows that the formulas agree; f32 is the type of training.
/// On an H200 the largest differences were 5e-13 and 4e-5.
const TOLERANCE: [(DType, f64, f64); 2] = [(DType::F64, 1e-10, 1e-2), (DType::F32, 2e-4, 1e-1)];

/// Named results of one computation on one device.
type Found = BTreeMap<String, Vec<f64>>;

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1()
}

/// What was compared, with the largest error of each, and what failed.
struct Report {
    gpu: Device,
    failures: Vec<String>,
}

impl Report {
    /// Runs `compute` on both devices in both types and compares everything that it returns.
    fn compare(&mut self, name: &str, compute: impl Fn(&Device, DType) -> Result<Found>) {
        for tolerance in TOLERANCE {
            let dtype = tolerance.0;
            let expected = compute(&Device::Cpu, dtype).expect("a result on the CPU");
            match compute(&self.gpu, dtype) {
                Err(e) => self.failures.push(format!("{name}, {dtype:?}: {e}")),
                Ok(found) => self.judge(name, tolerance, &expected, &found),
            }
        }
    }

    fn judge(
        &mut self,
        name: &str,
        (dtype, tolerance, least): (DType, f64, f64),
        expected: &Found,
        found: &Found,
    ) {
        assert!(
            expected.keys().eq(found.keys()),
            "{name}: {expected:?} {found:?}"
        );
        let mut worst = 0.0;
        for (key, expected) in expected {
            let largest = expected.iter().fold(least, |m: f64, v| m.max(v.abs()));
            let found = &found[key];
            assert_eq!(expected.len(), found.len(), "{name}: {key}");
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                let error = (a - b).abs() / largest;
                if error.is_nan() || error > tolerance {
                    let text = format!("{name}, {dtype:?}: {key}[{i}] is {a}, on the CPU {b}");
                    self.failures.push(text);
                    break;
                }
                worst = error.max(worst);
            }
        }
        println!("{name:40} {dtype:?} {worst:.1e}");
    }

    /// Value and gradients of `sum(f(arguments) * r)` with random `r`.
    fn operation(
        &mut self,
        name: &str,
        shapes: &[&[usize]],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) {
        self.compare(name, |device, dtype| {
            let vars: Vec<Var> = (11..)
                .zip(shapes)
                .map(|(seed, shape)| variable(seed, shape, device, dtype))
                .collect::<Result<_>>()?;
            let arguments: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let y = f(&arguments)?;
            let mut found = Found::from([("value".to_string(), flat(&y)?)]);
            let grads = weighted(&y, 5)?.backward()?;
            for (i, v) in vars.iter().enumerate() {
                found.insert(
                    format!("gradient {i}"),
                    flat(grads.get(v).expect("a gradient"))?,
                );
            }
            Ok(found)
        });
    }
}

fn variable(seed: u64, shape: &[usize], device: &Device, dtype: DType) -> Result<Var> {
    let values = random_values(shape.iter().product(), seed);
    Var::from_tensor(
        &Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?,
    )
}

/// `sum(y * r)` with random `r`.
fn weighted(y: &Tensor, seed: u64) -> Result<Tensor> {
    let r = variable(seed, y.dims(), y.device(), y.dtype())?;
    (y * r.as_detached_tensor())?.sum_all()
}

fn moved(parameters: &Parameters, device: &Device) -> Result<Parameters> {
    let all = parameters.iter(&[""]);
    let all =
        all.map(|(name, v)| Ok((name.to_string(), v.as_detached_tensor().to_device(device)?)));
    Parameters::from_tensors(all.collect::<Result<Vec<_>>>()?)
}

/// The gradient of every parameter that has one.
fn gradients(loss: &Tensor, parameters: &Parameters) -> Result<Found> {
    let grads = loss.backward()?;
    let with = parameters
        .iter(&[""])
        .filter_map(|(name, v)| Some((name, grads.get(v)?)));
    with.map(|(name, g)| Ok((name.to_string(), flat(g)?)))
        .collect()
}

/// One test, because a device's work belongs on one thread.
#[test]
fn the_gpu_agrees_with_the_cpu() {
    let gpu = match Device::new_cuda(0) {
        Ok(gpu) => gpu,
        Err(e) => {
            println!("skipped: no CUDA device ({e})");
            return;
        }
    };
    let mut report = Report {
        gpu,
        failures: Vec::new(),
    };
    convolutions(&mut report);
    pointwise_and_norms(&mut report);
    optimiser(&mut report);
    norms(&mut report);
    filters(&mut report);
    random_numbers(&mut report);
    layers_and_transforms(&mut report);
    training_step(&mut report);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}

fn convolutions(report: &mut Report) {
    let odd = Padding {
        top: 2,
        bottom: 1,
        left: 0,
        right: 3,
    };
    let down = Padding {
        top: 0,
        bottom: 1,
        left: 0,
        right: 1,
    };
    for (k, stride, padding) in [
        (3, 1, Padding::all(1)),
        (3, 2, down),
        (4, 2, Padding::all(1)),
        (3, 2, odd),
        (1, 1, Padding::all(0)),
    ] {
        let name = format!("conv2d {k} stride {stride}");
        report.operation(&name, &[&[3, 4, 9, 8], &[5, 4, k, k]], |a| {
            ops::conv2d(&a[0], &a[1], stride, padding)
        });
        let y = ops::conv2d(
            &variable(1, &[3, 4, 9, 8], &Device::Cpu, DType::F64).expect("a map"),
            &variable(2, &[5, 4, k, k], &Device::Cpu, DType::F64).expect("weights"),
            stride,
            padding,
        );
        let y = y.expect("a convolution");
        report.operation(
            &format!("{name}, weight gradient"),
            &[&[3, 4, 9, 8], y.dims()],
            |a| ops::conv2d_weight_grad(&a[0], &a[1], (k, k), stride, padding),
        );
    }
    for (k, stride, padding) in [(4, 2, 1), (5, 2, 2), (3, 1, 1), (2, 3, 0)] {
        let name = format!("conv_transpose2d {k} stride {stride}");
        report.operation(&name, &[&[2, 3, 4, 5], &[3, 2, k, k]], |a| {
            ops::conv_transpose2d(&a[0], &a[1], stride, Padding::all(padding))
        });
    }
    report.operation("upsample_nearest2x", &[&[2, 3, 3, 4]], |a| {
        ops::upsample_nearest2x(&a[0])
    });
    report.operation("upsample2x_conv3x3", &[&[2, 3, 8, 8], &[4, 3, 3, 3]], |a| {
        ops::upsample2x_conv3x3(&a[0], &a[1])
    });
}

fn pointwise_and_norms(report: &mut Report) {
    use Activation::*;
    for act in [
        Identity,
        Silu,
        Softplus,
        Sigmoid,
        Tanh,
        LeakyRelu(0.2),
        LeakyRelu(0.0),
        Elu,
    ] {
        report.operation(
            &format!("bias_activate {act:?}"),
            &[&[2, 3, 8, 5], &[3]],
            |a| {
                // Up to 40 times larger: where exponentials end.
                ops::bias_activate(&(&a[0] * 40.0)?, &a[1], act)
            },
        );
    }
    for groups in [1, 2, 4] {
        report.operation(
            &format!("group_norm {groups}"),
            &[&[2, 4, 8, 5], &[4], &[4]],
            |a| ops::group_norm(&a[0], groups, &a[1], &a[2], 1e-5),
        );
    }
    report.operation("channel_sum", &[&[4, 3, 64, 64]], |a| {
        ops::channel_sum(&a[0])
    });
}

fn optimiser(report: &mut Report) {
    report.compare("adam_step", |device, dtype| {
        let [p, m, v] = [1, 2, 3].map(|_| Var::zeros((3, 7), dtype, device));
        let (p, m, v) = (p?, m?, v?);
        let rule = ops::Adam {
            lr: 0.01,
            scale: 0.7,
            weight_decay: 0.1,
            ..ops::Adam::default()
        };
        for step in 1..=5 {
            let gradient = variable(50 + step, &[3, 7], device, dtype)?;
            ops::adam_step(&p, &gradient, &m, &v, step, &rule)?;
        }
        ops::decay_to(&m, p.as_tensor(), 0.9)?;
        [("parameter", &p), ("first", &m), ("second", &v)]
            .iter()
            .map(|(name, var)| Ok((name.to_string(), flat(var)?)))
            .collect()
    });
}

/// The norm is that of f32 gradients, which the CPU sums in f32.
fn norms(report: &mut Report) {
    let sum = |device: &Device| -> Result<f64> {
        let tensors = [
            variable(71, &[3, 7], device, DType::F32)?,
            variable(72, &[5000], device, DType::F32)?,
        ];
        let all: Vec<&Tensor> = tensors.iter().map(|v| v.as_tensor()).collect();
        ops::squares(&all)
    };
    let [expected, found] = [&Device::Cpu, &report.gpu].map(|d| vec![sum(d).expect("a sum")]);
    let named = |sum| Found::from([("sum".to_string(), sum)]);
    report.judge(
        "sum of squares",
        TOLERANCE[1],
        &named(expected),
        &named(found),
    );
}

/// Point-spread functions of each stamp's own, and noise with a spectrum.
fn filters(report: &mut Report) {
    let kernels: Vec<f32> = random_values(3 * 81, 61)
        .iter()
        .map(|&v| v as f32)
        .collect();
    for channels in [1, 2] {
        report.operation(
            &format!("point-spread functions, {channels} channels"),
            &[&[3, channels, 16, 16]],
            |a| ops::Filter::convolution(&kernels, 9, 16)?.apply(&a[0]),
        );
    }
    let acf = [0.1f32, 0.3, 0.1, 0.4, 1.0, 0.4, 0.1, 0.3, 0.1].repeat(3);
    report.compare("coloured noise", |device, dtype| {
        let white = variable(62, &[3, 1, 16, 16], device, dtype)?;
        let noise = ops::coloured(&acf, 3, 1e-6, white.as_tensor())?;
        Ok(Found::from([("noise".to_string(), flat(&noise)?)]))
    });
    report.compare("whitened noise", |device, dtype| {
        let white = variable(63, &[3, 1, 16, 16], device, dtype)?;
        let power = ops::Filter::noise_power(&acf, 3, 16, 0.05)?;
        let noise = power
            .map(|p, _| p.sqrt().recip())
            .apply(white.as_tensor())?;
        Ok(Found::from([("noise".to_string(), flat(&noise)?)]))
    });
}

/// Odd and even numbers of them, and a seed and an id of more than 32 bits.
fn random_numbers(report: &mut Report) {
    report.compare("normals", |device, _| {
        let mut found = Found::new();
        for n in [1, 7, 10_000] {
            let drawn = ops::normals(0x1234_5678_9abc, 0xdef0_1234_5678 + n as u64, n, device)?;
            found.insert(format!("{n}"), flat(&drawn)?);
        }
        Ok(found)
    });
}

fn layers_and_transforms(report: &mut Report) {
    const ROWS: usize = 3;
    for case in cases::nets() {
        let net = &case.net;
        let shape = match net.input {
            Shape::Vector(n) => vec![ROWS, n],
            Shape::Map {
                channels,
                height,
                width,
            } => vec![ROWS, channels, height, width],
        };
        report.compare(&format!("net {}", case.name), |device, dtype| {
            let p = moved(&parameters(&case.tensors(), dtype), device)?;
            let x = variable(31, &shape, device, dtype)?;
            let context = variable(32, &[ROWS, net.context.max(1)], device, dtype)?;
            let context = (net.context > 0).then_some(context.as_tensor());
            let y = forward(net, "net", &p, &x, context)?;
            let mut found = gradients(&weighted(&y, 33)?, &p)?;
            found.insert("value".into(), flat(&y)?);
            Ok(found)
        });
    }
    for case in cases::flows() {
        let flow = &case.flow;
        let (points, contexts): (Vec<_>, Vec<_>) = (0..ROWS as u64).map(|i| case.item(i)).unzip();
        report.compare(&format!("flow {}", case.name), |device, dtype| {
            let p = moved(&parameters(&case.tensors(), dtype), device)?;
            let upload = |values: Vec<f64>, n: usize| {
                Tensor::from_vec(values, (ROWS, n), &Device::Cpu)?
                    .to_dtype(dtype)?
                    .to_device(device)
            };
            let x = upload(points.concat(), flow.dim())?;
            let context = match flow.context {
                0 => None,
                n => Some(upload(contexts.concat(), n)?),
            };
            let (z, log_det) = normalise(flow, "flow", &p, &x, context.as_ref())?;
            let loss = (weighted(&z, 41)? + log_det.sum_all()?)?;
            let mut found = match loss.track_op() {
                true => gradients(&loss, &p)?,
                false => Found::new(),
            };
            found.insert("z".into(), flat(&z)?);
            found.insert("log det".into(), flat(&log_det)?);
            Ok(found)
        });
    }
}

/// Losses and gradients of a small flow-VAE, and its weights and losses after one step of Adam.
fn training_step(report: &mut Report) {
    const CONDITIONS: usize = 2;
    const STAMPS: usize = 5;
    let model = tiny_model(CONDITIONS);
    report.compare("training step", |device, dtype| {
        let p = moved(&random_parameters(&model, 3, dtype), device)?;
        let learner = Learner::new(&model, &geometry(), &p, dtype, device)?;
        let batch = random_batch(STAMPS, CONDITIONS, 4, dtype);
        let batch = Batch {
            stamps: batch.stamps.to_device(device)?,
            observed: batch.observed.to_device(device)?,
            sky: batch.sky.to_device(device)?,
            psf: None,
            noise: None,
            context: batch.context.map(|c| c.to_device(device)).transpose()?,
        };
        let normals = variable(5, &[STAMPS, model.latent], device, dtype)?;
        let loss = |found: &mut Found, when: &str| -> Result<Tensor> {
            let elbo = learner.elbo(&batch, &normals.as_detached_tensor(), Prior::Flow)?;
            let flow = learner.flow_loss(&normals.as_detached_tensor(), batch.context.as_ref())?;
            for (name, part) in [
                ("reconstruction", &elbo.reconstruction),
                ("divergence", &elbo.divergence),
                ("flow loss", &flow),
            ] {
                found.insert(format!("{name} {when}"), flat(part)?);
            }
            (elbo.reconstruction + elbo.divergence)? + flow
        };
        let mut found = Found::new();
        let before = loss(&mut found, "before")?;
        let grads = before.backward()?;
        found.extend(gradients(&before, &p)?);
        // Adam divides by the gradient's size: where that is rounding, f32 devices may step to either side.
        if dtype == DType::F64 {
            for (name, var) in p.iter(&[""]) {
                let zeros = || Var::zeros(var.shape(), dtype, device);
                let grad = grads.get(var).expect("every weight takes part");
                ops::adam_step(var, grad, &zeros()?, &zeros()?, 1, &ops::Adam::default())?;
                found.insert(format!("{name} after"), flat(var)?);
            }
            loss(&mut found, "after")?;
        }
        Ok(found)
    });
}
