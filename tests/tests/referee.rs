//! The referee on its own: what it must satisfy before it may judge, and that the table of cases is
//! complete.

use galgen_core::math::act::Act;
use galgen_core::spec::{Direction, ElementMap, Factors, Layer, Net, Shape, Transform};
use galgen_tests::compare::{first_difference, relative_error};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{Tensors, read_safetensors, write_safetensors};
use galgen_tests::{cases, parity};
use std::collections::BTreeSet;

/// Names without a wildcard: a new variant does not compile until it is listed, and then fails until
/// a case uses it.
fn layer_name(layer: &Layer) -> &'static str {
    match layer {
        Layer::Linear { degrees: None, .. } => "linear",
        Layer::Linear {
            degrees: Some(_), ..
        } => "masked linear",
        Layer::Conv2d { mask: None, .. } => "convolution",
        Layer::Conv2d { mask: Some(_), .. } => "masked convolution",
        Layer::ConvTranspose2d { .. } => "transposed convolution",
        Layer::DepthwiseConv2d { .. } => "depthwise convolution",
        Layer::UpsampleNearest { .. } => "upsampling",
        Layer::Activation(act) => match act {
            Act::Relu => "relu",
            Act::LeakyRelu { .. } => "leaky relu",
            Act::Elu => "elu",
            Act::Silu => "silu",
            Act::Tanh => "tanh",
            Act::Sigmoid => "sigmoid",
            Act::Softplus => "softplus",
            Act::Asinh => "asinh",
        },
        Layer::Scale(_) => "scale",
        Layer::GroupNorm { .. } => "group norm",
        Layer::LayerNorm { .. } => "layer norm",
        Layer::Gate => "gate",
        Layer::Reshape(_) => "reshape",
        Layer::AppendContext => "context",
        Layer::ConcatElu => "concat-elu",
        Layer::BipolarElu => "bipolar elu",
        Layer::AppendOnes => "ones",
        Layer::Shift { .. } => "shift",
        Layer::Slice { .. } => "slice",
        Layer::Sum(_) => "sum",
        Layer::Concat(_) => "concat",
    }
}

const LAYERS: usize = 28;

fn transform_name(transform: &Transform) -> &'static str {
    match transform {
        Transform::Diagonal => "diagonal",
        Transform::Permutation(_) => "permutation",
        Transform::Coupling { map, .. } => match map {
            ElementMap::Affine { .. } => "affine coupling",
            ElementMap::Additive => "additive coupling",
            ElementMap::ScaleShift(_) => "coupling that scales, then shifts",
            ElementMap::ShiftScale(_) => "coupling that shifts, then scales",
            ElementMap::Spline(_) => "spline coupling",
            ElementMap::LogisticMixture { .. } => "mixture coupling",
        },
        Transform::Checkerboard { .. } => "checkerboard",
        Transform::Autoregressive { one_pass, .. } => match one_pass {
            Direction::Normalise => "masked autoregressive",
            Direction::Generate => "inverse autoregressive",
        },
        Transform::Linear(Factors::Dense) => "dense matrix",
        Transform::Linear(Factors::Lu { .. }) => "factors of a matrix",
        Transform::LeakyRelu => "leaky",
        Transform::Logit { .. } => "logit",
        Transform::Squeeze => "squeeze",
        Transform::Split { .. } => "split",
        Transform::Planar => "planar",
        Transform::Continuous(_) => "continuous",
    }
}

const TRANSFORMS: usize = 19;

fn collect(layers: &[Layer], names: &mut BTreeSet<&'static str>) {
    for layer in layers {
        names.insert(layer_name(layer));
        if let Layer::Sum(branches) | Layer::Concat(branches) = layer {
            branches.iter().for_each(|branch| collect(branch, names));
        }
    }
}

#[test]
fn the_cases_use_every_layer_and_every_transform() {
    let mut layers = BTreeSet::new();
    cases::nets()
        .iter()
        .for_each(|case| collect(&case.net.layers, &mut layers));
    assert_eq!(layers.len(), LAYERS, "{layers:?}");
    let flows = [cases::flows(), cases::continuous_flows()].concat();
    let transforms: BTreeSet<_> = flows
        .iter()
        .flat_map(|c| c.flow.transforms.iter().map(transform_name))
        .collect();
    assert_eq!(transforms.len(), TRANSFORMS, "{transforms:?}");
}

#[test]
fn shapes_are_those_that_the_spec_promises() {
    for case in cases::nets() {
        let (input, context) = case.item(0);
        let output = Referee::new(case.tensors()).run(&case.net, "net", &input, &context);
        assert_eq!(
            output.len(),
            case.net.output().unwrap().len(),
            "{}",
            case.name
        );
        assert!(output.iter().all(|v| v.is_finite()), "{}", case.name);
    }
}

/// Generate undoes normalise, and the two log-determinants cancel. 1e-9: a bin of slope 1e-3
/// magnifies the rounding of its knots, 1e-15, a thousandfold in each of up to seven couplings.
#[test]
fn flows_are_undone_in_either_direction() {
    for case in cases::flows() {
        let referee = Referee::new(case.tensors());
        for i in 0..20 {
            let (x, context) = case.item(i);
            let apply =
                |direction, v: &[f64]| referee.flow(&case.flow, "flow", direction, v, &context);
            let (z, forward) = apply(Direction::Normalise, &x);
            let (back, backward) = apply(Direction::Generate, &z);
            assert!(
                relative_error(&back, &x) < 1e-9,
                "{}: {back:?} for {x:?}",
                case.name
            );
            assert!(
                (forward + backward).abs() < 1e-8,
                "{}: {forward} {backward}",
                case.name
            );
        }
    }
}

