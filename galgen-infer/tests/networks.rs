//! Networks of several layers against plain loops in f64: what is fused changes nothing, and the same bits on every SIMD level
//! and in every release.

mod common;

use common::{check, map, net, normals, pick, random_weights, rng, run};
use galgen_core::math::act::Act;
use galgen_core::rng::Philox;
use galgen_core::spec::{Layer, Net, Shape};
use galgen_infer::kernels::Simd;
use galgen_infer::lower::Plan;

#[test]
fn sums_and_concatenations() {
    let input = Shape::Map {
        channels: 6,
        height: 5,
        width: 9,
    };
    let act = || Layer::Activation(Act::Relu);
    let cases = [
        vec![Layer::residual(vec![
            act(),
            Layer::conv(6, 3, 1),
            act(),
            Layer::conv(6, 3, 1),
        ])],
        vec![Layer::Sum(vec![vec![], vec![]])],
        vec![
            Layer::Sum(vec![vec![act()], vec![], vec![Layer::Scale(3.0)]]),
            Layer::conv(3, 3, 1),
        ],
        vec![
            Layer::Concat(vec![
                vec![Layer::conv(5, 3, 1)],
                vec![],
                vec![Layer::AppendContext],
            ]),
            act(),
        ],
        vec![
            // U-Net: down, up, skip.
            Layer::conv(6, 3, 1),
            Layer::Reshape(Shape::Map {
                channels: 6,
                height: 9,
                width: 5,
            }),
            Layer::Slice { start: 0, len: 4 },
            Layer::Reshape(Shape::Map {
                channels: 1,
                height: 12,
                width: 15,
            }),
            Layer::Concat(vec![vec![], vec![Layer::conv(8, 3, 1), act(), Layer::Gate]]),
            Layer::residual(vec![
                Layer::GroupNorm {
                    groups: 5,
                    epsilon: 1e-6,
                },
                Layer::conv(5, 1, 1),
            ]),
        ],
        vec![Layer::Concat(vec![
            vec![
                Layer::Slice { start: 0, len: 2 },
                Layer::residual(vec![Layer::conv(2, 3, 1)]),
            ],
            vec![Layer::Slice { start: 2, len: 4 }, act()],
        ])],
    ];
    for (i, layers) in cases.into_iter().enumerate() {
        check(&net(input, 2, layers), i as u64);
    }
}

/// What convolutions do in their stores, on maps that they cut into cells, bands of rows, and neither.
#[test]
fn sums_and_concatenations_of_convolutions() {
    let act = || Layer::Activation(Act::Silu);
    let conv = Layer::conv;
    let slice = |start, len| Layer::Slice { start, len };
    let cases = [
        // Added: the input, which is read later, too; another convolution; one whose result is read twice.
        vec![
            Layer::residual(vec![conv(8, 3, 1), act()]),
            Layer::residual(vec![conv(8, 1, 1)]),
        ],
        vec![
            Layer::Sum(vec![
                vec![conv(9, 3, 1)],
                vec![conv(9, 1, 1), act()],
                vec![conv(9, 5, 1)],
            ]),
            conv(3, 3, 1),
        ],
        vec![
            conv(16, 3, 1),
            Layer::Sum(vec![vec![slice(0, 8), conv(8, 3, 1)], vec![slice(8, 8)]]),
            Layer::Sum(vec![vec![conv(8, 1, 1)], vec![]]),
            act(),
        ],
        // Parts that are made, kept and made of others, inside a frame and without one.
        vec![
            Layer::Concat(vec![vec![conv(6, 3, 1)], vec![]]),
            Layer::Concat(vec![
                vec![slice(0, 6), Layer::Gate],
                vec![Layer::Sum(vec![
                    vec![slice(6, 8)],
                    vec![conv(16, 3, 1), Layer::Gate, conv(8, 1, 1)],
                ])],
            ]),
            conv(4, 3, 1),
        ],
        vec![
            Layer::Concat(vec![
                vec![conv(4, 3, 2), Layer::UpsampleNearest { factor: 2 }],
                vec![Layer::Concat(vec![
                    vec![conv(5, 1, 1)],
                    vec![conv(2, 3, 1)],
                ])],
            ]),
            act(),
        ],
    ];
    // In cells; of sides that are odd or small; of rows for more than one band of those with 40 outputs.
    for (height, width) in [(16, 18), (7, 5), (2, 2)] {
        for (i, layers) in cases.iter().enumerate() {
            let input = Shape::Map {
                channels: 8,
                height,
                width,
            };
            // An upsampling needs a side that can be halved.
            if Net::output(&net(input, 0, layers.clone())).is_ok() {
                check(&net(input, 0, layers.clone()), i as u64);
            }
        }
    }
    let input = Shape::Map {
        channels: 40,
        height: 37,
        width: 35,
    };
    check(
        &net(input, 0, vec![Layer::residual(vec![conv(40, 3, 1)])]),
        7,
    );
}

