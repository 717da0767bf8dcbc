//! Gradients in f64 against central differences: of every layer and every transform with respect to
//! inputs, contexts and weights, and of the losses with respect to weights.
//!
//! The differences of nets and flows are those of the referee, so that a wrong value and its own
//! gradient cannot agree with each other.

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use common::{
    elements, geometry, parameters, random_batch, random_parameters, set_element, some_of, tensor,
    tiny_model,
};
use galgen_core::math::act::Act;
use galgen_core::spec::{Direction, Layer, Net, Shape, TraceNoise};
use galgen_tests::cases;
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{Tensors, random_values};
use galgen_train::lower::{Follow, follow, forward, normalise};
use galgen_train::models::flow_vae::{Learner, Prior};
use galgen_train::params::Parameters;

/// Error of a derivative as a fraction of the largest of its tensor, or of 0.01 where a norm makes all
/// of them 0: the differences' own, h^2 of the third derivative and the rounding 1e-16 / h.
const TOLERANCE: f64 = 2e-7;
/// Step of the differences.
const H: f64 = 1e-5;
/// Derivatives checked of each tensor.
const CHECKED: usize = 6;
/// Items in a batch: a gradient sums over them.
const ROWS: usize = 2;

/// A point at which a scalar function is differentiated: named lists of numbers.
#[derive(Clone)]
struct Point {
    tensors: Tensors,
    input: Vec<f64>,
    context: Vec<f64>,
}

impl Point {
    fn list(&mut self, name: &str) -> &mut Vec<f64> {
        match name {
            "input" => &mut self.input,
            "context" => &mut self.context,
            tensor => &mut self.tensors.get_mut(tensor).expect("a tensor").1,
        }
    }
}

/// Compares `found` (name, gradient) with differences of `function` about `point`.
fn compare(
    what: &str,
    point: &Point,
    found: &[(String, Vec<f64>)],
    function: impl Fn(&Point) -> f64,
) {
    for (name, gradient) in found {
        let scale = gradient
            .iter()
            .fold(0.0f64, |m, v| m.max(v.abs()))
            .max(0.01);
        for i in some_of(gradient.len(), CHECKED, 5) {
            let mut moved = point.clone();
            let mut at = |offset: f64| {
                let centre = point.clone().list(name)[i];
                moved.list(name)[i] = centre + offset;
                function(&moved)
            };
            let slope = (at(H) - at(-H)) / (2.0 * H);
            let error = (gradient[i] - slope).abs() / scale;
            assert!(
                error < TOLERANCE,
                "{what}: d / d {name}[{i}] is {}, differences give {slope}; error {error:.1e}",
                gradient[i]
            );
        }
    }
}

/// Gradient of `loss` with respect to the inputs and to every parameter.
fn gradients(
    loss: &Tensor,
    inputs: &[(&str, &Var)],
    parameters: &Parameters,
) -> Vec<(String, Vec<f64>)> {
    let store = loss.backward().expect("a gradient");
    let named = inputs.iter().copied().chain(parameters.iter(&[""]));
    let one = |(name, var): (&str, &Var)| {
        let zeros = || vec![0.0; var.elem_count()];
        (
            name.to_string(),
            store.get(var).map_or_else(zeros, elements),
        )
    };
    named.map(one).collect()
}

fn variable(values: &[f64], shape: &[usize]) -> Var {
    Var::from_tensor(&tensor(values, shape, DType::F64)).expect("a variable")
}

fn dot(values: &[f64], weights: &[f64]) -> f64 {
    values.iter().zip(weights).map(|(a, b)| a * b).sum()
}

#[test]
fn every_layer() {
    for case in cases::nets() {
        if case.net.layers.is_empty() {
            continue;
        }
        let net = &case.net;
        let shape = match net.input {
            Shape::Vector(n) => vec![ROWS, n],
            Shape::Map {
                channels,
                height,
                width,
            } => vec![ROWS, channels, height, width],
        };
        let point = Point {
            tensors: case.tensors(),
            input: random_values(ROWS * net.input.len(), 31 + case.seed),
            context: random_values(ROWS * net.context, 32 + case.seed),
        };
        let outputs = net.output().expect("a valid net").len();
        let weights = random_values(ROWS * outputs, 33 + case.seed);
        let parameters = parameters(&point.tensors, DType::F64);
        let x = variable(&point.input, &shape);
        let c = (net.context > 0).then(|| variable(&point.context, &[ROWS, net.context]));
        let loss = || -> Result<Tensor> {
            let y = forward(net, "net", &parameters, &x, c.as_deref())?;
            (y.flatten_all()? * tensor(&weights, &[ROWS * outputs], DType::F64))?.sum_all()
        };
        let mut inputs = vec![("input", &x)];
        inputs.extend(c.as_ref().map(|c| ("context", c)));
        let found = gradients(&loss().expect("a value"), &inputs, &parameters);
        compare(case.name, &point, &found, |p| {
            let referee = Referee::new(p.tensors.clone());
            let row = |list: &[f64], r: usize| {
                list[r * list.len() / ROWS..][..list.len() / ROWS].to_vec()
            };
            let one = |r: usize| {
                let y = referee.run(net, "net", &row(&p.input, r), &row(&p.context, r));
                dot(&y, &row(&weights, r))
            };
            (0..ROWS).map(one).sum()
        });
    }
}

