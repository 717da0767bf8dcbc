//! The flows.

use super::models::flow_vae_flow;
use super::{FlowCase, act};
use galgen_core::math::act::Act;
use galgen_core::math::spline::SplineSpec;
use galgen_core::spec::{ElementMap, Flow, Layer, Net, Shape, Transform};

/// The flows.
pub fn flows() -> Vec<FlowCase> {
    let case = |(seed, (name, dim, context, transforms)): (usize, (_, _, _, _))| FlowCase {
        name,
        flow: Flow {
            dim,
            context,
            transforms,
        },
        seed: seed as u64 + 101,
    };
    let affine = ElementMap::Affine { bound: 2.0 };
    let spline = |bins, bound| ElementMap::Spline(SplineSpec { bins, bound });
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
    ];
    let mut flows: Vec<FlowCase> = table.into_iter().enumerate().map(case).collect();
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
