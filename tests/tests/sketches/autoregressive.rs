//! MADE and PixelCNN: who sees whom, by perturbation.

use crate::{act, moved, referee};
use galgen_core::math::act::Act;
use galgen_core::spec::{CausalMask, Degrees, Layer, Net, Shape};
use galgen_tests::cases::conv;
use galgen_tests::tensors::random_values;

/// MADE in the order 3, 1, 4, 2: shift and log-scale of element `i` see exactly the elements before it
/// in the order.
#[test]
fn made_sees_exactly_the_past_of_its_order() {
    let order = [3u32, 1, 4, 2];
    let hidden: Vec<u32> = (0..32).map(|i| i % 4).collect();
    let last: Vec<u32> = order.iter().map(|d| d - 1).collect();
    let masked = |input: &[u32], output: &[u32]| Layer::Linear {
        outputs: output.len(),
        degrees: Some(Degrees {
            input: input.to_vec(),
            output: output.to_vec(),
        }),
    };
    // A condition has degree 0: all may see it.
    let layers = vec![
        Layer::AppendContext,
        masked(&[&order[..], &[0]].concat(), &hidden),
        act(Act::Tanh),
        masked(&hidden, &hidden),
        act(Act::Tanh),
        masked(&hidden, &[&last[..], &last[..]].concat()),
    ];
    let net = Net {
        input: Shape::Vector(4),
        context: 1,
        layers,
    };
    let referee = referee(&net, Shape::Vector(8), 1);
    let run = |x: &[f64]| referee.run(&net, "net", x, &[0.7]);
    let x = random_values(4, 1);
    for i in 0..4 {
        for (o, moved) in moved(&run, &x, i).into_iter().enumerate() {
            assert_eq!(moved, order[i] < order[o % 4], "input {i}, output {o}");
        }
    }
    let elsewhere = referee.run(&net, "net", &x, &[0.8]);
    assert!(
        run(&x).iter().zip(&elsewhere).all(|(a, b)| a != b),
        "all see the condition"
    );
}

const SIDE: usize = 15;
const PIXEL: (usize, usize) = (9, 7);

/// (pixels of the past that output pixel (9, 7) sees, pixels of the present or future that it sees).
fn receptive_field(net: &Net, seed: u64) -> (usize, usize) {
    let referee = referee(net, Shape::square(1, SIDE), seed);
    let run = |x: &[f64]| referee.run(net, "net", x, &[]);
    let x = random_values(SIDE * SIDE, seed);
    let centre = PIXEL.0 * SIDE + PIXEL.1;
    let reference = run(&x)[centre];
    let sees = |i: usize| {
        let mut other = x.clone();
        other[i] += 1.0;
        run(&other)[centre] != reference
    };
    let past = (0..centre).filter(|&i| sees(i)).count();
    (past, (centre..SIDE * SIDE).filter(|&i| sees(i)).count())
}

/// van den Oord et al. 2016: a 7 x 7 mask A and eight 3 x 3 masks B have a blind spot, 10 of the 142
/// pixels before (9, 7), and look at no pixel of the future.
#[test]
fn masked_pixelcnn_has_its_blind_spot() {
    let mut layers = vec![conv(4, [7, 7], 1, [3; 4], Some(CausalMask::A))];
    for _ in 0..8 {
        layers.push(act(Act::Tanh));
        layers.push(Layer::residual(vec![conv(
            4,
            [3, 3],
            1,
            [1; 4],
            Some(CausalMask::B),
        )]));
    }
    layers.push(Layer::conv(1, 1, 1));
    let net = Net {
        input: Shape::square(1, SIDE),
        context: 0,
        layers,
    };
    assert_eq!(receptive_field(&net, 2), (132, 0));
}

/// The gated PixelCNN keeps two streams side by side in the channels: vertical (all rows above, and
/// its own row, which the shift takes away) and horizontal (left of the pixel).
fn gated_step(c: usize) -> Vec<Layer> {
    let vertical = |len| Layer::Slice { start: 0, len };
    let down = conv(2 * c, [2, 1], 1, [1, 0, 0, 0], Some(CausalMask::A));
    let horizontal = Layer::Slice {
        start: 2 * c,
        len: c,
    };
    let along = conv(2 * c, [1, 3], 1, [0, 0, 1, 1], Some(CausalMask::B));
    vec![
        // v becomes its convolution before the gate, 2 c features; h waits.
        Layer::Concat(vec![
            vec![vertical(c), conv(2 * c, [2, 3], 1, [1, 0, 1, 1], None)],
            vec![Layer::Slice { start: c, len: c }],
        ]),
        Layer::Concat(vec![
            vec![vertical(2 * c), Layer::Gate],
            vec![Layer::Sum(vec![
                vec![horizontal.clone()],
                vec![
                    Layer::Sum(vec![vec![vertical(2 * c), down], vec![horizontal, along]]),
                    Layer::Gate,
                    Layer::conv(c, 1, 1),
                ],
            ])],
        ]),
    ]
}

#[test]
fn gated_pixelcnn_sees_all_of_the_past() {
    let c = 2;
    let first_row = conv(2 * c, [1, 7], 1, [0, 0, 3, 3], Some(CausalMask::A));
    let down = conv(2 * c, [2, 1], 1, [1, 0, 0, 0], Some(CausalMask::A));
    let rows = || conv(2 * c, [4, 7], 1, [3, 0, 3, 3], None);
    let mut layers = vec![
        // The image itself is the third stream, needed once.
        Layer::Concat(vec![vec![rows()], vec![]]),
        Layer::Concat(vec![
            vec![
                Layer::Slice {
                    start: 0,
                    len: 2 * c,
                },
                Layer::Gate,
            ],
            vec![
                Layer::Sum(vec![
                    vec![
                        Layer::Slice {
                            start: 0,
                            len: 2 * c,
                        },
                        down,
                    ],
                    vec![
                        Layer::Slice {
                            start: 2 * c,
                            len: 1,
                        },
                        first_row,
                    ],
                ]),
                Layer::Gate,
                Layer::conv(c, 1, 1),
            ],
        ]),
    ];
    (0..8).for_each(|_| layers.extend(gated_step(c)));
    layers.extend([
        Layer::Slice { start: c, len: c },
        act(Act::Tanh),
        Layer::conv(1, 1, 1),
    ]);
    let net = Net {
        input: Shape::square(1, SIDE),
        context: 0,
        layers,
    };
    assert_eq!(receptive_field(&net, 3), (142, 0));
}
