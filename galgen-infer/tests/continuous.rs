//! Laws of estimated traces: over all signs they are the exact one, their deviation is that of the formula, and they belong
//! to an object, whatever else is computed with it.

mod common;

use common::{random_weights, rng};
use galgen_core::math::act::Act;
use galgen_core::spec::{
    Continuous, Direction, Flow, Layer, Net, Shape, Solver, Trace, TraceNoise, Transform, Velocity,
};
use galgen_infer::flow::FlowPlan;
use galgen_infer::kernels::Simd;
use galgen_infer::weights::Weights;
use std::collections::BTreeMap;

const CONTEXT: usize = 2;

/// A velocity field whose nets end with `layers`.
fn field(dim: usize, layers: Vec<Layer>, trace: Trace) -> Transform {
    Transform::Continuous(Continuous {
        velocity: Velocity::Net(Net {
            input: Shape::Vector(dim),
            context: CONTEXT + 1,
            layers,
        }),
        frequencies: 0,
        trace,
        solver: Solver {
            relative: 1e-9,
            absolute: 1e-9,
            max_steps: 2000,
        },
    })
}

fn curved(dim: usize, trace: Trace) -> Flow {
    let layers = vec![
        Layer::AppendContext,
        Layer::linear(24),
        Layer::Activation(Act::Tanh),
        Layer::linear(dim),
    ];
    Flow::vector(dim, CONTEXT, vec![field(dim, layers, trace)])
}

/// The field v = W x + b.
fn straight(dim: usize) -> Flow {
    let linear = field(dim, vec![Layer::linear(dim)], Trace::Hutchinson);
    Flow::vector(dim, CONTEXT, vec![linear])
}

fn weights(flow: &Flow, seed: u64, size: f32) -> Weights<'static> {
    random_weights(&flow.tensors("flow").expect("valid"), &mut rng(seed), size)
}

/// ln |det| of the way of `x` to noise, with the signs of an object.
fn log_det(plan: &FlowPlan, x: &[f64], noise: TraceNoise) -> f64 {
    let (mut z, mut found) = (x.to_vec(), [Ok(0.0)]);
    let mut scratch = plan.scratch();
    let direction = Direction::Normalise;
    plan.run_batch(
        direction,
        &mut z,
        &[0.3, -0.6],
        &|_| noise,
        &mut found,
        &mut scratch,
    );
    found[0].expect("a solution")
}

