//! Critic and generator.

use crate::{act, moved, referee};
use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Shape};
use galgen_tests::cases::conv;
use galgen_tests::compare::relative_error;
use galgen_tests::referee::Referee;
use galgen_tests::tensors::{random_values, random_weights};

const LEAKY: Layer = Layer::Activation(Act::LeakyRelu { slope: 0.2 });

/// A WGAN-GP critic is piecewise linear: without biases critic(s x) = s critic(x) for s > 0.
#[test]
fn a_critic_without_biases_is_homogeneous() {
    let layers = vec![
        conv(8, [4, 4], 2, [1; 4], None),
        LEAKY,
        conv(16, [4, 4], 2, [1; 4], None),
        LEAKY,
        Layer::Reshape(Shape::Vector(256)),
        Layer::linear(1),
    ];
    let net = Net {
        input: Shape::square(1, 16),
        context: 0,
        layers,
    };
    let mut tensors = random_weights(&net.tensors("net").unwrap(), 7);
    for (name, (_, values)) in &mut tensors {
        if name.ends_with("bias") {
            values.fill(0.0);
        }
    }
    assert_eq!(net.output().unwrap(), Shape::Vector(1));
    let referee = Referee::new(tensors);
    let x = random_values(256, 7);
    let scaled: Vec<f64> = x.iter().map(|v| 3.7 * v).collect();
    let once = referee.run(&net, "net", &x, &[])[0];
    let error = relative_error(&referee.run(&net, "net", &scaled, &[]), &[3.7 * once]);
    assert!(error < 1e-12, "relative error {error:e}");
}

/// A DCGAN-like generator of upsampling and convolutions, class labels as context: the image lies in
/// (0, 1) and depends on every latent and on every label.
#[test]
fn a_generator_uses_all_of_its_input() {
    let up = |outputs| {
        [
            Layer::UpsampleNearest { factor: 2 },
            Layer::conv(outputs, 3, 1),
        ]
    };
    let mut layers = vec![
        Layer::AppendContext,
        Layer::linear(8 * 16),
        Layer::Reshape(Shape::square(8, 4)),
    ];
    for outputs in [8, 4] {
        layers.extend(up(outputs));
        layers.push(Layer::GroupNorm {
            groups: 2,
            epsilon: 1e-5,
        });
        layers.push(act(Act::Relu));
    }
    layers.extend([Layer::conv(1, 3, 1), act(Act::Sigmoid)]);
    let net = Net {
        input: Shape::Vector(6),
        context: 3,
        layers,
    };
    let referee = referee(&net, Shape::square(1, 16), 8);
    let run = |zc: &[f64]| referee.run(&net, "net", &zc[..6], &zc[6..]);
    let zc = random_values(9, 8);
    assert!(run(&zc).iter().all(|v| (0.0..1.0).contains(v)));
    for i in 0..9 {
        assert!(moved(&run, &zc, i).contains(&true), "input {i} is not used");
    }
}
