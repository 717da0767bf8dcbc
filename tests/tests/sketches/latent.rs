//! VQ-VAE, PCA, Gaussian mixtures and skips.

use crate::{act, referee};
use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Padding, Shape};
use galgen_tests::cases::conv;
use galgen_tests::compare::relative_error;
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{random_values, random_weights};

/// VQ-VAE: an encoder of stride 4 to a map of codes and its decoder; the codebook stands between the
/// nets. Where no padding is seen, an image moved by 4 pixels has its codes moved by one.
#[test]
fn a_vq_encoder_moves_with_the_image() {
    let block = |c| {
        Layer::residual(vec![
            act(Act::Relu),
            Layer::conv(c, 3, 1),
            act(Act::Relu),
            Layer::conv(c, 1, 1),
        ])
    };
    let half = |c| conv(c, [4, 4], 2, [1; 4], None);
    let layers = vec![
        half(6),
        act(Act::Relu),
        half(8),
        block(8),
        block(8),
        Layer::conv(5, 1, 1),
    ];
    let encoder = Net {
        input: Shape::square(1, 48),
        context: 0,
        layers,
    };
    let up = |c| [Layer::UpsampleNearest { factor: 2 }, Layer::conv(c, 3, 1)];
    let mut layers = vec![Layer::conv(8, 3, 1), block(8), act(Act::Relu)];
    layers.extend(up(6));
    layers.push(act(Act::Relu));
    layers.extend(up(1));
    let decoder = Net {
        input: Shape::square(5, 12),
        context: 0,
        layers,
    };
    assert_eq!(decoder.output().unwrap(), encoder.input);

    let referee = referee(&encoder, decoder.input, 9);
    let wide = random_values(48 * 52, 9);
    let window = |left: usize| -> Vec<f64> {
        (0..48)
            .flat_map(|y| wide[y * 52 + left..y * 52 + left + 48].to_vec())
            .collect()
    };
    let (a, b) = (
        referee.run(&encoder, "net", &window(0), &[]),
        referee.run(&encoder, "net", &window(4), &[]),
    );
    for c in 0..5 {
        for y in 0..12 {
            // Two blocks of reach 1 and two strided layers see at most 3 codes of a border.
            for x in 3..8 {
                let (i, j) = ((c * 12 + y) * 12 + x + 1, (c * 12 + y) * 12 + x);
                assert!(
                    (a[i] - b[j]).abs() < 1e-12,
                    "code ({c}, {y}, {x}): {} {}",
                    a[i],
                    b[j]
                );
            }
        }
    }
}

/// VQ-VAE-2: the decoded top level is concatenated into the features of the bottom level. Only the
/// quantiser interrupts the graph, so the net after it takes both as channels of one input.
#[test]
fn the_levels_of_vq_vae_2_are_nets_on_concatenated_maps() {
    let half = |c| conv(c, [4, 4], 2, [1; 4], None);
    let net = |input, layers| Net {
        input,
        context: 0,
        layers,
    };
    let bottom = net(Shape::square(3, 32), vec![half(8), act(Act::Relu), half(8)]);
    let top = net(
        bottom.output().unwrap(),
        vec![act(Act::Relu), half(8), Layer::conv(4, 1, 1)],
    );
    let top_decoder = net(
        top.output().unwrap(),
        vec![Layer::UpsampleNearest { factor: 2 }, Layer::conv(4, 3, 1)],
    );
    let joint = top_decoder.output().unwrap().features() + bottom.output().unwrap().features();
    let to_codes = net(Shape::square(joint, 8), vec![Layer::conv(4, 1, 1)]);
    assert_eq!(top.output().unwrap(), Shape::square(4, 4));
    assert_eq!(to_codes.output().unwrap(), Shape::square(4, 8));
}

