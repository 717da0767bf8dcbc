//! Autoregressive models of images: who sees whom, what heads mean, and that an image drawn with caches
//! is that of a full evaluation for every pixel, bit for bit.

mod causality;
mod goldens;
mod heads;
mod likelihood;
mod nets;
mod sampling;

mod c;
#[path = "../programs/mod.rs"]
mod programs;

use galgen_core::models::{Body, Head, PixelCnnPreset};

/// Small nets of every body.
const BODIES: [(Body, usize); 3] = [(Body::Masked, 2), (Body::Gated, 2), (Body::PlusPlus, 1)];

/// One of each head.
const HEADS: [Head; 5] = [
    Head::Bernoulli,
    Head::Categorical { levels: 5 },
    Head::DiscretisedLogistic {
        components: 3,
        levels: 16,
    },
    Head::Gaussian,
    Head::GaussianMixture { components: 2 },
];

fn preset(body: Body, blocks: usize, channels: usize, head: Head) -> PixelCnnPreset {
    PixelCnnPreset {
        body,
        channels,
        blocks,
        head,
    }
}
