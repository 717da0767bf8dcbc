//! Time of one decode on one thread, against the multiply-add peak of the core, for each SIMD level:
//! `cargo run --release -p galgen-infer --example decoder_time`. Minima are reported, because other
//! programs may share the machine. Sums of the outputs are printed so that equal bits can be seen.

use galgen_core::math::act::Act;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{Layer, Net, Role, Shape};
use galgen_infer::kernels::{Simd, probe};
use galgen_infer::lower::Plan;
use galgen_infer::weights::Weights;
use std::time::Instant;

/// 32 latent numbers and 2 conditions to a stamp of 64 x 64.
fn decoder() -> Net {
    let mut layers = vec![
        Layer::AppendContext,
        Layer::linear(256 * 4 * 4),
        Layer::Reshape(Shape::square(256, 4)),
    ];
    for outputs in [128, 64, 32, 16] {
        layers.extend([
            Layer::UpsampleNearest { factor: 2 },
            Layer::conv(outputs, 3, 1),
            Layer::Activation(Act::Silu),
        ]);
    }
    layers.extend([Layer::conv(1, 3, 1), Layer::Activation(Act::Softplus)]);
    Net {
        input: Shape::Vector(32),
        context: 2,
        layers,
    }
}

/// Seconds of the fastest of `times` calls.
fn fastest(times: usize, mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(time).fold(f64::INFINITY, f64::min)
}

fn random_weights(net: &Net) -> Weights {
    let mut rng = Philox::new(1, 0, Stream::Training);
    let tensors = net.tensors("decoder").expect("the net is valid");
    Weights::from_values(tensors.into_iter().map(|t| {
        let sigma = match t.role {
            Role::Weight { fan_in } => 1.0 / (fan_in as f64).sqrt(),
            Role::Bias | Role::Gain => 0.1,
        };
        let values = (0..t.shape.iter().product())
            .map(|_| (sigma * rng.normal()) as f32)
            .collect();
        (t.name, t.shape, values)
    }))
}

fn main() {
    let net = decoder();
    let weights = random_weights(&net);
    let mut operations = 0;
    let seconds = fastest(50, || {
        operations = 2 * probe::multiply_adds(Simd::detect(), 100_000)
    });
    let peak = operations as f64 / seconds;
    for simd in Simd::available() {
        let times = if simd == Simd::Scalar { 3 } else { 2000 };
        // The whole decoder, and each prefix of it: the differences are the times of the layers.
        let mut before = 0.0;
        for end in 2..=net.layers.len() {
            let last = matches!(
                net.layers[end - 1],
                Layer::Activation(_) | Layer::Reshape(_)
            );
            if !last && end != net.layers.len() {
                continue;
            }
            let part = Net {
                layers: net.layers[..end].to_vec(),
                ..net.clone()
            };
            let plan = Plan::new(&part, "decoder", &weights, simd).expect("the net is valid");
            let mut scratch = vec![0.0; plan.scratch_len()];
            let mut output = vec![0.0; plan.output().len()];
            let seconds = fastest(times, || {
                plan.run(&[0.1; 32], &[0.5, -0.5], &mut output, &mut scratch)
            });
            let total: f64 = output.iter().map(|&v| f64::from(v)).sum();
            println!(
                "{:9} layers 0..{end:2}: {:8.4} ms (+{:8.4})  {:6.2} MFLOP  {:6.1} GFLOP/s  {:4.1} % of {:.1}  sum {total:e}",
                simd.name(),
                seconds * 1e3,
                (seconds - before) * 1e3,
                plan.flops() as f64 * 1e-6,
                plan.flops() as f64 / seconds * 1e-9,
                100.0 * plan.flops() as f64 / seconds / peak,
                peak * 1e-9,
            );
            before = seconds;
        }
    }
}
