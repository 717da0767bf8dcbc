//! Every layer against plain loops in f64, on odd shapes, and the same bits on every SIMD level.

mod common;

use common::{check, map, net, normals, pick, random_weights, rng, run};
use galgen_core::math::act::Act;
use galgen_core::rng::Philox;
use galgen_core::spec::{CausalMask, Degrees, Layer, Padding, Shape};
use galgen_infer::kernels::Simd;

#[test]
fn linear() {
    for (i, (n, m)) in [
        (1, 1),
        (3, 5),
        (17, 8),
        (33, 64),
        (64, 65),
        (7, 300),
        (300, 7),
    ]
    .into_iter()
    .enumerate()
    {
        check(&net(Shape::Vector(n), 0, vec![Layer::linear(m)]), i as u64);
    }
}

#[test]
fn linear_with_degrees() {
    let degrees = Degrees {
        input: vec![1, 2, 3, 4, 5],
        output: vec![0, 1, 2, 3, 4, 5, 2, 0, 3],
    };
    let layer = Layer::Linear {
        outputs: 9,
        degrees: Some(degrees),
    };
    check(&net(Shape::Vector(5), 0, vec![layer]), 1);
}

#[test]
fn convolutions_of_all_kinds() {
    let mut r = rng(11);
    let mut tried = 0;
    while tried < 300 {
        let kernel = [1 + r.below(4) as usize, 1 + r.below(4) as usize];
        let pad = |r: &mut Philox, k: usize| r.below(k as u32) as usize;
        let padding = Padding {
            top: pad(&mut r, kernel[0]),
            bottom: pad(&mut r, kernel[0]),
            left: pad(&mut r, kernel[1]),
            right: pad(&mut r, kernel[1]),
        };
        let mask = [None, Some(CausalMask::A), Some(CausalMask::B)][r.below(3) as usize];
        let outputs = pick(&mut r, &[1, 2, 3, 5, 8, 16, 17, 24, 33]);
        let stride = 1 + r.below(3) as usize;
        let layer = Layer::Conv2d {
            outputs,
            kernel,
            stride,
            padding,
            mask,
        };
        let net = net(map(&mut r), 0, vec![layer]);
        if net.output().is_ok() {
            check(&net, tried);
            tried += 1;
        }
    }
}

/// Convolutions that run in cells of 2 x 2 pixels, and the nearest shapes that do not.
#[test]
fn convolutions_of_3_x_3_on_large_maps() {
    let sizes = [(16, 16), (16, 18), (32, 10), (14, 20), (17, 16), (16, 15)];
    for (i, (height, width)) in sizes.into_iter().enumerate() {
        for (channels, outputs) in [(7, 8), (8, 8), (9, 17), (34, 33), (64, 16)] {
            let input = Shape::Map {
                channels,
                height,
                width,
            };
            let layers = vec![Layer::conv(outputs, 3, 1), Layer::Activation(Act::Silu)];
            check(&net(input, 0, layers), i as u64);
        }
    }
}

/// Convolutions after an upsampling, from one pixel on, of few and of many channels.
#[test]
fn convolutions_of_3_x_3_after_an_upsampling() {
    let sizes = [(1, 1), (1, 2), (3, 1), (5, 7), (16, 16)];
    for (i, (height, width)) in sizes.into_iter().enumerate() {
        for (channels, outputs) in [(1, 1), (3, 8), (40, 33), (700, 2)] {
            let input = Shape::Map {
                channels,
                height,
                width,
            };
            let layers = vec![
                Layer::UpsampleNearest { factor: 2 },
                Layer::conv(outputs, 3, 1),
                Layer::Activation(Act::Elu),
            ];
            check(&net(input, 0, layers), i as u64);
        }
    }
}

#[test]
fn transposed_and_depthwise_convolutions() {
    let mut r = rng(12);
    let mut tried = 0;
    while tried < 200 {
        let kernel = [1 + r.below(5) as usize, 1 + r.below(5) as usize];
        let pad = |r: &mut Philox, k: usize| r.below(k as u32) as usize;
        let padding = Padding {
            top: pad(&mut r, kernel[0]),
            bottom: pad(&mut r, kernel[0]),
            left: pad(&mut r, kernel[1]),
            right: pad(&mut r, kernel[1]),
        };
        let stride = 1 + r.below(3) as usize;
        let layer = if tried % 2 == 0 {
            Layer::ConvTranspose2d {
                outputs: pick(&mut r, &[1, 3, 8, 17]),
                kernel,
                stride,
                padding,
            }
        } else {
            Layer::DepthwiseConv2d {
                kernel,
                stride,
                padding,
            }
        };
        let net = net(map(&mut r), 0, vec![layer, Layer::Activation(Act::Silu)]);
        if net.output().is_ok() {
            check(&net, tried);
            tried += 1;
        }
    }
}

