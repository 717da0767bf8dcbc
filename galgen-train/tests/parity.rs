//! candle's lowering against the referee and the goldens: every case, after every layer and every
//! transform, in f64, where only the mathematics can differ, and in f32, in which training runs.

mod common;

use candle_core::{DType, Tensor};
use common::{elements, parameters, tensor};
use galgen_core::spec::{Direction, Flow, Layer, Net, Shape, TraceNoise, Transform};
use galgen_tests::compare::relative_error;
use galgen_tests::parity::{self, FlowTolerance, Report};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::Tensors;
use galgen_tests::{cases, goldens};
use galgen_train::lower::{Follow, follow, forward, normalise};

/// f64 rounds to 1e-16; sums of up to 4096 terms and a dozen layers add a few of these.
const EXACT: f64 = 2e-14;
/// f32 rounds to 6e-8; sums of up to a hundred terms and ten layers.
const NETS: f64 = 2e-6;
/// The goldens in f32: one cancels in a layer that a norm follows.
const GOLDENS: f64 = 5e-6;
/// Nets of the presets in f32: sums of up to 4096 terms.
const MODELS: f64 = 5e-6;
/// Random nets in f32, relative to the largest value or to 1: a norm or a scale may magnify what a sum
/// has cancelled.
const RANDOM: f64 = 5e-6;
/// A flow in f64, (values, ln |det| in nats a dimension): couplings magnify the rounding of each other.
const FLOW_EXACT: FlowTolerance = FlowTolerance {
    values: 1e-11,
    log_det: 1e-11,
};
/// A flow in f32: the random splines of the goldens magnify a rounding several thousand times, as their
/// 7e-13 in f64 says.
const FLOW: FlowTolerance = FlowTolerance {
    values: 1e-3,
    log_det: 1e-3,
};
/// A tolerance that is so many times larger than the worst error fails.
const SLACK: f64 = 50.0;

/// The value for `item` as one row of a batch; the other rows hold other numbers, which must not matter.
fn batch(item: &[f64], rows: usize, at: usize, dtype: DType, shape: &[usize]) -> Tensor {
    let other = |row: usize| move |v: &f64| -0.5 * v + row as f64 * 0.25;
    let values: Vec<f64> = (0..rows)
        .flat_map(|row| match row == at {
            true => item.to_vec(),
            false => item.iter().map(other(row)).collect(),
        })
        .collect();
    tensor(&values, &[&[rows], shape].concat(), dtype)
}

fn dims(shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Vector(n) => vec![n],
        Shape::Map {
            channels,
            height,
            width,
        } => vec![channels, height, width],
    }
}

const ROWS: usize = 3;
const ROW: usize = 1;

fn run(net: &Net, tensors: &Tensors, input: &[f64], context: &[f64], dtype: DType) -> Vec<f64> {
    let x = batch(input, ROWS, ROW, dtype, &dims(net.input));
    let c = (net.context > 0).then(|| batch(context, ROWS, ROW, dtype, &[net.context]));
    let y = forward(net, "net", &parameters(tensors, dtype), &x, c.as_ref()).expect("a value");
    assert_eq!(
        y.dims()[1..],
        dims(net.output().expect("a checked net"))[..]
    );
    elements(&y.get(ROW).expect("the row"))
}

fn run_normalise(
    flow: &Flow,
    tensors: &Tensors,
    point: &[f64],
    context: &[f64],
    dtype: DType,
) -> (Vec<f64>, f64) {
    let x = batch(point, ROWS, ROW, dtype, &[flow.dim()]);
    let c = (flow.context > 0).then(|| batch(context, ROWS, ROW, dtype, &[flow.context]));
    let (z, log_det) =
        normalise(flow, "flow", &parameters(tensors, dtype), &x, c.as_ref()).expect("a value");
    (
        elements(&z.get(ROW).expect("the row")),
        elements(&log_det)[ROW],
    )
}

fn judge(dtype: DType, judge: impl Fn(&mut parity::NetEngine) -> Report) -> Report {
    judge(
        &mut |net: &Net, tensors: &Tensors, input: &[f64], context: &[f64]| {
            run(net, tensors, input, context, dtype)
        },
    )
}

