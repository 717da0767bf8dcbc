//! Families to come, written in today's spec: evidence that it carries them, and a first law for each.
//!
//! | family | here as | will add |
//! |---|---|---|
//! | PCA, PPCA, linear autoencoder | two `Linear` | nothing; the noise variance is a scalar of the card |
//! | Gaussian mixture | one `Linear` (whitening) a component | nothing; weights and log-sum-exp belong to `models/` |
//! | VAE, conditional VAE | nets with context | for the published bodies `groups` of `Conv2d` (separable), a norm over the channels of each pixel, `ConvTranspose2d` |
//! | VQ-VAE, VQ-VAE-2 | encoder and decoder nets | nothing; the codebook is a tensor of `models/` between nets |
//! | GAN, WGAN, WGAN-GP, f-AnoGAN | critic and generator nets | `ConvTranspose2d` for published nets; critic features are the same net, truncated |
//!
//! All weights are random: a law of an architecture holds for any weights.

mod adversarial;
mod autoregressive;
mod latent;

use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Shape};
use galgen_tests::referee::Referee;
use galgen_tests::tensors::random_weights;

fn act(act: Act) -> Layer {
    Layer::Activation(act)
}

/// A net with random weights, checked, under the prefix `net`.
fn referee(net: &Net, output: Shape, seed: u64) -> Referee {
    assert_eq!(net.output().unwrap(), output);
    Referee::new(random_weights(&net.tensors("net").unwrap(), seed))
}

/// Whether each output changes when input `i` does.
fn moved(run: &dyn Fn(&[f64]) -> Vec<f64>, input: &[f64], i: usize) -> Vec<bool> {
    let mut other = input.to_vec();
    other[i] += 1.0;
    run(input)
        .iter()
        .zip(run(&other))
        .map(|(a, b)| *a != b)
        .collect()
}