#[test]
fn every_transform() {
    for case in cases::flows() {
        let flow = &case.flow;
        if flow.transforms.is_empty() {
            continue;
        }
        let (points, contexts): (Vec<_>, Vec<_>) = (0..ROWS as u64).map(|i| case.item(i)).unzip();
        let point = Point {
            tensors: case.tensors(),
            input: points.concat(),
            context: contexts.concat(),
        };
        let weights = random_values(ROWS * flow.dim(), 41 + case.seed);
        let parameters = parameters(&point.tensors, DType::F64);
        let x = variable(&point.input, &[ROWS, flow.dim()]);
        let c = (flow.context > 0).then(|| variable(&point.context, &[ROWS, flow.context]));
        let loss = || -> Result<Tensor> {
            let (z, log_det) = normalise(flow, "flow", &parameters, &x, c.as_deref())?;
            let z = (z * tensor(&weights, &[ROWS, flow.dim()], DType::F64))?.sum_all()?;
            z + (log_det.sum_all()? * 0.7)?
        };
        let mut inputs = vec![("input", &x)];
        inputs.extend(c.as_ref().map(|c| ("context", c)));
        let found = gradients(&loss().expect("a value"), &inputs, &parameters);
        compare(case.name, &point, &found, |p| {
            let referee = Referee::new(p.tensors.clone());
            let one = |r: usize| {
                let x = &p.input[r * flow.dim()..][..flow.dim()];
                let c = &p.context[r * flow.context..][..flow.context];
                let (z, log_det) = referee.flow(flow, "flow", Direction::Normalise, x, c);
                dot(&z, &weights[r * flow.dim()..]) + 0.7 * log_det
            };
            (0..ROWS).map(one).sum()
        });
    }
}

/// Through the training's own steps, whose values the parity with the referee judges: of points, log-determinants and
/// regularisers, with exact and estimated traces.
#[test]
fn continuous_flows_and_their_regularisers() {
    for case in [cases::continuous_flows(), cases::estimated_flows()].concat() {
        let flow = &case.flow;
        let (points, contexts): (Vec<_>, Vec<_>) = (0..ROWS as u64).map(|i| case.item(i)).unzip();
        let point = Point {
            tensors: case.tensors(),
            input: points.concat(),
            context: contexts.concat(),
        };
        let noise: [TraceNoise; ROWS] = std::array::from_fn(|row| TraceNoise {
            seed: 3,
            id: row as u64,
        });
        let asked = Follow {
            noise: &noise,
            regularise: true,
        };
        let weights = tensor(
            &random_values(ROWS * flow.dim(), 51 + case.seed),
            &[ROWS, flow.dim()],
            DType::F64,
        );
        let loss = |parameters: &Parameters, x: &Tensor, c: Option<&Tensor>| -> Result<Tensor> {
            let end = follow(flow, "flow", parameters, x, c, asked)?;
            let costs = end.regularisers.expect("regularisers");
            let paths = ((costs.kinetic_energy * 0.3)? + (costs.jacobian * 0.2)?)?;
            let each = ((end.log_det * 0.7)? + paths)?.sum_all()?;
            (end.z * &weights)?.sum_all()? + each
        };
        let parameters_ = parameters(&point.tensors, DType::F64);
        let x = variable(&point.input, &[ROWS, flow.dim()]);
        let c = (flow.context > 0).then(|| variable(&point.context, &[ROWS, flow.context]));
        let mut inputs = vec![("input", &x)];
        inputs.extend(c.as_ref().map(|c| ("context", c)));
        let value = loss(&parameters_, &x, c.as_deref()).expect("a value");
        let found = gradients(&value, &inputs, &parameters_);
        compare(case.name, &point, &found, |p| {
            let x = tensor(&p.input, &[ROWS, flow.dim()], DType::F64);
            let c = tensor(&p.context, &[ROWS, flow.context], DType::F64);
            let c = (flow.context > 0).then_some(&c);
            let value = loss(&parameters(&p.tensors, DType::F64), &x, c);
            value.and_then(|v| v.to_scalar()).expect("a value")
        });
    }
}