#[test]
fn nets_agree_with_the_referee_after_every_layer() {
    for (dtype, tolerance) in [(DType::F64, EXACT), (DType::F32, NETS)] {
        judge(dtype, |engine| parity::judge_cases(tolerance, engine)).verdict(
            &format!("cases, {dtype:?}"),
            tolerance,
            SLACK,
        );
    }
}

#[test]
fn nets_agree_with_the_goldens_after_every_layer() {
    for (dtype, tolerance) in [(DType::F64, EXACT), (DType::F32, GOLDENS)] {
        judge(dtype, |engine| parity::judge_goldens(tolerance, engine)).verdict(
            &format!("goldens, {dtype:?}"),
            tolerance,
            SLACK,
        );
    }
}

#[test]
fn the_nets_of_the_presets_agree_with_the_referee() {
    for (dtype, tolerance) in [(DType::F64, EXACT), (DType::F32, MODELS)] {
        judge(dtype, |engine| parity::judge_models(tolerance, engine)).verdict(
            &format!("presets, {dtype:?}"),
            tolerance,
            SLACK,
        );
    }
}

#[test]
fn random_nets_agree_with_the_referee() {
    for (dtype, tolerance) in [(DType::F64, EXACT), (DType::F32, RANDOM)] {
        judge(dtype, |engine| {
            parity::judge_random_nets(100, tolerance, engine)
        })
        .verdict(&format!("random nets, {dtype:?}"), tolerance, SLACK);
    }
}

/// Training only normalises. Asked to generate, it is handed the referee's point and judged on the
/// way back: the point it returns must be the one that the referee started from.
#[test]
fn flows_agree_with_referee_and_goldens_after_every_transform() {
    for (dtype, tolerance) in [(DType::F64, FLOW_EXACT), (DType::F32, FLOW)] {
        let (values, log_det) = parity::judge_flows(
            tolerance,
            &mut |flow, tensors, direction, point, context| match direction {
                Direction::Normalise => run_normalise(flow, tensors, point, context, dtype),
                Direction::Generate => {
                    let referee = Referee::new(tensors.clone());
                    let (x, _) = referee.flow(flow, "flow", direction, point, context);
                    let (z, log_det) = run_normalise(flow, tensors, &x, context, dtype);
                    let moved = x.iter().zip(z.iter().zip(point));
                    (moved.map(|(x, (z, u))| x + (z - u)).collect(), -log_det)
                }
            },
        );
        values.verdict(&format!("flow values, {dtype:?}"), tolerance.values, SLACK);
        log_det.verdict(
            &format!("flow ln |det|, {dtype:?}"),
            tolerance.log_det,
            SLACK,
        );
    }
}

/// A mistake in the lowering of one layer cannot hide because no case has that layer.
#[test]
fn the_cases_have_every_layer_and_every_transform() {
    fn layers(list: &[Layer], seen: &mut [bool; 19]) {
        for layer in list {
            let index = match layer {
                Layer::Linear { .. } => 0,
                Layer::Conv2d { .. } => 1,
                Layer::UpsampleNearest { .. } => 2,
                Layer::Activation(_) => 3,
                Layer::Scale(_) => 4,
                Layer::GroupNorm { .. } => 5,
                Layer::Gate => 6,
                Layer::Reshape(_) => 7,
                Layer::AppendContext => 8,
                Layer::Slice { .. } => 9,
                Layer::ConcatElu => 12,
                Layer::AppendOnes => 13,
                Layer::Shift { .. } => 14,
                Layer::ConvTranspose2d { .. } => 15,
                Layer::DepthwiseConv2d { .. } => 16,
                Layer::LayerNorm { .. } => 17,
                Layer::BipolarElu => 18,
                Layer::Sum(branches) => {
                    branches.iter().for_each(|b| layers(b, seen));
                    10
                }
                Layer::Concat(branches) => {
                    branches.iter().for_each(|b| layers(b, seen));
                    11
                }
            };
            seen[index] = true;
        }
    }
    let mut seen = [false; 19];
    cases::nets()
        .iter()
        .for_each(|case| layers(&case.net.layers, &mut seen));
    assert_eq!(seen, [true; 19]);
    let mut seen = [false; 12];
    let flows = [cases::flows(), cases::continuous_flows()].concat();
    for transform in flows.iter().flat_map(|case| &case.flow.transforms) {
        seen[match transform {
            Transform::Diagonal => 0,
            Transform::Permutation(_) => 1,
            Transform::Coupling { .. } => 2,
            Transform::Checkerboard { .. } => 3,
            Transform::Autoregressive { .. } => 4,
            Transform::Linear(_) => 5,
            Transform::LeakyRelu => 6,
            Transform::Logit { .. } => 7,
            Transform::Squeeze => 8,
            Transform::Split { .. } => 9,
            Transform::Planar => 10,
            Transform::Continuous(_) => 11,
        }] = true;
    }
    assert_eq!(seen, [true; 12]);
}