#[test]
fn concatenations_one_after_the_other_take_no_more_memory_than_two() {
    let input = Shape::Map {
        channels: 8,
        height: 16,
        width: 16,
    };
    let scratch = |blocks: usize| {
        let parts = || vec![vec![Layer::conv(4, 3, 1)], vec![Layer::conv(4, 3, 1)]];
        let net = net(
            input,
            0,
            (0..blocks).map(|_| Layer::Concat(parts())).collect(),
        );
        let weights = random_weights(&net.tensors("net").expect("valid"), &mut rng(1), 1.0);
        let plan = Plan::new(&net, "net", &weights, Simd::detect());
        plan.expect("a valid net").scratch_len()
    };
    assert_eq!(scratch(8), scratch(2));
}

/// A decoder and an encoder of the kind that models use.
#[test]
fn whole_networks() {
    let mut decoder = vec![
        Layer::AppendContext,
        Layer::linear(4 * 4 * 48),
        Layer::Reshape(Shape::square(48, 4)),
        Layer::Activation(Act::Silu),
    ];
    for outputs in [40, 24, 16] {
        decoder.extend([
            Layer::UpsampleNearest { factor: 2 },
            Layer::conv(outputs, 3, 1),
            Layer::Activation(Act::Silu),
        ]);
    }
    decoder.extend([Layer::conv(1, 3, 1), Layer::Activation(Act::Softplus)]);
    check(&net(Shape::Vector(16), 2, decoder), 1);

    let mut encoder = vec![Layer::Activation(Act::Asinh), Layer::AppendContext];
    for outputs in [16, 24, 32] {
        encoder.extend([
            Layer::conv(outputs, 3, 2),
            Layer::GroupNorm {
                groups: 4,
                epsilon: 1e-5,
            },
            Layer::Activation(Act::Silu),
        ]);
    }
    encoder.extend([Layer::Reshape(Shape::Vector(32 * 16)), Layer::linear(32)]);
    check(&net(Shape::square(1, 32), 2, encoder), 2);
}

/// The very bits of one network, on every level and platform. If this fails, galaxies have changed: say
/// so in the changelog ("Value-breaking").
#[test]
fn bits_are_those_of_earlier_releases() {
    let layers = vec![
        Layer::linear(24 * 4),
        Layer::Reshape(Shape::square(24, 2)),
        Layer::Activation(Act::Elu),
        Layer::UpsampleNearest { factor: 2 },
        Layer::conv(20, 3, 1),
        Layer::GroupNorm {
            groups: 4,
            epsilon: 1e-5,
        },
        Layer::Activation(Act::Silu),
        Layer::UpsampleNearest { factor: 2 },
        Layer::residual(vec![
            Layer::conv(40, 3, 1),
            Layer::Gate,
            Layer::Activation(Act::Asinh),
        ]),
        Layer::Activation(Act::Tanh),
        Layer::conv(1, 3, 1),
        Layer::Activation(Act::Softplus),
    ];
    let net = net(Shape::Vector(8), 0, layers);
    let mut rng = rng(2);
    let weights = random_weights(&net.tensors("net").unwrap(), &mut rng, 1.0);
    let input = normals(&mut rng, 8);
    for simd in Simd::available() {
        let output = run(&net, &weights, simd, &input, &[]);
        // FNV-1a of the bits.
        let hash = output.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, v| {
            (hash ^ u64::from(v.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(
            hash,
            0x62c4_73a1_6c42_04ed,
            "{} gives {hash:#018x}",
            simd.name()
        );
    }
}

/// Networks put together at random.
#[test]
fn random_networks() {
    let mut r = rng(99);
    for seed in 0..150 {
        let input = map(&mut r);
        let mut shape = input;
        let mut layers = Vec::new();
        for _ in 0..6 {
            let layer = random_layer(&mut r, 2);
            if let Ok(next) = layer.output(shape, 2, "")
                && next.len() <= 20_000
            {
                shape = next;
                layers.push(layer);
            }
        }
        check(&net(input, 2, layers), seed);
    }
}

fn random_layer(r: &mut Philox, depth: u32) -> Layer {
    let branch = |r: &mut Philox| -> Vec<Layer> {
        (0..r.below(3))
            .map(|_| random_layer(r, depth.saturating_sub(1)))
            .collect()
    };
    match r.below(if depth > 0 { 14 } else { 12 }) {
        0..=2 => {
            let outputs = pick(r, &[1, 4, 6, 17]);
            let kernel = pick(r, &[1, 3, 3, 5]);
            Layer::conv(outputs, kernel, pick(r, &[1, 1, 2]))
        }
        3 => Layer::UpsampleNearest { factor: 2 },
        4 => Layer::Activation([Act::Silu, Act::Elu, Act::Tanh][r.below(3) as usize]),
        5 => Layer::GroupNorm {
            groups: pick(r, &[1, 2, 3]),
            epsilon: 1e-2,
        },
        6 => Layer::Gate,
        7 => Layer::AppendContext,
        8 => Layer::Slice {
            start: pick(r, &[0, 1]),
            len: pick(r, &[1, 2, 5]),
        },
        9 => Layer::ConcatElu,
        10 => Layer::AppendOnes,
        11 => Layer::Shift {
            down: pick(r, &[0, 1, 2]),
            right: pick(r, &[0, 1, 3]),
        },
        12 => Layer::Sum(vec![branch(r), branch(r)]),
        _ => Layer::Concat(vec![branch(r), branch(r)]),
    }
}
