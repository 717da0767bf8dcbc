//! Glow steps on vectors and continuous flows.

use crate::{act, referee};
use galgen_core::math::act::Act;
use galgen_core::spec::{Direction, ElementMap, Flow, Layer, Net, Shape, Transform};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{random_values, random_weights};

/// Glow or RealNVP on vectors: actnorm, a permutation where Glow has LU, an affine coupling. The
/// density of z pulled back integrates to one over the plane (midpoints, 0.1 apart).
#[test]
fn a_glow_step_is_a_density() {
    let net = Net {
        input: Shape::Vector(1),
        context: 0,
        layers: vec![Layer::linear(8), act(Act::Tanh), Layer::linear(2)],
    };
    let coupling = Transform::Coupling {
        keep: 1,
        net,
        map: ElementMap::Affine { bound: 1.0 },
    };
    let step = [
        Transform::Diagonal,
        Transform::Permutation(vec![1, 0]),
        coupling,
    ];
    let flow = Flow::vector(2, 0, [&step[..], &step].concat());
    let referee = Referee::new(random_weights(&flow.tensors("net").unwrap(), 4));
    let h = 0.1;
    let mut mass = 0.0;
    for i in -120..120 {
        for j in -120..120 {
            let x = [(f64::from(i) + 0.5) * h, (f64::from(j) + 0.5) * h];
            let (z, log_det) = referee.flow(&flow, "net", Direction::Normalise, &x, &[]);
            let square: f64 = z.iter().map(|z| z * z).sum();
            mass += (log_det - 0.5 * square).exp() / (2.0 * std::f64::consts::PI) * h * h;
        }
    }
    assert!((mass - 1.0).abs() < 1e-6, "mass {mass}");
}

/// The layer of FFJORD's published nets: (W x + b) sigmoid(g t + c) + h t, the time t being the context.
fn concat_squash(inputs: usize, outputs: usize) -> Layer {
    let time = || {
        let slice = Layer::Slice {
            start: inputs,
            len: 1,
        };
        vec![Layer::AppendContext, slice, Layer::linear(outputs)]
    };
    let gated = vec![
        Layer::Concat(vec![vec![Layer::linear(outputs)], time()]),
        Layer::Gate,
    ];
    Layer::Sum(vec![gated, time()])
}

/// FFJORD: a velocity v(x, t) with the time as context. Along a trajectory the log-determinant grows
/// by the trace of dv/dx; integrated with Runge-Kutta it is that of the whole map's Jacobian.
#[test]
fn a_continuous_flow_obeys_the_trace_formula() {
    let layers = vec![
        concat_squash(2, 16),
        act(Act::Softplus),
        concat_squash(16, 16),
        act(Act::Tanh),
        concat_squash(16, 2),
    ];
    let net = Net {
        input: Shape::Vector(2),
        context: 1,
        layers,
    };
    let referee = referee(&net, Shape::Vector(2), 5);
    let velocity = |x: [f64; 2], t: f64| {
        let v = referee.run(&net, "net", &x, &[t]);
        [v[0], v[1]]
    };
    assert_ne!(
        velocity([0.1, 0.2], 0.0),
        velocity([0.1, 0.2], 0.5),
        "time matters"
    );

    let eps = 1e-5;
    let trace = |x: [f64; 2], t: f64| {
        let diagonal = |i: usize| {
            let (mut a, mut b) = (x, x);
            a[i] += eps;
            b[i] -= eps;
            (velocity(a, t)[i] - velocity(b, t)[i]) / (2.0 * eps)
        };
        diagonal(0) + diagonal(1)
    };
    // State (x0, x1, log det), classical Runge-Kutta from 0 to 1.
    let solve = |start: [f64; 2]| {
        let mut s = [start[0], start[1], 0.0];
        let slope = |s: [f64; 3], t| {
            let x = [s[0], s[1]];
            let v = velocity(x, t);
            [v[0], v[1], trace(x, t)]
        };
        let ahead = |s: [f64; 3], k: [f64; 3], h: f64| [0, 1, 2].map(|i| s[i] + h * k[i]);
        let h = 1.0 / 32.0;
        for n in 0..32 {
            let t = f64::from(n) * h;
            let a = slope(s, t);
            let b = slope(ahead(s, a, h / 2.0), t + h / 2.0);
            let c = slope(ahead(s, b, h / 2.0), t + h / 2.0);
            let d = slope(ahead(s, c, h), t + h);
            s = [0, 1, 2].map(|i| s[i] + h / 6.0 * (a[i] + 2.0 * b[i] + 2.0 * c[i] + d[i]));
        }
        s
    };
    let x = [0.4, -0.9];
    let column = |i: usize| {
        let (mut a, mut b) = (x, x);
        a[i] += eps;
        b[i] -= eps;
        let (a, b) = (solve(a), solve(b));
        [(a[0] - b[0]) / (2.0 * eps), (a[1] - b[1]) / (2.0 * eps)]
    };
    let ([a, c], [b, d]) = (column(0), column(1));
    let (numeric, found) = ((a * d - b * c).ln(), solve(x)[2]);
    assert!(
        (numeric - found).abs() < 1e-6,
        "{found}, numerically {numeric}"
    );
    assert!(found.abs() > 0.01, "a map that changes volumes, {found}");
}

/// Planar CNF without a hypernetwork: v = sum_k u_k tanh(w_k . x + b_k), whose trace is analytic:
/// sum_k (u_k . w_k) (1 - tanh^2).
#[test]
fn a_planar_velocity_has_its_analytic_trace() {
    let layers = vec![Layer::linear(5), act(Act::Tanh), Layer::linear(3)];
    let net = Net {
        input: Shape::Vector(3),
        context: 0,
        layers,
    };
    let tensors = random_weights(&net.tensors("net").unwrap(), 6);
    let (w, u) = (
        tensors["net.0.weight"].1.clone(),
        tensors["net.2.weight"].1.clone(),
    );
    let referee = Referee::new(tensors);
    let x = random_values(3, 6);
    let hidden = &referee.trace(&net, "net", &x, &[])[1].1;
    let unit = |k: usize| (0..3).map(|i| u[i * 5 + k] * w[k * 3 + i]).sum::<f64>();
    let analytic: f64 = (0..5).map(|k| unit(k) * (1.0 - hidden[k].powi(2))).sum();
    let h = 1e-5;
    let diagonal = |i: usize| {
        let (mut a, mut b) = (x.clone(), x.clone());
        a[i] += h;
        b[i] -= h;
        (referee.run(&net, "net", &a, &[])[i] - referee.run(&net, "net", &b, &[])[i]) / (2.0 * h)
    };
    let numeric: f64 = (0..3).map(diagonal).sum();
    assert!(
        (analytic - numeric).abs() < 1e-8,
        "{analytic}, numerically {numeric}"
    );
}
