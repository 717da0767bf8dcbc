//! Who sees whom: by perturbing every pixel, and as the spec says.

use super::{nets, preset};
use galgen_core::condition::Conditions;
use galgen_core::models::{Body, Head};
use galgen_core::spec::{Layer, Net, Offset, Shape};
use galgen_infer::Model;
use galgen_tests::model::{file, grey, pixel_cnn_card};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{random_values, random_weights};

const SIDE: usize = 15;
const PIXEL: (usize, usize) = (9, 7);

/// The pixels that the outputs of `net` at `pixel` depend on, with weights of several seeds.
fn seen(net: &Net, pixel: usize, seeds: std::ops::Range<u64>) -> Vec<bool> {
    let n = net.input.len();
    let mut sees = vec![false; n];
    for seed in seeds {
        let referee = Referee::new(random_weights(&net.tensors("net").unwrap(), seed));
        let context = random_values(net.context, seed);
        let run = |x: &[f64]| {
            let out = referee.run(net, "net", x, &context);
            out.into_iter().skip(pixel).step_by(n).collect::<Vec<f64>>()
        };
        let x = random_values(n, seed);
        let reference = run(&x);
        for (i, sees) in sees.iter_mut().enumerate().filter(|(_, s)| !**s) {
            let mut other = x.clone();
            other[i] += 1.0;
            *sees |= run(&other) != reference;
        }
    }
    sees
}

/// van den Oord et al. 2016: a 7 x 7 mask A and eight 3 x 3 masks B have a blind spot, 10 of the 142
/// pixels before (9, 7); the gated stacks and the streams of PixelCNN++ see all of them. None looks at
/// the pixel itself or later ones.
#[test]
fn the_masked_body_alone_has_a_blind_spot() {
    let centre = PIXEL.0 * SIDE + PIXEL.1;
    for (body, blocks, expected) in [
        (Body::Masked, 8, 132),
        (Body::Gated, 8, 142),
        (Body::PlusPlus, 2, 142),
    ] {
        let preset = preset(body, blocks, 3, Head::Bernoulli);
        let net = preset.build(&grey(SIDE), 0).unwrap().net;
        let sees = seen(&net, centre, 1..3);
        let past = sees[..centre].iter().filter(|&&s| s).count();
        let future = sees[centre..].iter().filter(|&&s| s).count();
        assert_eq!((past, future), (expected, 0), "{body:?}");
    }
}

/// Of random nets, causal or not: no pixel after the one that the spec names is seen, and where the map is
/// wide enough that one is.
#[test]
fn the_spec_names_the_last_pixel() {
    const SIDE: usize = 9;
    let (mut named, mut looks_ahead) = (0, 0);
    for seed in 0..40 {
        let net = nets::any(SIDE, 2, 2, seed);
        let last = net.last_pixels().unwrap();
        assert_eq!(last[0], last[1], "outputs of one convolution");
        let (y, x) = (4, 4);
        let sees = seen(&net, y * SIDE + x, seed..seed + 2);
        let found = sees.iter().rposition(|&s| s).map(|i| Offset {
            rows: (i / SIDE) as isize - y as isize,
            columns: (i % SIDE) as isize - x as isize,
        });
        assert!(found <= last[0], "seed {seed}: {found:?}, {:?}", last[0]);
        named += usize::from(found == last[0]);
        looks_ahead += usize::from(last[0] >= Some(Offset::HERE));
    }
    // Borders and dead units hide some.
    assert!(named >= 30, "{named} of 40");
    assert!(looks_ahead >= 13, "{looks_ahead} of 40");
}

fn refusal(layers: Vec<Layer>) -> String {
    let side = 8;
    let mut model = preset(Body::Masked, 1, 2, Head::Bernoulli)
        .build(&grey(side), 0)
        .unwrap();
    model.net = Net {
        input: Shape::square(1, side),
        context: 0,
        layers,
    };
    let tensors = random_weights(&model.net.tensors("net").unwrap(), 1);
    let card = pixel_cnn_card(model, side, Conditions::default());
    Model::from_bytes(&file(&card, &tensors))
        .unwrap_err()
        .to_string()
}

#[test]
fn files_that_look_ahead_are_refused() {
    let here = refusal(vec![Layer::conv(1, 1, 1)]);
    assert!(here.contains("depends on itself"), "{here}");
    let ahead = refusal(vec![Layer::conv(1, 3, 1)]);
    assert!(
        ahead.contains("one 1 rows below and 1 columns to the right"),
        "{ahead}"
    );
    // Not enough: the row above sees the pixel below it.
    let shifted = refusal(vec![
        Layer::conv(1, 3, 1),
        Layer::Shift { down: 1, right: 1 },
    ]);
    assert!(shifted.contains("depends on itself"), "{shifted}");
    let norm = Layer::GroupNorm {
        groups: 1,
        epsilon: 1e-5,
    };
    let mixed = refusal(vec![norm, Layer::conv(1, 1, 1)]);
    assert!(mixed.contains("net.0: GroupNorm"), "{mixed}");
    let grid = refusal(vec![
        Layer::conv(1, 3, 2),
        Layer::UpsampleNearest { factor: 2 },
    ]);
    assert!(grid.contains("keep the grid"), "{grid}");
}

/// A file of a few kilobytes must not make billions of numbers on the way to its refusal.
#[test]
fn nets_that_fall_into_too_many_parts_are_refused() {
    let twice = || Layer::Concat(vec![vec![], vec![]]);
    let act = || Layer::Activation(galgen_core::math::act::Act::Tanh);
    let mut layers = vec![Layer::Shift { down: 1, right: 0 }];
    layers.extend((0..11).map(|_| twice()));
    layers.extend((0..40).map(|_| act()));
    layers.push(Layer::conv(1, 1, 1));
    let parts = refusal(layers);
    assert!(parts.contains("falls into more than"), "{parts}");
    let terms = vec![vec![act()]; 2000];
    let sum = refusal(vec![Layer::Sum(terms), Layer::conv(1, 1, 1)]);
    assert!(sum.contains("depends on itself"), "{sum}");
}

#[test]
fn more_bands_and_galaxies_are_refused() {
    let card = || {
        let model = preset(Body::Gated, 1, 2, Head::Gaussian).build(&grey(8), 0);
        pixel_cnn_card(model.unwrap(), 8, Conditions::default())
    };
    let mut two = card();
    two.geometry.bands.push("second".into());
    let found = two.check().unwrap_err().to_string();
    assert!(found.contains("2 bands, expected 1"), "{found}");
    let mut galaxy = card();
    galaxy.geometry.half_light_radius = Some(2.0);
    let found = galaxy.check().unwrap_err().to_string();
    assert!(found.contains("half-light radius"), "{found}");
}
