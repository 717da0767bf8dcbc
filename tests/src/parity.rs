//! Judges a lowering of the spec, whichever engine made it: every case and every golden, after every
//! layer and every transform.
//!
//! A lowering need not show what is inside: the judge cuts the net after each layer, nested ones
//! included, and asks for the output of the piece. That also makes the lowering meet each layer with
//! other neighbours than in the whole, so that a mistake in a fusion shows.

use crate::compare::{Trace, relative_error, relative_error_above};
use crate::referee::Referee;
use crate::tensors::Tensors;
use crate::{cases, goldens};
use galgen_core::math::act::Act;
use galgen_core::spec::{Direction, Flow, Layer, Net, Transform};

/// A net that computes what stands after one layer of another net.
pub struct Piece {
    /// Path of that layer in the whole net, as in a trace.
    pub path: String,
    /// The layers on the way to it, one after the other.
    pub net: Net,
    /// The tensors of the piece under the prefix `net`.
    pub tensors: Tensors,
}

/// The pieces of `net`, whose tensors stand under the prefix `net`, in the order of a trace. A branch
/// of a composite applies to the input of the composite, so the way to any layer is a plain sequence.
pub fn pieces(net: &Net, tensors: &Tensors) -> Vec<Piece> {
    let mut ways = Vec::new();
    walk(&net.layers, "", &mut Vec::new(), &mut ways);
    let make = |way: Vec<(String, Layer)>| {
        let mut own = Tensors::new();
        for (i, (path, _)) in way.iter().enumerate() {
            rename(
                tensors,
                &format!("net.{path}."),
                &format!("net.{i}."),
                &mut own,
            );
        }
        let path = way.last().map(|(path, _)| path.clone()).unwrap_or_default();
        let layers = way.into_iter().map(|(_, layer)| layer).collect();
        Piece {
            path,
            net: Net {
                layers,
                ..net.clone()
            },
            tensors: own,
        }
    };
    ways.into_iter().map(make).collect()
}

type Way = Vec<(String, Layer)>;

fn walk(layers: &[Layer], stem: &str, way: &mut Way, ways: &mut Vec<Way>) {
    let start = way.len();
    for (i, layer) in layers.iter().enumerate() {
        let path = format!("{stem}{i}");
        if let Layer::Sum(branches) | Layer::Concat(branches) = layer {
            for (j, branch) in branches.iter().enumerate() {
                walk(branch, &format!("{path}.{j}."), way, ways);
            }
        }
        way.push((path, layer.clone()));
        ways.push(way.clone());
    }
    way.truncate(start);
}

fn rename(tensors: &Tensors, from: &str, to: &str, out: &mut Tensors) {
    for (name, tensor) in tensors {
        if let Some(rest) = name.strip_prefix(from) {
            out.insert(format!("{to}{rest}"), tensor.clone());
        }
    }
}

/// Whether the layers only move numbers, so that the output must be exact.
fn moves_only(layers: &[Layer]) -> bool {
    layers.iter().all(|layer| match layer {
        Layer::UpsampleNearest { .. }
        | Layer::Reshape(_)
        | Layer::AppendContext
        | Layer::AppendOnes
        | Layer::Shift { .. }
        | Layer::Slice { .. }
        | Layer::Activation(Act::Relu) => true,
        Layer::Concat(branches) => branches.iter().all(|branch| moves_only(branch)),
        Layer::Sum(branches) => branches.len() == 1 && moves_only(&branches[0]),
        Layer::Linear { .. }
        | Layer::Conv2d { .. }
        | Layer::ConvTranspose2d { .. }
        | Layer::DepthwiseConv2d { .. }
        | Layer::Activation(_)
        | Layer::Scale(_)
        | Layer::GroupNorm { .. }
        | Layer::LayerNorm { .. }
        | Layer::Gate
        | Layer::ConcatElu
        | Layer::BipolarElu => false,
    })
}

/// What a judgement found.
#[derive(Default)]
pub struct Report {
    /// Where the tolerance was exceeded: case, layer, error.
    pub failures: Vec<String>,
    /// Largest relative error of all comparisons.
    pub worst: f64,
    /// The case and layer of `worst`.
    pub worst_at: String,
    /// Number of comparisons.
    pub compared: usize,
}

impl Report {
    fn note(&mut self, at: String, error: f64, tolerance: f64) {
        self.compared += 1;
        if error > tolerance {
            self.failures
                .push(format!("{at}: error {error:.2e} > {tolerance:.0e}"));
        }
        if error > self.worst {
            self.worst = error;
            self.worst_at = at;
        }
    }