/// Phases that run in cells of 2 x 2 pixels.
#[test]
fn transposed_convolutions_of_4_x_4_on_large_maps() {
    for (i, (channels, outputs)) in [(1, 3), (9, 8), (20, 17)].into_iter().enumerate() {
        let input = Shape::Map {
            channels,
            height: 16,
            width: 18,
        };
        let layer = Layer::ConvTranspose2d {
            outputs,
            kernel: [4, 4],
            stride: 2,
            padding: Padding::all(1),
        };
        check(
            &net(input, 0, vec![layer, Layer::Activation(Act::Elu)]),
            i as u64,
        );
    }
}

/// Functions that depend on the feature, after every kernel that they are fused into or must not be.
#[test]
fn layer_norms_and_bipolar_functions() {
    // A large epsilon: nearly equal features must not magnify rounding.
    let epsilon = 0.1;
    let norm = Layer::LayerNorm { epsilon };
    let odd_groups = Layer::GroupNorm { groups: 2, epsilon };
    let depthwise = Layer::DepthwiseConv2d {
        kernel: [3, 3],
        stride: 1,
        padding: Padding::all(1),
    };
    let transposed = |outputs| Layer::ConvTranspose2d {
        outputs,
        kernel: [4, 4],
        stride: 2,
        padding: Padding::all(1),
    };
    let bipolar = Layer::BipolarElu;
    for (i, channels) in [2, 6, 10, 16, 38].into_iter().enumerate() {
        let input = Shape::Map {
            channels,
            height: 6,
            width: 9,
        };
        let layers = vec![
            bipolar.clone(),
            norm.clone(),
            bipolar.clone(),
            odd_groups.clone(),
            bipolar.clone(),
            depthwise.clone(),
            bipolar.clone(),
            transposed(6),
            bipolar.clone(),
            Layer::UpsampleNearest { factor: 2 },
            bipolar.clone(),
            Layer::conv(10, 3, 1),
            bipolar.clone(),
            Layer::Slice { start: 3, len: 4 },
            bipolar.clone(),
            Layer::conv(2, 3, 1),
            bipolar.clone(),
            norm.clone(),
            Layer::residual(vec![norm.clone(), bipolar.clone()]),
        ];
        check(&net(input, 0, layers), i as u64);
        let layers = vec![
            norm.clone(),
            Layer::linear(22),
            bipolar.clone(),
            norm.clone(),
        ];
        check(&net(Shape::Vector(channels), 0, layers), i as u64);
    }
}

#[test]
fn convolutions_with_few_outputs_on_wide_maps() {
    for (i, width) in [7, 8, 9, 16, 31, 33, 64, 65, 129].into_iter().enumerate() {
        for outputs in 1..=4 {
            let input = Shape::Map {
                channels: 5,
                height: 3,
                width,
            };
            let layers = vec![Layer::conv(outputs, 3, 1), Layer::Activation(Act::Softplus)];
            check(&net(input, 0, layers), i as u64);
        }
    }
}

#[test]
fn upsampling() {
    let mut r = rng(12);
    for seed in 0..40 {
        let factor = 2 + r.below(2) as usize;
        let outputs = pick(&mut r, &[1, 4, 16, 19]);
        let kernel = pick(&mut r, &[1, 3, 3, 3]);
        check(
            &net(
                map(&mut r),
                0,
                vec![
                    Layer::Scale(0.7),
                    Layer::UpsampleNearest { factor },
                    Layer::Activation(Act::Tanh),
                    Layer::conv(outputs, kernel, 1),
                    Layer::Activation(Act::Silu),
                ],
            ),
            seed,
        );
    }
    check(
        &net(
            Shape::square(3, 4),
            0,
            vec![Layer::UpsampleNearest { factor: 3 }],
        ),
        1,
    );
}

