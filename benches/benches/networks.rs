//! The default model's networks alone: `cargo bench -p galgen-benches --bench networks`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use galgen_benches::Inputs;
use galgen_infer::Simd;
use galgen_infer::flow::FlowPlan;
use std::hint::black_box;

/// Decoder of one latent, without window and normalisation; criterion's elements are floating-point
/// operations.
fn decoder(c: &mut Criterion) {
    let inputs = Inputs::read();
    let z: Vec<f32> = inputs.latent().iter().map(|&z| z as f32).collect();
    let context = vec![0.0; inputs.conditions().len()];
    let decode = |simd| {
        let plan = inputs.decoder(simd);
        let mut out = vec![0.0; plan.output().len()];
        let mut scratch = vec![0.0; plan.scratch_len()];
        plan.run(&z, &context, &mut out, &mut scratch);
        (plan, out, scratch)
    };
    let (_, expected, _) = decode(Simd::Scalar);
    let mut group = c.benchmark_group("decoder");
    for simd in Simd::available().filter(|&simd| simd != Simd::Scalar) {
        let (plan, mut out, mut scratch) = decode(simd);
        assert_eq!(
            out,
            expected,
            "{} decodes to other bits than the portable code",
            simd.name()
        );
        group.throughput(Throughput::Elements(plan.flops()));
        group.bench_function(simd.name(), |b| {
            b.iter(|| plan.run(black_box(&z), &context, &mut out, &mut scratch));
        });
    }
}

/// The flow on a latent, in both directions.
fn flow(c: &mut Criterion) {
    let inputs = Inputs::read();
    let flow = FlowPlan::new(
        &inputs.config().flow,
        "flow",
        &inputs.weights,
        Simd::detect(),
    )
    .expect("the tensors of a checked card");
    let context = vec![0.0; flow.context_len()];
    let mut scratch = flow.scratch();
    let u = inputs.latent();
    let mut z = u.clone();
    let log_det = flow
        .generate(&mut z, &context, &mut scratch)
        .expect("no solver");
    let mut back = z.clone();
    let inverse = flow
        .normalise(&mut back, &context, &mut scratch)
        .expect("no solver");
    // The couplings' nets run in f32: their rounding, magnified by the slopes of the splines.
    let furthest = u
        .iter()
        .zip(&back)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(
        furthest < 1e-3,
        "the inverse of the flow is off by {furthest}"
    );
    assert!(
        (log_det + inverse).abs() < 1e-2,
        "log-dets {log_det} and {inverse}"
    );

    let mut group = c.benchmark_group("flow");
    let mut x = u.clone();
    group.bench_function("generate", |b| {
        b.iter(|| {
            x.copy_from_slice(black_box(&u));
            flow.generate(&mut x, &context, &mut scratch)
        });
    });
    group.bench_function("normalise", |b| {
        b.iter(|| {
            x.copy_from_slice(black_box(&z));
            flow.normalise(&mut x, &context, &mut scratch)
        });
    });
}

criterion_group!(benches, decoder, flow);
criterion_main!(benches);