/// ln |det| against the determinant of central differences. Steps of 1e-6 and values of order one
/// leave about 1e-9 an element of the Jacobian; a knot inside a step adds curvature, up to 1e-5.
#[test]
fn log_determinants_are_those_of_the_numeric_jacobian() {
    for case in [cases::flows(), cases::continuous_flows()].concat() {
        let referee = Referee::new(case.tensors());
        let (x, context) = case.item(3);
        for direction in [Direction::Normalise, Direction::Generate] {
            let map = |v: &[f64]| referee.flow(&case.flow, "flow", direction, v, &context).0;
            let (_, log_det) = referee.flow(&case.flow, "flow", direction, &x, &context);
            let numeric = log_abs_det(jacobian(map, &x, 1e-6));
            assert!(
                (numeric - log_det).abs() < 1e-5,
                "{} {direction:?}: {log_det}, numerically {numeric}",
                case.name
            );
        }
    }
}

fn jacobian(map: impl Fn(&[f64]) -> Vec<f64>, x: &[f64], step: f64) -> Vec<Vec<f64>> {
    let moved = |i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        map(&x)
    };
    let column = |i| {
        let (right, left) = (moved(i, step), moved(i, -step));
        right
            .iter()
            .zip(left)
            .map(|(r, l)| (r - l) / (2.0 * step))
            .collect()
    };
    (0..x.len()).map(column).collect()
}

/// ln |det| by Gaussian elimination with pivoting.
fn log_abs_det(mut m: Vec<Vec<f64>>) -> f64 {
    let mut sum = 0.0;
    for i in 0..m.len() {
        let pivot = (i..m.len())
            .max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))
            .unwrap();
        m.swap(i, pivot);
        sum += m[i][i].abs().ln();
        let (done, rest) = m.split_at_mut(i + 1);
        for row in rest {
            let factor = row[i] / done[i][i];
            row.iter_mut()
                .zip(&done[i])
                .for_each(|(v, p)| *v -= factor * p);
        }
    }
    sum
}

#[test]
fn tensors_come_back_from_safetensors() {
    let tensors = cases::nets()[3].tensors();
    let bytes = write_safetensors(&tensors, &[("galgen", "{\"a\": \"b\"}")]);
    let (back, metadata) = read_safetensors(&bytes);
    assert_eq!(back, tensors);
    assert_eq!(metadata["galgen"], "{\"a\": \"b\"}");
}

fn one_norm(epsilon: f32) -> Net {
    let layers = vec![
        Layer::linear(6),
        Layer::GroupNorm { groups: 2, epsilon },
        Layer::Gate,
    ];
    Net {
        input: Shape::Vector(4),
        context: 0,
        layers,
    }
}

/// The judge can find against the accused: a wrong epsilon, a wrong weight and a missing mask are
/// each seen, at the layer where they are.
#[test]
fn a_wrong_epsilon_or_weight_is_named() {
    let net = one_norm(1e-5);
    let mut tensors: Tensors =
        galgen_tests::tensors::random_weights(&net.tensors("net").unwrap(), 9);
    let input = [0.3, -1.0, 0.8, 0.1];
    let right = Referee::new(tensors.clone()).trace(&net, "net", &input, &[]);
    assert_eq!(first_difference(&right, &right, 0.0), None);

    let wrong = Referee::new(tensors.clone()).trace(&one_norm(1e-3), "net", &input, &[]);
    let named = first_difference(&wrong, &right, 1e-6).unwrap();
    assert!(named.starts_with("layer 1: relative error"), "{named}");

    tensors.get_mut("net.0.weight").unwrap().1[7] += 1e-4;
    let wrong = Referee::new(tensors).trace(&net, "net", &input, &[]);
    let named = first_difference(&wrong, &right, 1e-6).unwrap();
    assert!(named.starts_with("layer 0: relative error"), "{named}");
    assert!(
        named.contains("element 1 "),
        "weight 7 of [6, 4] is of output 1: {named}"
    );

    let short = first_difference(&right[..2], &right, 1e-6).unwrap();
    assert_eq!(short, "layer 2 is missing");
}

/// The judge of the engines finds nothing against the referee itself, whose pieces give what its
/// traces say, and finds against an engine that is wrong in one kind of layer.
#[test]
fn the_judge_of_lowerings_acquits_the_referee_and_catches_a_wrong_engine() {
    let mut run = |net: &Net, tensors: &Tensors, input: &[f64], context: &[f64]| {
        Referee::new(tensors.clone()).run(net, "net", input, context)
    };
    let report = parity::judge_cases(0.0, &mut run);
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(report.compared > 150, "{} comparisons", report.compared);
    let report = parity::judge_goldens(1e-13, &mut run);
    assert_eq!(report.failures, Vec::<String>::new());
    let tolerance = parity::FlowTolerance {
        values: 1e-12,
        log_det: 1e-12,
    };
    let (values, log_det) =
        parity::judge_flows(tolerance, &mut |flow, tensors, direction, v, c| {
            Referee::new(tensors.clone()).flow(flow, "flow", direction, v, c)
        });
    assert_eq!((values.failures, log_det.failures), (vec![], vec![]));

    let report = parity::judge_goldens(1e-5, &mut |net, tensors, input, context| {
        let mut wrong = net.clone();
        for layer in &mut wrong.layers {
            if let Layer::GroupNorm { epsilon, .. } = layer {
                *epsilon *= 2.0;
            }
        }
        Referee::new(tensors.clone()).run(&wrong, "net", input, context)
    });
    assert!(
        report.failures[0].starts_with("decoder, layer 6: error"),
        "{}",
        report.failures[0]
    );
}