/// The folded convolution against the same two layers kept apart by an identity between them.
#[test]
fn folded_upsampling_equals_the_unfolded() {
    let up = Layer::UpsampleNearest { factor: 2 };
    let conv = Layer::conv(16, 3, 1);
    let input = Shape::Map {
        channels: 7,
        height: 5,
        width: 6,
    };
    let folded = net(input, 0, vec![up.clone(), conv.clone()]);
    let apart = net(input, 0, vec![Layer::Concat(vec![vec![up]]), conv]);
    let mut rng = rng(5);
    let weights = random_weights(&folded.tensors("net").unwrap(), &mut rng, 1.0);
    let x = normals(&mut rng, input.len());
    let a = run(&folded, &weights, Simd::detect(), &x, &[]);
    let b = run(&apart, &weights, Simd::detect(), &x, &[]);
    // Rounding of the summed weights and of sums of 63 terms of order one.
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 2e-6 && worst > 0.0, "{worst}");
}

#[test]
fn activations() {
    let acts = [
        Act::Relu,
        Act::LeakyRelu { slope: 0.2 },
        Act::Elu,
        Act::Silu,
        Act::Tanh,
        Act::Sigmoid,
        Act::Softplus,
        Act::Asinh,
    ];
    for act in acts {
        let layers = vec![Layer::Activation(act), Layer::Scale(2.0)];
        check(
            &net(
                Shape::Map {
                    channels: 5,
                    height: 3,
                    width: 7,
                },
                0,
                layers.clone(),
            ),
            1,
        );
        check(&net(Shape::Vector(19), 0, layers), 2);
    }
}

#[test]
fn group_norm() {
    for (c, groups) in [(1, 1), (6, 1), (6, 3), (6, 6), (34, 2), (17, 17)] {
        let norm = Layer::GroupNorm {
            groups,
            epsilon: 1e-5,
        };
        check(
            &net(
                Shape::Map {
                    channels: c,
                    height: 3,
                    width: 5,
                },
                0,
                vec![norm.clone()],
            ),
            3,
        );
        let then = vec![
            norm.clone(),
            Layer::Activation(Act::Silu),
            Layer::conv(5, 3, 1),
        ];
        check(
            &net(
                Shape::Map {
                    channels: c,
                    height: 3,
                    width: 5,
                },
                0,
                then,
            ),
            4,
        );
        if groups < c {
            check(&net(Shape::Vector(c), 0, vec![norm]), 5);
        }
    }
}

#[test]
fn gates_slices_context_and_shapes() {
    let input = Shape::Map {
        channels: 6,
        height: 4,
        width: 5,
    };
    let to_map = Layer::Reshape(Shape::Map {
        channels: 10,
        height: 3,
        width: 4,
    });
    let slice = |start, len| Layer::Slice { start, len };
    let cases = [
        vec![Layer::Gate],
        vec![slice(1, 3)],
        vec![slice(1, 3), Layer::conv(8, 3, 1)],
        vec![slice(2, 4), Layer::Gate, Layer::conv(1, 3, 2)],
        vec![Layer::AppendContext, Layer::conv(9, 3, 1)],
        vec![
            Layer::Reshape(Shape::Vector(120)),
            Layer::AppendContext,
            Layer::linear(5),
        ],
        vec![to_map.clone(), Layer::conv(3, 3, 1)],
        vec![Layer::Reshape(Shape::Vector(120)), to_map],
        vec![
            Layer::conv(4, 3, 2),
            Layer::Reshape(Shape::Vector(24)),
            Layer::linear(60),
            Layer::Activation(Act::Elu),
            Layer::Reshape(Shape::Map {
                channels: 5,
                height: 4,
                width: 3,
            }),
            Layer::conv(2, 3, 1),
        ],
        vec![],
    ];
    for (i, layers) in cases.into_iter().enumerate() {
        check(&net(input, 3, layers), i as u64);
    }
    check(
        &net(
            Shape::Vector(8),
            2,
            vec![Layer::AppendContext, Layer::Gate, slice(1, 3)],
        ),
        9,
    );
}

#[test]
fn a_stride_beyond_the_map_leaves_one_pixel() {
    let input = Shape::Map {
        channels: 2,
        height: 5,
        width: 4,
    };
    for stride in [5, 7, usize::MAX / 2 + 1, usize::MAX] {
        let conv = Layer::Conv2d {
            outputs: 3,
            kernel: [3, 3],
            stride,
            padding: Padding::all(1),
            mask: None,
        };
        check(&net(input, 0, vec![conv]), 1);
    }
}