/// 16 equal steps of order 4 are the training's solver: for these fields within 1e-4 of the referee's 128, whatever
/// object's signs estimate a trace. The regularisers are integrals of the same kind, of squares of order ten.
#[test]
fn continuous_flows_agree_with_the_referee() {
    for case in [cases::continuous_flows(), cases::estimated_flows()].concat() {
        let (flow, tensors) = (&case.flow, case.tensors());
        let parameters = parameters(&tensors, DType::F64);
        for i in 0..4 {
            let (point, context) = case.item(i);
            let noise: [TraceNoise; ROWS] = std::array::from_fn(|row| TraceNoise {
                seed: 7,
                id: 10 * i + row as u64,
            });
            let x = batch(&point, ROWS, ROW, DType::F64, &[flow.dim()]);
            let c = batch(&context, ROWS, ROW, DType::F64, &[flow.context]);
            let c = (flow.context > 0).then_some(&c);
            let asked = Follow {
                noise: &noise,
                regularise: true,
            };
            let found = follow(flow, "flow", &parameters, &x, c, asked).expect("a value");
            let of_row = |t: &Tensor| elements(&t.get(ROW).expect("the row"));
            let referee = Referee::new(tensors.clone()).with_noise(noise[ROW]);
            let (z, log_det) = referee.flow(flow, "flow", Direction::Normalise, &point, &context);
            let error = relative_error(&of_row(&found.z), &z);
            let error = error.max((of_row(&found.log_det)[0] - log_det).abs());
            assert!(error < 1e-4, "{}: {error:e}", case.name);
            let sums = found.regularisers.expect("regularisers");
            let sums = [sums.kinetic_energy, sums.jacobian].map(|t| of_row(&t)[0]);
            let right = referee.regularisers(flow, "flow", &point, &context);
            let error = relative_error(&sums, &right);
            println!("{}: {sums:?}, {error:e}", case.name);
            assert!(error < 1e-4, "{}: {sums:?}, {right:?}", case.name);
        }
    }
}

/// The tolerance in f64 sees a wrong epsilon and one wrong weight of many.
#[test]
fn a_wrong_epsilon_or_weight_does_not_pass() {
    let report = parity::judge_goldens(NETS, &mut |net, tensors, input, context| {
        let mut wrong = net.clone();
        for layer in &mut wrong.layers {
            if let Layer::GroupNorm { epsilon, .. } = layer {
                *epsilon *= 1.5;
            }
        }
        run(&wrong, tensors, input, context, DType::F64)
    });
    assert!(!report.failures.is_empty());
    for golden in goldens::nets() {
        let mut tensors = golden.tensors.clone();
        let (_, values) = tensors.values_mut().next().expect("a tensor");
        values[0] += 1e-4;
        let item = &golden.items[0];
        let found = run(
            &golden.net,
            &tensors,
            &item.input,
            &item.context,
            DType::F64,
        );
        let right = &item.trace.last().expect("layers").1;
        assert!(
            galgen_tests::compare::relative_error(&found, right) > NETS,
            "{}",
            golden.name
        );
    }
}
