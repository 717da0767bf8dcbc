//! Time of one decode on one thread, layer by layer, against the multiply-add peak of the core, for
//! each SIMD level: `cargo run --release -p galgen-infer --example decoder_time [MODEL]`.
//!
//! The decoder is that of a model file, by default `models/default.safetensors` under the working
//! directory. Fastest calls are reported, because other programs may share the machine. Outputs of all
//! levels are compared bit for bit.

use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::models::Family;
use galgen_core::spec::{Layer, Net};
use galgen_infer::kernels::{Simd, probe};
use galgen_infer::lower::Plan;
use galgen_infer::weights::Weights;
use std::error::Error;
use std::time::Instant;

/// Seconds of the fastest of `times` calls.
fn fastest(times: usize, mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(time).fold(f64::INFINITY, f64::min)
}

/// The net up to each layer after which lowering can end without losing a fusion; the differences of
/// their times are those of the layers.
fn prefixes(net: &Net) -> impl Iterator<Item = Net> {
    let ends = |&end: &usize| {
        let last = &net.layers[end - 1];
        end == net.layers.len()
            || matches!(
                last,
                Layer::Activation(_) | Layer::BipolarElu | Layer::Reshape(_) | Layer::Sum(_)
            )
    };
    let prefix = |end: usize| Net {
        layers: net.layers[..end].to_vec(),
        ..net.clone()
    };
    (2..=net.layers.len()).filter(ends).map(prefix)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "models/default.safetensors".into());
    let weights = Weights::open(path.as_ref())?;
    let json = weights
        .metadata(METADATA_KEY)
        .ok_or("the file has no card")?;
    let net = match Card::parse(json)?.0.model {
        Family::FlowVae(config) => config.decoder,
        Family::Vae(config) => config.decoder,
        Family::Flow(_) | Family::Made(_) => return Err("the model has no decoder".into()),
        Family::PixelCnn(_) => {
            return Err("an autoregressive model has no decoder: see pixel_time".into());
        }
    };
    let (z, context) = (vec![0.1; net.input.len()], vec![0.5; net.context]);

    let mut operations = 0;
    let probing = fastest(50, || {
        operations = 2 * probe::multiply_adds(Simd::detect(), 100_000)
    });
    let peak = operations as f64 / probing;
    let mut expected: Option<Vec<f32>> = None;
    for simd in Simd::available() {
        let times = if simd == Simd::Scalar { 1 } else { 300 };
        let mut before = 0.0;
        let mut output = Vec::new();
        for part in prefixes(&net) {
            let plan = Plan::new(&part, "decoder", &weights, simd)?;
            let mut scratch = vec![0.0; plan.scratch_len()];
            output = vec![0.0; plan.output().len()];
            let seconds = fastest(times, || plan.run(&z, &context, &mut output, &mut scratch));
            let rate = plan.flops() as f64 / seconds;
            println!(
                "{:9} layers 0..{:2}: {:8.4} ms (+{:8.4})  {:6.2} MFLOP  {:6.1} GFLOP/s  {:4.1} % of {:.1}",
                simd.name(),
                part.layers.len(),
                seconds * 1e3,
                (seconds - before) * 1e3,
                plan.flops() as f64 * 1e-6,
                rate * 1e-9,
                100.0 * rate / peak,
                peak * 1e-9,
            );
            before = seconds;
        }
        let first = expected.get_or_insert_with(|| output.clone());
        assert_eq!(*first, output, "{} computes other bits", simd.name());
    }
    Ok(())
}