/// PCA: encode W (x - m), decode W^T z + m with orthonormal rows. Decoding an encoding is a
/// projection: twice is once, and the residual is orthogonal to every component.
#[test]
fn pca_as_two_linear_layers_projects() {
    let (dim, k) = (7, 3);
    let layers = vec![Layer::linear(k), Layer::linear(dim)];
    let net = Net {
        input: Shape::Vector(dim),
        context: 0,
        layers,
    };
    let mut tensors = random_weights(&net.tensors("net").unwrap(), 10);
    let mean = random_values(dim, 11);
    // Gram-Schmidt on random rows.
    let mut w: Vec<Vec<f64>> = Vec::new();
    for seed in 0..k as u64 {
        let mut row = random_values(dim, 20 + seed);
        for other in &w {
            let along = dot(&row, other);
            row.iter_mut().zip(other).for_each(|(r, o)| *r -= along * o);
        }
        let norm = dot(&row, &row).sqrt();
        w.push(row.iter().map(|r| r / norm).collect());
    }
    let mut set = |name: &str, values: Vec<f64>| tensors.get_mut(name).unwrap().1 = values;
    set("net.0.weight", w.concat());
    set("net.0.bias", w.iter().map(|row| -dot(row, &mean)).collect());
    set(
        "net.1.weight",
        (0..dim)
            .flat_map(|i| w.iter().map(move |row| row[i]))
            .collect(),
    );
    set("net.1.bias", mean);
    let referee = Referee::new(tensors);
    let x = random_values(dim, 12);
    let once = referee.run(&net, "net", &x, &[]);
    assert!(relative_error(&referee.run(&net, "net", &once, &[]), &once) < 1e-14);
    let residual: Vec<f64> = x.iter().zip(&once).map(|(a, b)| a - b).collect();
    assert!(w.iter().all(|row| dot(row, &residual).abs() < 1e-14));
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A component of a Gaussian mixture is a `Linear` that whitens: with L the Cholesky factor of the
/// covariance, y = L^-1 (x - m) gives the Mahalanobis distance, here against the explicit inverse of
/// a 2 x 2 covariance.
#[test]
fn a_mixture_component_is_a_whitening() {
    let (cov, mean, x) = ([2.0, 0.6, 0.5], [0.3, -1.0], [1.1, 0.4]);
    let [sxx, sxy, syy]: [f64; 3] = cov;
    let l00 = sxx.sqrt();
    let l10 = sxy / l00;
    let l11 = (syy - l10 * l10).sqrt();
    let inverse = [1.0 / l00, 0.0, -l10 / (l00 * l11), 1.0 / l11];
    let net = Net {
        input: Shape::Vector(2),
        context: 0,
        layers: vec![Layer::linear(2)],
    };
    let mut tensors = random_weights(&net.tensors("net").unwrap(), 0);
    let offset = [0, 1].map(|i| -(inverse[2 * i] * mean[0] + inverse[2 * i + 1] * mean[1]));
    tensors.get_mut("net.0.weight").unwrap().1 = inverse.to_vec();
    tensors.get_mut("net.0.bias").unwrap().1 = offset.to_vec();
    let y = Referee::new(tensors).run(&net, "net", &x, &[]);
    let (dx, dy) = (x[0] - mean[0], x[1] - mean[1]);
    let explicit = (syy * dx * dx - 2.0 * sxy * dx * dy + sxx * dy * dy) / (sxx * syy - sxy * sxy);
    assert!(
        (dot(&y, &y) - explicit).abs() < 1e-13,
        "{} {explicit}",
        dot(&y, &y)
    );
}

/// A U-Net skip, for diffusion-like bodies and PixelCNN++: the inner levels nest inside a `Concat`.
#[test]
fn u_net_skips_nest() {
    let pad = Padding {
        top: 0,
        bottom: 1,
        left: 0,
        right: 1,
    };
    let down = Layer::Conv2d {
        outputs: 8,
        kernel: [2, 2],
        stride: 2,
        padding: pad,
        mask: None,
    };
    let inner = vec![down, act(Act::Silu), Layer::UpsampleNearest { factor: 2 }];
    let layers = vec![Layer::Concat(vec![vec![], inner]), Layer::conv(1, 3, 1)];
    let net = Net {
        input: Shape::square(2, 8),
        context: 0,
        layers,
    };
    // 8 + 1 rows in steps of 2 give 4, doubled 8: the skip fits.
    let output =
        referee(&net, Shape::square(1, 8), 11).run(&net, "net", &random_values(128, 1), &[]);
    assert_eq!(output.len(), 64);
}
