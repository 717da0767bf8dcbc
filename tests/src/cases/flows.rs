//! The flows.

use super::models::flow_vae_flow;
use super::{FlowCase, act};
use galgen_core::math::act::Act;
use galgen_core::math::spline::{Knots, SplineSpec};
use galgen_core::spec::{
    Base, Continuous, Degrees, Direction, ElementMap, Factors, Flow, Layer, Made, Net, Scale,
    Shape, Solver, Trace, Transform, Velocity,
};

/// The flows.
pub fn flows() -> Vec<FlowCase> {
    let case = |(seed, (name, dim, context, transforms)): (usize, (_, _, _, _))| FlowCase {
        name,
        flow: Flow::vector(dim, context, transforms),
        seed: seed as u64 + 101,
    };
    let affine = ElementMap::Affine { bound: 2.0 };
    let spline = |bins, bound| ElementMap::Spline(SplineSpec::new(bins, bound));
    let soft_spline = ElementMap::Spline(SplineSpec {
        knots: Knots::SoftClipped,
        ..SplineSpec::new(6, 3.0)
    });
    let mixture = ElementMap::LogisticMixture { components: 3 };
    let [tanh, soft_clip] = [Scale::Tanh { bound: 1.5 }, Scale::SoftClip { bound: 6.9 }];
    let sigmoid = |floor| Scale::Sigmoid { floor };
    let blocks = |dim: u32, keep, context, n, map: ElementMap| -> Vec<Transform> {
        let order: Vec<u32> = (0..dim).map(|i| (i + dim / 2) % dim).collect();
        let block = [
            coupling(dim as usize, keep, context, map),
            Transform::Permutation(order),
        ];
        std::iter::repeat_n(block, n).flatten().collect()
    };
    let table: Vec<(&'static str, usize, usize, Vec<Transform>)> = vec![
        ("no transforms", 3, 0, vec![]),
        ("diagonal", 5, 0, vec![Transform::Diagonal]),
        (
            "permutation",
            6,
            0,
            vec![Transform::Permutation(vec![3, 5, 0, 1, 4, 2])],
        ),
        ("affine couplings", 6, 0, blocks(6, 3, 0, 4, affine)),
        (
            "affine coupling that keeps one",
            5,
            2,
            vec![coupling(5, 1, 2, affine)],
        ),
        (
            "spline coupling that keeps all but one",
            4,
            1,
            vec![coupling(4, 3, 1, spline(8, 3.0))],
        ),
        ("two bins", 2, 0, blocks(2, 1, 0, 2, spline(2, 5.0))),
        (
            "as many bins as may be",
            3,
            0,
            vec![coupling(3, 1, 0, spline(32, 4.0))],
        ),
        (
            "conditional spline flow",
            16,
            2,
            [
                vec![Transform::Diagonal],
                blocks(16, 8, 2, 3, spline(8, 5.0)),
                vec![Transform::Diagonal],
            ]
            .concat(),
        ),
        (
            "additive couplings",
            5,
            0,
            blocks(5, 2, 0, 2, ElementMap::Additive),
        ),
        (
            "scale, then shift",
            5,
            1,
            [
                coupling(5, 2, 1, ElementMap::ScaleShift(tanh)),
                coupling(5, 3, 1, ElementMap::ScaleShift(soft_clip)),
                coupling(5, 2, 1, ElementMap::ScaleShift(sigmoid(1e-3))),
            ]
            .to_vec(),
        ),
        (
            "shift, then scale",
            4,
            0,
            blocks(4, 2, 0, 2, ElementMap::ShiftScale(sigmoid(0.0))),
        ),
        (
            "soft-clipped spline",
            4,
            1,
            vec![coupling(4, 2, 1, soft_spline)],
        ),
        ("logistic mixture", 4, 0, vec![coupling(4, 2, 0, mixture)]),
        (
            "masked autoregressive",
            5,
            2,
            vec![
                autoregressive(5, 2, affine, Direction::Normalise, vec![]),
                autoregressive(
                    5,
                    2,
                    spline(4, 3.0),
                    Direction::Normalise,
                    vec![3, 1, 4, 0, 2],
                ),
            ],
        ),
        (
            "inverse autoregressive",
            4,
            0,
            vec![autoregressive(
                4,
                0,
                ElementMap::ScaleShift(soft_clip),
                Direction::Generate,
                vec![],
            )],
        ),
        ("masked residual net", 4, 1, vec![masked_residual()]),
        (
            "matrices",
            5,
            0,
            vec![
                Transform::Linear(Factors::Dense),
                Transform::Linear(Factors::Lu {
                    order: vec![1, 4, 0, 2, 3],
                }),
            ],
        ),
        (
            "leaky",
            6,
            0,
            vec![Transform::LeakyRelu, Transform::Diagonal],
        ),
        (
            "logit",
            3,
            0,
            vec![Transform::Logit { alpha: 0.05 }, Transform::Diagonal],
        ),
        ("planar", 4, 0, vec![Transform::Planar, Transform::Planar]),
    ];
    let mut flows: Vec<FlowCase> = table.into_iter().enumerate().map(case).collect();
    flows.push(multi_scale());
    flows.push(FlowCase {
        name: "flow-VAE",
        flow: flow_vae_flow(),
        seed: 203,
    });
    flows
}

