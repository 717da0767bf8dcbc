//! The engine's lowering against the referee and the goldens: every case, after every layer, on every
//! SIMD level of this CPU, and the same bits on all of them.

use galgen_core::spec::{Direction, Flow, Layer, Net};
use galgen_infer::flow::FlowPlan;
use galgen_infer::kernels::Simd;
use galgen_infer::lower::Plan;
use galgen_infer::weights::Weights;
use galgen_tests::compare::relative_error;
use galgen_tests::parity::{self, FlowTolerance};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{Tensors, write_safetensors};
use galgen_tests::{cases, goldens};

/// Values after a net, relative to the largest: f32 rounds to 6e-8; a sum of up to a hundred terms of
/// random sign, and the ten layers of the deepest case, each add a few of these.
const NETS: f64 = 1e-6;
/// Values after a layer of the presets: sums of up to 4096 terms in one fixed order, whose rounding
/// walks at random to 6e-8 sqrt(4096) of the output.
const MODELS: f64 = 5e-6;
/// Values after random nets, relative to the largest or to 1: a norm or a scale may magnify what a sum
/// has cancelled.
const RANDOM: f64 = 5e-6;
/// Values after a flow, relative to the largest: elements are mapped in f64, but with parameters from
/// an f32 net, and each coupling hands its error on to the next.
const FLOW_VALUES: f64 = 2e-6;
/// ln |det| in nats a dimension: a derivative of the same splines, so a little more sensitive.
const FLOW_LOG_DET: f64 = 5e-6;
/// A tolerance that is so many times larger than the worst error fails.
const SLACK: f64 = 30.0;

fn weights(tensors: &Tensors) -> Weights<'static> {
    Weights::parse(write_safetensors(tensors, &[])).expect("a safetensors file")
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// The output of the engine. The scratch is full of NaN: nothing may be read before it is written.
fn run(simd: Simd, net: &Net, tensors: &Tensors, input: &[f64], context: &[f64]) -> Vec<f32> {
    let plan = Plan::new(net, "net", &weights(tensors), simd).expect("a plan");
    let mut output = vec![f32::NAN; plan.output().len()];
    let mut scratch = vec![f32::NAN; plan.scratch_len()];
    plan.run(&narrow(input), &narrow(context), &mut output, &mut scratch);
    output
}

fn run_flow(
    simd: Simd,
    flow: &Flow,
    tensors: &Tensors,
    direction: Direction,
    values: &[f64],
    context: &[f64],
) -> (Vec<f64>, f64) {
    let plan = FlowPlan::new(flow, "flow", &weights(tensors), simd).expect("a plan");
    let mut scratch = plan.scratch();
    let mut values = values.to_vec();
    let context = narrow(context);
    let log_det = match direction {
        Direction::Normalise => plan.normalise(&mut values, &context, &mut scratch),
        Direction::Generate => plan.generate(&mut values, &context, &mut scratch),
    };
    (values, log_det.expect("a solution"))
}

