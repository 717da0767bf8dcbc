//! The nets.

use super::{NetCase, act, conv, depthwise, transposed};
use galgen_core::math::act::Act;
use galgen_core::spec::{CausalMask, Degrees, Layer, Net, Shape};

fn map(channels: usize, height: usize, width: usize) -> Shape {
    Shape::Map {
        channels,
        height,
        width,
    }
}

fn masked(outputs: usize, input: &[u32], output: &[u32]) -> Layer {
    let degrees = Degrees {
        input: input.to_vec(),
        output: output.to_vec(),
    };
    Layer::Linear {
        outputs,
        degrees: Some(degrees),
    }
}

/// The nets.
pub fn nets() -> Vec<NetCase> {
    let case = |(seed, (name, input, context, layers)): (usize, (_, _, _, _))| NetCase {
        name,
        net: Net {
            input,
            context,
            layers,
        },
        seed: seed as u64 + 1,
    };
    let table: Vec<(&'static str, Shape, usize, Vec<Layer>)> =
        [convolutions(), vectors(), graphs()]
            .into_iter()
            .flatten()
            .collect();
    table.into_iter().enumerate().map(case).collect()
}

type Row = (&'static str, Shape, usize, Vec<Layer>);

fn convolutions() -> Vec<Row> {
    vec![
        (
            "one 1 x 1 convolution",
            map(3, 1, 1),
            0,
            vec![Layer::conv(1, 1, 1)],
        ),
        (
            "3 x 3, channels that fill no register",
            map(5, 7, 9),
            0,
            vec![Layer::conv(13, 3, 1)],
        ),
        (
            "3 x 3, channels that fill registers",
            map(16, 8, 16),
            0,
            vec![Layer::conv(32, 3, 1)],
        ),
        (
            "5 x 5, stride 2, odd sides",
            map(2, 11, 7),
            0,
            vec![Layer::conv(9, 5, 2)],
        ),
        (
            "4 x 4, stride 2",
            map(3, 12, 10),
            0,
            vec![conv(8, [4, 4], 2, [1, 1, 1, 1], None)],
        ),
        (
            "stride 3 that leaves a rest",
            map(2, 10, 12),
            0,
            vec![conv(4, [3, 2], 3, [0, 2, 1, 0], None)],
        ),
        (
            "no padding",
            map(2, 6, 5),
            0,
            vec![conv(3, [3, 4], 1, [0, 0, 0, 0], None)],
        ),
        (
            "kernel as large as the map",
            map(4, 5, 6),
            0,
            vec![conv(3, [5, 6], 1, [0, 0, 0, 0], None)],
        ),
        (
            "padding on one side",
            map(3, 5, 6),
            0,
            vec![conv(7, [2, 3], 1, [1, 0, 2, 0], None)],
        ),
        (
            "masks A and B",
            map(2, 6, 9),
            0,
            vec![
                conv(6, [7, 7], 1, [3, 3, 3, 3], Some(CausalMask::A)),
                act(Act::Relu),
                conv(4, [3, 3], 1, [1, 1, 1, 1], Some(CausalMask::B)),
                conv(4, [2, 1], 1, [1, 0, 0, 0], Some(CausalMask::A)),
                conv(3, [1, 4], 1, [0, 0, 2, 1], Some(CausalMask::B)),
            ],
        ),
        (
            "nearest upsampling by 2 before 3 x 3",
            map(6, 5, 4),
            0,
            vec![Layer::UpsampleNearest { factor: 2 }, Layer::conv(10, 3, 1)],
        ),
        (
            "upsampling by 3, by 2 before other kernels",
            map(2, 3, 2),
            0,
            vec![
                Layer::UpsampleNearest { factor: 3 },
                Layer::conv(3, 5, 1),
                Layer::UpsampleNearest { factor: 2 },
                conv(2, [4, 4], 2, [1, 1, 1, 1], None),
                Layer::UpsampleNearest { factor: 2 },
                act(Act::Tanh),
                conv(2, [3, 3], 1, [2, 0, 0, 2], None),
                Layer::UpsampleNearest { factor: 2 },
            ],
        ),
        (
            "group norm, all counts of groups",
            map(6, 5, 7),
            0,
            vec![
                Layer::GroupNorm {
                    groups: 1,
                    epsilon: 1e-5,
                },
                Layer::GroupNorm {
                    groups: 6,
                    epsilon: 1e-2,
                },
                Layer::conv(6, 3, 1),
                Layer::GroupNorm {
                    groups: 3,
                    epsilon: 1e-6,
                },
            ],
        ),
        (
            "3 x 3 on a large map, of channels that do not fill registers",
            map(9, 16, 18),
            0,
            vec![
                Layer::conv(20, 3, 1),
                act(Act::Silu),
                Layer::residual(vec![Layer::conv(20, 3, 1)]),
            ],
        ),
        (
            "a stage of transposed, depthwise and pointwise convolutions",
            map(6, 4, 3),
            0,
            vec![
                transposed(8, [4, 4], 2, [1, 1, 1, 1]),
                Layer::LayerNorm { epsilon: 0.1 },
                Layer::BipolarElu,
                Layer::residual(vec![
                    depthwise([3, 3], 1, [1, 1, 1, 1]),
                    Layer::conv(8, 1, 1),
                    Layer::LayerNorm { epsilon: 0.1 },
                    Layer::BipolarElu,
                    depthwise([3, 3], 1, [1, 1, 1, 1]),
                ]),
            ],
        ),
        (
            "features of both signs before they become a map",
            Shape::Vector(5),
            0,
            vec![
                Layer::linear(3 * 2 * 5),
                Layer::BipolarElu,
                Layer::Reshape(map(3, 2, 5)),
                Layer::conv(4, 3, 1),
            ],
        ),
        (
            "uneven transposed and depthwise convolutions",
            map(3, 5, 4),
            0,
            vec![
                transposed(5, [2, 5], 3, [0, 1, 3, 2]),
                depthwise([2, 4], 2, [1, 0, 2, 3]),
                transposed(2, [3, 3], 1, [1, 1, 1, 1]),
                act(Act::Tanh),
            ],
        ),
        (
            "context as planes",
            map(3, 6, 5),
            2,
            vec![
                Layer::AppendContext,
                Layer::conv(8, 3, 1),
                Layer::Gate,
                Layer::AppendContext,
                conv(4, [3, 3], 2, [1, 0, 0, 1], None),
                act(Act::Silu),
            ],
        ),
    ]
}

fn vectors() -> Vec<Row> {
    let all = [
        Act::Relu,
        Act::LeakyRelu { slope: 0.2 },
        Act::Elu,
        Act::Silu,
        Act::Tanh,
        Act::Sigmoid,
        Act::Softplus,
        Act::Asinh,
    ];
    // Scaled by 4, so that the activations reach their tails.
    let branch = |a: Act| vec![Layer::Scale(4.0), act(a)];
    vec![
        ("one number", Shape::Vector(1), 0, vec![Layer::linear(1)]),
        (
            "linear, 37 to 19",
            Shape::Vector(37),
            0,
            vec![Layer::linear(19)],
        ),
        (
            "linear, 64 to 128",
            Shape::Vector(64),
            0,
            vec![Layer::linear(128)],
        ),
        (
            "every activation",
            Shape::Vector(33),
            0,
            vec![Layer::Concat(all.iter().map(|&a| branch(a)).collect())],
        ),
        (
            "every activation after a linear layer",
            Shape::Vector(9),
            1,
            vec![
                Layer::AppendContext,
                Layer::Concat(
                    all.iter()
                        .map(|&a| vec![Layer::linear(11), act(a)])
                        .collect(),
                ),
            ],
        ),
        (
            "degrees",
            Shape::Vector(4),
            1,
            vec![
                Layer::AppendContext,
                masked(6, &[1, 2, 3, 4, 0], &[1, 3, 2, 0, 1, 2]),
                act(Act::Elu),
                masked(8, &[1, 3, 2, 0, 1, 2], &[0, 1, 2, 3, 0, 1, 2, 3]),
            ],
        ),
        (
            "norm, gate and context on a vector",
            Shape::Vector(10),
            4,
            vec![
                Layer::GroupNorm {
                    groups: 2,
                    epsilon: 1e-3,
                },
                Layer::AppendContext,
                Layer::Gate,
                Layer::linear(12),
                Layer::Gate,
                Layer::Scale(-0.7),
            ],
        ),
        (
            "layer norm and bipolar ELU of a vector",
            Shape::Vector(12),
            0,
            vec![
                Layer::BipolarElu,
                Layer::LayerNorm { epsilon: 0.1 },
                Layer::linear(6),
                Layer::BipolarElu,
            ],
        ),
        (
            "vector to map and back",
            Shape::Vector(5),
            2,
            vec![
                Layer::AppendContext,
                Layer::linear(24),
                act(Act::LeakyRelu { slope: 0.01 }),
                Layer::Reshape(map(4, 2, 3)),
                Layer::UpsampleNearest { factor: 2 },
                Layer::conv(3, 3, 1),
                Layer::Reshape(Shape::Vector(72)),
                Layer::Reshape(map(8, 3, 3)),
                Layer::conv(2, 3, 2),
                Layer::Reshape(Shape::Vector(8)),
                Layer::linear(3),
                act(Act::Softplus),
            ],
        ),
    ]
}

fn graphs() -> Vec<Row> {
    let block = |channels| {
        Layer::residual(vec![
            Layer::GroupNorm {
                groups: 2,
                epsilon: 1e-5,
            },
            act(Act::Silu),
            Layer::conv(channels, 3, 1),
            act(Act::Silu),
            Layer::conv(channels, 1, 1),
        ])
    };
    vec![
        (
            "residual blocks",
            map(4, 6, 7),
            0,
            vec![block(4), block(4), act(Act::Softplus)],
        ),
        (
            "a skip across a change of size",
            map(3, 8, 8),
            1,
            vec![
                Layer::Concat(vec![
                    vec![],
                    vec![
                        Layer::conv(6, 3, 2),
                        act(Act::Elu),
                        Layer::Concat(vec![
                            vec![],
                            vec![
                                Layer::conv(4, 3, 2),
                                Layer::AppendContext,
                                act(Act::Silu),
                                Layer::UpsampleNearest { factor: 2 },
                            ],
                        ]),
                        Layer::UpsampleNearest { factor: 2 },
                        Layer::conv(5, 3, 1),
                    ],
                ]),
                Layer::conv(2, 3, 1),
            ],
        ),
        (
            "slices, and sums in concatenations in sums",
            Shape::Vector(8),
            0,
            vec![
                Layer::Sum(vec![
                    vec![],
                    vec![Layer::Concat(vec![
                        vec![Layer::Slice { start: 5, len: 3 }],
                        vec![
                            Layer::Slice { start: 0, len: 5 },
                            Layer::Sum(vec![vec![act(Act::Tanh)], vec![Layer::linear(5)], vec![]]),
                        ],
                    ])],
                    vec![Layer::Scale(0.5)],
                ]),
                Layer::Sum(vec![vec![]]),
                Layer::Concat(vec![vec![]]),
                Layer::Slice { start: 7, len: 1 },
            ],
        ),
        (
            "two streams of maps, one fed into the other",
            map(6, 5, 4),
            0,
            vec![
                Layer::Concat(vec![
                    vec![Layer::Slice { start: 0, len: 4 }, Layer::Gate],
                    vec![
                        Layer::Sum(vec![
                            vec![Layer::Slice { start: 0, len: 4 }, Layer::conv(2, 1, 1)],
                            vec![Layer::Slice { start: 4, len: 2 }],
                        ]),
                        act(Act::Sigmoid),
                    ],
                ]),
                Layer::Slice { start: 1, len: 3 },
                Layer::conv(2, 3, 1),
            ],
        ),
        (
            "streams that lag behind the pixel",
            map(2, 5, 4),
            1,
            vec![
                Layer::AppendOnes,
                Layer::Concat(vec![
                    vec![Layer::conv(3, 3, 1), Layer::Shift { down: 2, right: 1 }],
                    vec![
                        Layer::Shift { down: 0, right: 3 },
                        Layer::AppendContext,
                        Layer::conv(2, 3, 1),
                    ],
                    vec![Layer::Shift { down: 1, right: 0 }],
                ]),
                Layer::ConcatElu,
                Layer::Shift { down: 1, right: 1 },
                Layer::Shift { down: 0, right: 0 },
                Layer::conv(3, 3, 1),
            ],
        ),
        ("no layers", map(2, 3, 2), 0, vec![]),
    ]
}