fn coupling(dim: usize, keep: usize, context: usize, map: ElementMap) -> Transform {
    let mut layers = vec![
        Layer::linear(24),
        act(Act::Silu),
        Layer::residual(vec![Layer::linear(24), act(Act::Silu)]),
        Layer::linear((dim - keep) * map.parameters()),
        // Without it a few random couplings in a row magnify a rounding by 1e12, in any arithmetic.
        Layer::Scale(0.3),
    ];
    if context > 0 {
        layers.insert(0, Layer::AppendContext);
    }
    Transform::Coupling {
        keep,
        net: Net {
            input: Shape::Vector(keep),
            context,
            layers,
        },
        map,
    }
}

fn autoregressive(
    dim: usize,
    context: usize,
    map: ElementMap,
    one_pass: Direction,
    order: Vec<u32>,
) -> Transform {
    let made = Made {
        elements: dim,
        context,
        hidden: &[15, 11],
        activation: Act::Tanh,
        parameters: map.parameters(),
        order: &order,
    };
    let mut net = made.net();
    net.layers.push(Layer::Scale(0.5));
    Transform::Autoregressive {
        net,
        map,
        one_pass,
        order,
    }
}

/// As nflows builds it: a residual block of masked layers, which no incremental evaluation knows.
fn masked_residual() -> Transform {
    let masked = |input: Vec<u32>, output: Vec<u32>| Layer::Linear {
        outputs: output.len(),
        degrees: Some(Degrees { input, output }),
    };
    let hidden: Vec<u32> = (0..9).map(|k| k % 3 + 1).collect();
    let block = vec![
        act(Act::Relu),
        masked(hidden.clone(), hidden.clone()),
        act(Act::Relu),
        masked(hidden.clone(), hidden.clone()),
    ];
    let layers = vec![
        Layer::AppendContext,
        masked(vec![1, 2, 3, 4, 0], hidden.clone()),
        Layer::residual(block),
        masked(hidden, vec![0, 0, 1, 1, 2, 2, 3, 3]),
    ];
    Transform::Autoregressive {
        net: Net {
            input: Shape::Vector(4),
            context: 1,
            layers,
        },
        map: ElementMap::ScaleShift(Scale::Softplus { floor: 1e-3 }),
        one_pass: Direction::Normalise,
        order: vec![],
    }
}