/// Slopes at 0, where formulas meet, and far out, where they overflow: (activation, slope at -90, 0, 90).
#[test]
fn activations_have_a_finite_slope_everywhere() {
    let table = [
        (Act::Relu, [0.0, 0.0, 1.0]),
        (Act::LeakyRelu { slope: 0.25 }, [0.25, 0.25, 1.0]),
        (Act::Elu, [0.0, 1.0, 1.0]),
        (Act::Silu, [0.0, 0.5, 1.0]),
        (Act::Tanh, [0.0, 1.0, 0.0]),
        (Act::Sigmoid, [0.0, 0.25, 0.0]),
        (Act::Softplus, [0.0, 0.5, 1.0]),
        (
            Act::Asinh,
            [1.0 / 90f64.hypot(1.0), 1.0, 1.0 / 90f64.hypot(1.0)],
        ),
    ];
    for (act, expected) in table {
        for dtype in [DType::F32, DType::F64] {
            let net = Net {
                input: Shape::Vector(5),
                context: 0,
                layers: vec![Layer::Activation(act)],
            };
            let points = [-90.0, 0.0, 90.0, -2e4, 2e4];
            let x = Var::from_tensor(&tensor(&points, &[1, 5], dtype)).expect("a variable");
            let none = Parameters::from_tensors([]).expect("no parameters");
            let y = forward(&net, "net", &none, &x, None).expect("a value");
            let store = y.sum_all().and_then(|y| y.backward()).expect("a gradient");
            let slopes = elements(store.get(&x).expect("a gradient"));
            assert!(
                slopes.iter().chain(&elements(&y)).all(|v| v.is_finite()),
                "{act:?} {slopes:?}"
            );
            // Asinh forms ln(|x| + sqrt(x^2 + 1)): a few roundings of f32.
            let close = slopes
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(
                close,
                "{act:?} {dtype:?}: {slopes:?}, expected {expected:?}"
            );
        }
    }
}

/// Points on a spline's border and far outside of it have a gradient too.
#[test]
fn a_flow_has_a_finite_gradient_on_the_border_of_its_splines() {
    let model = tiny_model(0);
    let parameters = random_parameters(&model, 3, DType::F64);
    for value in [5.0, -5.0, 4.999_999_999, 1e4, -1e4, 0.0] {
        let x = variable(&[value; 4], &[1, 4]);
        let (z, log_det) = normalise(&model.flow, "flow", &parameters, &x, None).expect("a value");
        let loss = (z.sum_all().and_then(|z| z + log_det.sum_all()?)).expect("a value");
        let found = gradients(&loss, &[("input", &x)], &parameters);
        assert!(
            found.iter().all(|(_, g)| g.iter().all(|v| v.is_finite())),
            "{value}"
        );
    }
}

#[test]
fn losses_of_the_flow_vae() {
    for conditions in [0, 2] {
        let model = tiny_model(conditions);
        let parameters = random_parameters(&model, 11, DType::F64);
        let batch = random_batch(3, conditions, 12, DType::F64);
        let normals = tensor(
            &random_values(3 * model.latent, 13),
            &[3, model.latent],
            DType::F64,
        );
        let z = tensor(
            &random_values(3 * model.latent, 14),
            &[3, model.latent],
            DType::F64,
        );
        let learner = Learner::new(&model, &geometry(), &parameters, DType::F64, &Device::Cpu)
            .expect("a learner");
        let elbo = |prior| -> Result<Tensor> {
            let elbo = learner.elbo(&batch, &normals, prior)?;
            elbo.reconstruction + (elbo.divergence * 0.7)?
        };
        let (alone, along) = (|| elbo(Prior::Normal), || elbo(Prior::Flow));
        let flow = || learner.flow_loss(&z, batch.context.as_ref());
        type Loss<'a> = (&'a str, &'a [&'a str], &'a dyn Fn() -> Result<Tensor>);
        let losses: [Loss; 3] = [
            ("elbo", &["encoder.", "decoder."], &alone),
            (
                "elbo of the flow",
                &["encoder.", "decoder.", "flow."],
                &along,
            ),
            ("flow loss", &["flow."], &flow),
        ];
        for (what, prefixes, loss) in losses {
            let store = loss().expect("a value").backward().expect("a gradient");
            for (name, var) in parameters.iter(prefixes) {
                let gradient = elements(
                    store
                        .get(var)
                        .unwrap_or_else(|| panic!("no gradient: {name}")),
                );
                let scale = gradient.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                assert!(scale > 0.0, "{what} does not depend on {name}");
                for i in some_of(gradient.len(), 3, 15) {
                    let centre = elements(var)[i];
                    let at = |offset: f64| -> Result<f64> {
                        set_element(&parameters, name, i, centre + offset)?;
                        loss()?.to_scalar()
                    };
                    let slope = (at(H).expect("a value") - at(-H).expect("a value")) / (2.0 * H);
                    at(0.0).expect("a value");
                    // The loss is of order 1000 nats, whose rounding over 2 h is 1e-8.
                    let error = (gradient[i] - slope).abs() / scale.max(1.0);
                    assert!(
                        error < 2e-6,
                        "{what}: d / d {name}[{i}] is {}, differences give {slope}; error {error:.1e}",
                        gradient[i]
                    );
                }
            }
        }
    }
}