    /// Panics with the first failures, and also if `tolerance` is more than `slack` times what was
    /// needed: such a tolerance judges nothing.
    pub fn verdict(&self, what: &str, tolerance: f64, slack: f64) {
        println!(
            "{what}: {} comparisons, worst {:.1e} at {}, tolerance {tolerance:.0e}",
            self.compared, self.worst, self.worst_at
        );
        let first: Vec<&String> = self.failures.iter().take(8).collect();
        assert!(
            first.is_empty(),
            "{what}: {} failures, first {first:#?}",
            self.failures.len()
        );
        assert!(
            self.worst * slack > tolerance,
            "{what}: tolerance {tolerance:e} is too loose"
        );
    }
}

/// Computes (net, its tensors under `net`, input, context) to the output.
pub type NetEngine<'a> = dyn FnMut(&Net, &Tensors, &[f64], &[f64]) -> Vec<f64> + 'a;

/// Judges `engine` on the table of cases against the referee, after every layer.
pub fn judge_cases(tolerance: f64, engine: &mut NetEngine) -> Report {
    let mut judge = NetJudge::new(tolerance, engine);
    for case in cases::nets() {
        let tensors = case.tensors();
        let referee = Referee::new(tensors.clone());
        let subject = Subject {
            name: case.name,
            net: &case.net,
            tensors: &tensors,
        };
        for i in 0..3 {
            let (input, context) = case.item(i);
            let trace = referee.trace(&case.net, "net", &input, &context);
            let expected = trace.last().map_or(&input, |(_, value)| value);
            judge.whole(&subject, &input, &context, expected);
            if i == 0 {
                judge.pieces(&subject, &input, &context, &trace);
            }
        }
    }
    judge.report
}

/// Judges `engine` on the goldens, after every layer.
pub fn judge_goldens(tolerance: f64, engine: &mut NetEngine) -> Report {
    let mut judge = NetJudge::new(tolerance, engine);
    for golden in goldens::nets() {
        let (name, net, tensors) = (&*golden.name, &golden.net, &golden.tensors);
        for item in &golden.items {
            let subject = Subject { name, net, tensors };
            judge.pieces(&subject, &item.input, &item.context, &item.trace);
        }
    }
    judge.report
}

/// Judges `engine` on the nets of the families' presets, in their real sizes, after every layer.
pub fn judge_models(tolerance: f64, engine: &mut NetEngine) -> Report {
    let mut judge = NetJudge::new(tolerance, engine);
    for case in cases::models() {
        let tensors = case.tensors();
        let (input, context) = case.item(0);
        let trace = Referee::new(tensors.clone()).trace(&case.net, "net", &input, &context);
        let subject = Subject {
            name: case.name,
            net: &case.net,
            tensors: &tensors,
        };
        judge.pieces(&subject, &input, &context, &trace);
    }
    judge.report
}

/// Judges `engine` on `count` random nets, after every layer. Errors are relative to 1 where all values
/// are smaller: a layer of one number cancels by chance in one net of a thousand.
pub fn judge_random_nets(count: u64, tolerance: f64, engine: &mut NetEngine) -> Report {
    let mut judge = NetJudge {
        floor: 1.0,
        ..NetJudge::new(tolerance, engine)
    };
    for seed in 0..count {
        let case = cases::random_net(seed);
        let tensors = case.tensors();
        let (input, context) = case.item(0);
        let trace = Referee::new(tensors.clone()).trace(&case.net, "net", &input, &context);
        let name = &format!("cases::random_net({seed})");
        let subject = Subject {
            name,
            net: &case.net,
            tensors: &tensors,
        };
        judge.pieces(&subject, &input, &context, &trace);
    }
    judge.report
}

struct Subject<'a> {
    name: &'a str,
    net: &'a Net,
    tensors: &'a Tensors,
}

struct NetJudge<'a, 'b> {
    tolerance: f64,
    engine: &'a mut NetEngine<'b>,
    floor: f64,
    report: Report,
}

impl<'a, 'b> NetJudge<'a, 'b> {
    fn new(tolerance: f64, engine: &'a mut NetEngine<'b>) -> Self {
        NetJudge {
            tolerance,
            engine,
            floor: f64::MIN_POSITIVE,
            report: Report::default(),
        }
    }

    fn whole(&mut self, subject: &Subject, input: &[f64], context: &[f64], expected: &[f64]) {
        let found = (self.engine)(subject.net, subject.tensors, input, context);
        let error = relative_error_above(self.floor, &found, expected);
        let tolerance = self.tolerance_of(subject.net);
        self.report
            .note(format!("{}, whole", subject.name), error, tolerance);
    }

    fn pieces(&mut self, subject: &Subject, input: &[f64], context: &[f64], trace: &Trace) {
        for (piece, (path, expected)) in pieces(subject.net, subject.tensors).iter().zip(trace) {
            assert_eq!(&piece.path, path);
            let found = (self.engine)(&piece.net, &piece.tensors, input, context);
            let at = format!("{}, layer {path}", subject.name);
            let error = relative_error_above(self.floor, &found, expected);
            self.report.note(at, error, self.tolerance_of(&piece.net));
        }
    }