/// RealNVP and Glow on two small bands: every transform of maps, two scales, a learned prior of what is split off.
fn multi_scale() -> FlowCase {
    let net = |channels: usize, outputs: usize, side: usize| Net {
        input: Shape::square(channels, side),
        context: 1,
        layers: vec![
            Layer::AppendContext,
            Layer::conv(6, 3, 1),
            act(Act::Relu),
            Layer::conv(outputs, 3, 1),
            Layer::Scale(0.3),
        ],
    };
    let tanh = ElementMap::Affine { bound: 2.0 };
    let sigmoid = ElementMap::ShiftScale(Scale::Sigmoid { floor: 0.0 });
    let spline = ElementMap::Spline(SplineSpec::new(3, 3.0));
    let checkerboard = |odd, map: ElementMap| Transform::Checkerboard {
        odd,
        net: net(2, 2 * map.parameters(), 4),
        map,
    };
    let channels = |n: usize, keep: usize, map: ElementMap| Transform::Coupling {
        keep,
        net: net(keep, (n - keep) * map.parameters(), 2),
        map,
    };
    let transforms = vec![
        Transform::Logit { alpha: 0.05 },
        checkerboard(false, tanh),
        checkerboard(true, spline),
        Transform::Squeeze,
        Transform::Diagonal,
        Transform::Linear(Factors::Lu {
            order: vec![7, 2, 4, 0, 1, 3, 6, 5],
        }),
        channels(8, 3, sigmoid),
        Transform::Permutation(vec![4, 5, 6, 7, 0, 1, 2, 3]),
        channels(8, 4, tanh),
        Transform::Split { keep: 4 },
        Transform::Linear(Factors::Dense),
        Transform::LeakyRelu,
        channels(4, 1, spline),
        Transform::Squeeze,
        Transform::Diagonal,
    ];
    FlowCase {
        name: "multi-scale image flow",
        flow: Flow {
            shape: Shape::square(2, 4),
            base: Base::Normal,
            context: 1,
            transforms,
        },
        seed: 204,
    }
}

/// Continuous flows. They are judged apart: a solver is as exact as its tolerance.
pub fn continuous_flows() -> Vec<FlowCase> {
    let solver = Solver {
        relative: 1e-9,
        absolute: 1e-9,
        max_steps: 2000,
    };
    let case = |name, seed, dim, context, velocity, frequencies| FlowCase {
        name,
        flow: Flow::vector(
            dim,
            context,
            vec![Transform::Continuous(Continuous {
                velocity,
                frequencies,
                trace: Trace::Exact,
                solver,
            })],
        ),
        seed,
    };
    let gated = vec![
        Layer::AppendContext,
        Layer::Concat(vec![vec![Layer::linear(9)], vec![Layer::linear(9)]]),
        Layer::Gate,
        act(Act::Softplus),
        Layer::residual(vec![Layer::linear(9), act(Act::Tanh)]),
        Layer::linear(3),
    ];
    let net = |dim, context, layers| Net {
        input: Shape::Vector(dim),
        context,
        layers,
    };
    let free = Velocity::Net(net(3, 2, gated));
    let smooth = vec![
        Layer::AppendContext,
        Layer::linear(16),
        act(Act::Softplus),
        Layer::linear(2),
    ];
    let waves = Velocity::Net(net(2, 6, smooth));
    let planar = Velocity::Planar {
        width: 4,
        net: net(
            1,
            1,
            vec![
                Layer::AppendContext,
                Layer::linear(8),
                act(Act::Tanh),
                Layer::linear(4 * 7),
            ],
        ),
    };
    vec![
        case("free-form field", 301, 3, 1, free, 0),
        case("time as waves", 302, 2, 0, waves, 3),
        case("planar field", 303, 3, 1, planar, 0),
    ]
}

/// Continuous flows whose trace is estimated, one of more dimensions than an exact one may have, and two fields in a row.
pub fn estimated_flows() -> Vec<FlowCase> {
    let solver = Solver {
        relative: 1e-9,
        absolute: 1e-9,
        max_steps: 2000,
    };
    let field = |dim: usize, hidden: usize| {
        let layers = vec![
            Layer::AppendContext,
            Layer::linear(hidden),
            act(Act::Tanh),
            Layer::residual(vec![Layer::linear(hidden), act(Act::Softplus)]),
            Layer::linear(dim),
        ];
        Transform::Continuous(Continuous {
            velocity: Velocity::Net(Net {
                input: Shape::Vector(dim),
                context: 2,
                layers,
            }),
            frequencies: 0,
            trace: Trace::Hutchinson,
            solver,
        })
    };
    let case = |name, seed, dim, transforms| FlowCase {
        name,
        flow: Flow::vector(dim, 1, transforms),
        seed,
    };
    vec![
        case("estimated trace", 311, 3, vec![field(3, 9)]),
        case("many dimensions", 312, 70, vec![field(70, 12)]),
        case("two fields", 313, 4, vec![field(4, 7), field(4, 8)]),
    ]
}