fn point(dim: usize) -> Vec<f64> {
    let mut rng = rng(21);
    (0..dim).map(|_| rng.normal()).collect()
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// e.(W e) of any signs, to the rounding of f64 over a few steps; the deviation is sqrt(2) times the norm of the symmetric
/// part's off-diagonal elements. Elements of W of deviation 0.46 / sqrt(n) make it 0.46 sqrt(n): the 0.65, 1.3 and 3.6 nats
/// that trained flows show at 2, 8 and 64 dimensions.
#[test]
fn a_straight_field_has_the_trace_of_its_matrix() {
    for (dim, typical) in [(2, 0.65), (8, 1.3), (64, 3.6)] {
        let flow = straight(dim);
        let weights = weights(&flow, 31 + dim as u64, 0.46);
        let matrix = weights
            .get("flow.0.net.0.weight")
            .expect("a tensor of the net");
        let w = |i: usize, j: usize| f64::from(matrix[i * dim + j]);
        let plan = FlowPlan::new(&flow, "flow", &weights, Simd::detect()).expect("a plan");
        let x = point(dim);
        let estimates: Vec<f64> = (0..400)
            .map(|id| {
                let noise = TraceNoise { seed: 5, id };
                let found = log_det(&plan, &x, noise);
                let mut e = vec![0.0; dim];
                noise.fill(0, &mut e);
                let products =
                    (0..dim * dim).map(|k| e[k / dim] * w(k / dim, k % dim) * e[k % dim]);
                let expected: f64 = products.sum();
                assert!((found - expected).abs() < 1e-11, "{found} {expected}");
                found
            })
            .collect();
        let (mean, deviation) = mean_and_deviation(&estimates);
        let trace: f64 = (0..dim).map(|i| w(i, i)).sum();
        assert!(
            (mean - trace).abs() < 4.0 * deviation / 20.0,
            "{mean} {trace}"
        );
        let pairs = (0..dim * dim).filter(|k| k / dim != k % dim);
        let squares = pairs.map(|k| (0.5 * (w(k / dim, k % dim) + w(k % dim, k / dim))).powi(2));
        let expected = (2.0 * squares.sum::<f64>()).sqrt();
        println!("{dim} dimensions: deviation {deviation:.3} nats, by the formula {expected:.3}");
        // The deviation of 400 draws deviates by 4 % (and less, where all draws are of one size).
        assert!(
            (deviation / expected - 1.0).abs() < 0.2,
            "{deviation} {expected}"
        );
        assert!(
            (0.4..2.5).contains(&(deviation / typical)),
            "{deviation} {typical}"
        );
    }
}

/// Five dimensions have 32 vectors of signs. Their way is the same, but for steps that the solver takes otherwise.
#[test]
fn the_mean_over_all_signs_is_the_exact_trace() {
    const DIM: usize = 5;
    let plan = |trace| {
        let flow = curved(DIM, trace);
        FlowPlan::new(&flow, "flow", &weights(&flow, 3, 1.0), Simd::detect()).expect("a plan")
    };
    let estimated = plan(Trace::Hutchinson);
    let x = point(DIM);
    let exact = log_det(&plan(Trace::Exact), &x, TraceNoise::default());
    let mut found = BTreeMap::new();
    for id in 0..2000 {
        let noise = TraceNoise { seed: 9, id };
        let mut signs = [0.0; DIM];
        noise.fill(0, &mut signs);
        let key = signs.map(|s| s > 0.0);
        found
            .entry(key)
            .or_insert_with(|| log_det(&estimated, &x, noise));
    }
    assert_eq!(found.len(), 32);
    let values: Vec<f64> = found.into_values().collect();
    let (mean, deviation) = mean_and_deviation(&values);
    println!("{mean} +- {deviation}, exact {exact}");
    assert!(deviation > 1e-2, "{values:?}");
    assert!((mean - exact).abs() < 1e-7, "{mean} {exact}");
}

/// Four standard errors of the mean of 300 objects.
#[test]
fn the_mean_over_objects_is_the_exact_trace() {
    const DIM: usize = 64;
    let plan = |trace| {
        let flow = curved(DIM, trace);
        FlowPlan::new(&flow, "flow", &weights(&flow, 4, 1.0), Simd::detect()).expect("a plan")
    };
    let estimated = plan(Trace::Hutchinson);
    let x = point(DIM);
    let exact = log_det(&plan(Trace::Exact), &x, TraceNoise::default());
    let values: Vec<f64> = (0..300)
        .map(|id| log_det(&estimated, &x, TraceNoise { seed: 1, id }))
        .collect();
    let (mean, deviation) = mean_and_deviation(&values);
    let error = deviation / (values.len() as f64).sqrt();
    println!("{mean} +- {error}, of one {deviation}; exact {exact}");
    assert!(
        (mean - exact).abs() < 4.0 * error,
        "{mean} +- {error}, exact {exact}"
    );
}

/// Two fields in a row have signs of their own; an item has the bits that it has alone, whatever the batch, the level of
/// instructions and the thread.
#[test]
fn objects_have_the_same_bits_alone_and_together() {
    const ITEMS: usize = 13;
    const DIM: usize = 70;
    let one = |hidden| {
        let layers = vec![
            Layer::AppendContext,
            Layer::linear(hidden),
            Layer::Activation(Act::Silu),
            Layer::linear(DIM),
        ];
        field(DIM, layers, Trace::Hutchinson)
    };
    let flow = Flow::vector(DIM, CONTEXT, vec![one(9), one(6)]);
    let weights = weights(&flow, 8, 1.0);
    let mut rng = rng(9);
    let points: Vec<f64> = (0..ITEMS * DIM).map(|_| rng.normal()).collect();
    let contexts: Vec<f32> = (0..ITEMS * CONTEXT).map(|_| rng.normal() as f32).collect();
    let id = |item: usize| 1000 + 17 * item as u64;
    let run = |plan: &FlowPlan, batch: usize| -> Vec<u64> {
        let mut scratch = plan.scratch_of(batch);
        let (mut values, mut bits) = (points.clone(), Vec::new());
        let chunks = values.chunks_mut(batch * DIM);
        for (chunk, (values, contexts)) in chunks.zip(contexts.chunks(batch * CONTEXT)).enumerate()
        {
            let mut outcomes = vec![Ok(0.0); values.len() / DIM];
            let noise = |item| TraceNoise {
                seed: 2,
                id: id(chunk * batch + item),
            };
            let direction = Direction::Normalise;
            plan.run_batch(
                direction,
                values,
                contexts,
                &noise,
                &mut outcomes,
                &mut scratch,
            );
            bits.extend(outcomes.into_iter().map(|o| o.unwrap().to_bits()));
        }
        bits.extend(values.iter().map(|v| v.to_bits()));
        bits
    };
    let mut expected = None;
    for simd in Simd::available() {
        let plan = FlowPlan::new(&flow, "flow", &weights, simd).expect("a plan");
        let expected = expected.get_or_insert_with(|| run(&plan, 1));
        std::thread::scope(|scope| {
            let (run, plan) = (&run, &plan);
            let threads = [1, 2, 5, ITEMS];
            let threads = threads.map(|batch| (batch, scope.spawn(move || run(plan, batch))));
            for (batch, thread) in threads {
                let found = thread.join().expect("bits");
                assert!(found == *expected, "{} in batches of {batch}", simd.name());
            }
        });
    }
    let distinct: std::collections::BTreeSet<_> = expected.expect("bits").into_iter().collect();
    assert!(distinct.len() > ITEMS * DIM, "objects differ");
}