    fn tolerance_of(&self, net: &Net) -> f64 {
        if moves_only(&net.layers) {
            0.0
        } else {
            self.tolerance
        }
    }
}

/// Computes (flow, its tensors under `flow`, direction, values, context) to (values, ln |det|).
pub type FlowEngine<'a> =
    dyn FnMut(&Flow, &Tensors, Direction, &[f64], &[f64]) -> (Vec<f64>, f64) + 'a;

/// Tolerances for the values of a flow, relative, and for ln |det|, in nats a dimension.
#[derive(Clone, Copy)]
pub struct FlowTolerance {
    /// Relative error of the values.
    pub values: f64,
    /// Error of ln |det| divided by the number of dimensions.
    pub log_det: f64,
}

/// Judges `engine` on the flow cases and the golden flows in both directions, after every transform:
/// (report of the values, report of ln |det|).
pub fn judge_flows(tolerance: FlowTolerance, engine: &mut FlowEngine) -> (Report, Report) {
    let (values, log_det) = Default::default();
    let mut judge = FlowJudge {
        tolerance,
        engine,
        values,
        log_det,
    };
    for case in cases::flows() {
        let tensors = case.tensors();
        let referee = Referee::new(tensors.clone());
        for i in 0..5 {
            let (point, context) = case.item(i);
            for direction in [Direction::Normalise, Direction::Generate] {
                let trace = referee.flow_trace(&case.flow, "flow", direction, &point, &context);
                let run = Run {
                    name: case.name,
                    direction,
                    point: &point,
                    context: &context,
                };
                judge.steps(&case.flow, &tensors, &run, &trace);
            }
        }
    }
    for golden in goldens::flows() {
        let mut tensors = Tensors::new();
        rename(&golden.tensors, "net.", "flow.", &mut tensors);
        for item in &golden.items {
            for (direction, point, trace) in [
                (Direction::Normalise, &item.x, &item.normalise),
                (Direction::Generate, &item.z, &item.generate),
            ] {
                let name = &format!("golden {}", golden.name);
                let run = Run {
                    name,
                    direction,
                    point,
                    context: &item.context,
                };
                judge.steps(&golden.flow, &tensors, &run, trace);
            }
        }
    }
    (judge.values, judge.log_det)
}

struct Run<'a> {
    name: &'a str,
    direction: Direction,
    point: &'a [f64],
    context: &'a [f64],
}

struct FlowJudge<'a, 'b> {
    tolerance: FlowTolerance,
    engine: &'a mut FlowEngine<'b>,
    values: Report,
    log_det: Report,
}

impl FlowJudge<'_, '_> {
    fn steps(&mut self, flow: &Flow, tensors: &Tensors, run: &Run, trace: &Trace) {
        let mut log_det = 0.0;
        for k in 0..=flow.transforms.len() {
            let (piece, own) = partial(flow, tensors, run.direction, k);
            // What has been split off before the piece is none of its business.
            let dim = piece.dim();
            let (found, found_log_det) =
                (self.engine)(&piece, &own, run.direction, &run.point[..dim], run.context);
            let expected = match k.checked_sub(1) {
                None => &run.point[..dim],
                Some(last) => {
                    log_det += trace[last].1[flow.dim()];
                    &trace[last].1[..dim]
                }
            };
            let moves = piece.transforms.iter().all(|t| {
                matches!(
                    t,
                    Transform::Permutation(_) | Transform::Squeeze | Transform::Split { .. }
                )
            });
            let bound = |bound: f64| if moves { 0.0 } else { bound };
            let at = format!("{}, {:?}, after {k} transforms", run.name, run.direction);
            let error = relative_error(&found, expected);
            self.values
                .note(at.clone(), error, bound(self.tolerance.values));
            let error = (found_log_det - log_det).abs() / flow.dim() as f64;
            let error = if error.is_nan() { f64::INFINITY } else { error };
            self.log_det.note(at, error, bound(self.tolerance.log_det));
        }
    }
}

/// The flow of the first `k` transforms that `direction` applies.
fn partial(flow: &Flow, tensors: &Tensors, direction: Direction, k: usize) -> (Flow, Tensors) {
    let n = flow.transforms.len();
    let kept = match direction {
        Direction::Normalise => 0..k,
        Direction::Generate => n - k..n,
    };
    let shape = flow.check().expect("a checked flow")[kept.start];
    let mut own = Tensors::new();
    for (new, old) in kept.clone().enumerate() {
        rename(
            tensors,
            &format!("flow.{old}."),
            &format!("flow.{new}."),
            &mut own,
        );
    }
    (
        Flow {
            shape,
            transforms: flow.transforms[kept].to_vec(),
            ..flow.clone()
        },
        own,
    )
}