fn widen(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

#[test]
fn nets_agree_with_the_referee_after_every_layer() {
    for simd in Simd::available() {
        let report = parity::judge_cases(NETS, &mut |net, tensors, input, context| {
            widen(run(simd, net, tensors, input, context))
        });
        report.verdict(&format!("cases, {}", simd.name()), NETS, SLACK);
    }
}

#[test]
fn nets_agree_with_the_goldens_after_every_layer() {
    for simd in Simd::available() {
        let report = parity::judge_goldens(NETS, &mut |net, tensors, input, context| {
            widen(run(simd, net, tensors, input, context))
        });
        report.verdict(&format!("goldens, {}", simd.name()), NETS, SLACK);
    }
}

#[test]
fn the_nets_of_the_presets_agree_with_the_referee() {
    let report = parity::judge_models(MODELS, &mut |net, tensors, input, context| {
        widen(run(Simd::detect(), net, tensors, input, context))
    });
    report.verdict("presets", MODELS, SLACK);
}

#[test]
fn random_nets_agree_with_the_referee() {
    for simd in Simd::available() {
        let report = parity::judge_random_nets(300, RANDOM, &mut |net, tensors, input, context| {
            widen(run(simd, net, tensors, input, context))
        });
        report.verdict(&format!("random nets, {}", simd.name()), RANDOM, SLACK);
    }
}

#[test]
fn flows_agree_with_referee_and_goldens_after_every_transform() {
    for simd in Simd::available() {
        let tolerance = FlowTolerance {
            values: FLOW_VALUES,
            log_det: FLOW_LOG_DET,
        };
        let (values, log_det) =
            parity::judge_flows(tolerance, &mut |flow, tensors, direction, v, context| {
                run_flow(simd, flow, tensors, direction, v, context)
            });
        values.verdict(&format!("flow values, {}", simd.name()), FLOW_VALUES, SLACK);
        log_det.verdict(
            &format!("flow ln |det|, {}", simd.name()),
            FLOW_LOG_DET,
            SLACK,
        );
    }
}

/// A continuous flow is as exact as its solver, 1e-9 at each of some tens of steps; the referee's 128 equal steps of
/// order 4 and its differences leave 1e-8.
#[test]
fn continuous_flows_agree_with_the_referee() {
    for case in [cases::continuous_flows(), cases::estimated_flows()].concat() {
        let tensors = case.tensors();
        let referee = Referee::new(tensors.clone());
        for i in 0..4 {
            let (point, context) = case.item(i);
            for direction in [Direction::Normalise, Direction::Generate] {
                let (values, log_det) = run_flow(
                    Simd::detect(),
                    &case.flow,
                    &tensors,
                    direction,
                    &point,
                    &context,
                );
                let (right, right_log_det) =
                    referee.flow(&case.flow, "flow", direction, &point, &context);
                let error = relative_error(&values, &right).max((log_det - right_log_det).abs());
                assert!(error < 1e-7, "{} {direction:?}: {error:e}", case.name);
            }
        }
    }
}

#[test]
fn all_levels_give_the_same_bits() {
    let levels: Vec<Simd> = Simd::available().collect();
    println!(
        "levels: {:?}",
        levels.iter().map(|l| l.name()).collect::<Vec<_>>()
    );
    for case in cases::nets() {
        let tensors = case.tensors();
        for (i, piece) in parity::pieces(&case.net, &tensors).iter().enumerate() {
            let (input, context) = case.item(i as u64);
            let bits = |simd: &Simd| -> Vec<u32> {
                let output = run(*simd, &piece.net, &piece.tensors, &input, &context);
                output.into_iter().map(f32::to_bits).collect()
            };
            let first = bits(&levels[0]);
            for level in &levels[1..] {
                assert!(
                    bits(level) == first,
                    "{}, layer {}: {} differs",
                    case.name,
                    piece.path,
                    level.name()
                );
            }
        }
    }
    for case in cases::models() {
        let (tensors, (input, context)) = (case.tensors(), case.item(0));
        let bits = |simd: &Simd| -> Vec<u32> {
            let output = run(*simd, &case.net, &tensors, &input, &context);
            output.into_iter().map(f32::to_bits).collect()
        };
        let first = bits(&levels[0]);
        assert!(levels.iter().all(|l| bits(l) == first), "{}", case.name);
    }
    for case in cases::flows() {
        let tensors = case.tensors();
        let (point, context) = case.item(1);
        for direction in [Direction::Normalise, Direction::Generate] {
            let bits = |simd: &Simd| -> Vec<u64> {
                let (values, log_det) =
                    run_flow(*simd, &case.flow, &tensors, direction, &point, &context);
                values
                    .into_iter()
                    .chain([log_det])
                    .map(f64::to_bits)
                    .collect()
            };
            let first = bits(&levels[0]);
            assert!(
                levels.iter().all(|l| bits(l) == first),
                "{} {direction:?}",
                case.name
            );
        }
    }
}

/// An engine with a wrong epsilon or one wrong weight of many does not pass, so the tolerance is
/// sharp enough to see what goes wrong in practice.
#[test]
fn a_wrong_epsilon_or_weight_does_not_pass() {
    let simd = Simd::detect();
    let report = parity::judge_goldens(NETS, &mut |net, tensors, input, context| {
        let mut wrong = net.clone();
        for layer in &mut wrong.layers {
            if let Layer::GroupNorm { epsilon, .. } = layer {
                *epsilon *= 1.5;
            }
        }
        widen(run(simd, &wrong, tensors, input, context))
    });
    let named = report
        .failures
        .iter()
        .any(|f| f.starts_with("encoder, layer 5: "));
    assert!(named, "a wrong epsilon: {:?}", report.failures);

    for golden in goldens::nets() {
        let mut tensors = golden.tensors.clone();
        let (name, (_, values)) = tensors.iter_mut().next().expect("a tensor");
        let name = name.clone();
        values[0] += 1e-4;
        let item = &golden.items[0];
        let found = widen(run(simd, &golden.net, &tensors, &item.input, &item.context));
        let right = &item.trace.last().expect("layers").1;
        let error = galgen_tests::compare::relative_error(&found, right);
        assert!(
            error > NETS,
            "{}: {name} + 1e-4 moves the output by {error:e}",
            golden.name
        );
    }
}
