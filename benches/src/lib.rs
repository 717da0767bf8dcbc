//! What the benchmarks share: the default model, galaxies to ask it for, and what the core could do at
//! best. `README.md` of this folder has the commands and the figures.
//!
//! The environment variable `GALGEN_MODEL` names another model file. Times do not depend on what the
//! weights are, except where a stamp is measured or rendered: empty pixels are skipped.
#![forbid(unsafe_code)]

pub mod core_limits;

use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::models::{Family, FlowVae};
use galgen_core::object::Object;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::Flow;
use galgen_infer::lower::Plan;
use galgen_infer::render::{Grid, Psf, Renderer};
use galgen_infer::weights::Weights;
use galgen_infer::{Model, Session, Simd};
use std::sync::Arc;

/// Seed of everything that is drawn here.
pub const SEED: u64 = 1;
/// Objects are taken in turn, so that no single stamp is learned by the branch predictor.
pub const OBJECTS: u64 = 64;

/// A model file, taken apart so that its networks can be timed alone.
pub struct Inputs {
    bytes: Vec<u8>,
    /// Its tensors.
    pub weights: Weights<'static>,
    /// Its card.
    pub card: Card,
}

impl Inputs {
    /// Reads `models/default.safetensors`, or the file that `GALGEN_MODEL` names.
    ///
    /// # Panics
    /// If it is no model.
    pub fn read() -> Inputs {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/default.safetensors");
        let path = std::env::var("GALGEN_MODEL").unwrap_or_else(|_| default.into());
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let weights = Weights::open(path.as_ref()).unwrap_or_else(|e| panic!("{path}: {e}"));
        let json = weights
            .metadata(METADATA_KEY)
            .expect("a model file has a card");
        let (card, _) = Card::parse(json).unwrap_or_else(|e| panic!("{path}: {e}"));
        Inputs {
            bytes,
            weights,
            card,
        }
    }

    /// The model for the instructions `simd`.
    pub fn model(&self, simd: Simd) -> Arc<Model> {
        Model::from_bytes_on(&self.bytes, simd).expect("the card has been read")
    }

    /// A session on the widest instructions.
    pub fn session(&self) -> Session {
        Session::new(self.model(Simd::detect()))
    }

    /// Configuration of the family.
    pub fn config(&self) -> &FlowVae {
        match &self.card.model {
            Family::FlowVae(config) => config,
            Family::Vae(_) | Family::Flow(_) | Family::Made(_) | Family::PixelCnn(_) => {
                unreachable!("the default model is a flow-VAE")
            }
        }
    }

    /// The decoder for the instructions `simd`.
    pub fn decoder(&self, simd: Simd) -> Plan {
        Plan::new(&self.config().decoder, "decoder", &self.weights, simd)
            .expect("the tensors of a checked card")
    }

    /// The nets of the flow's couplings.
    pub fn coupling_nets(&self) -> Vec<Plan> {
        let Flow { transforms, .. } = &self.config().flow;
        let nets = transforms.iter().enumerate().filter_map(|(i, t)| {
            let plan = Plan::new(
                t.net()?,
                &format!("flow.{i}.net"),
                &self.weights,
                Simd::detect(),
            );
            Some(plan.expect("the tensors of a checked card"))
        });
        nets.collect()
    }

    /// A standard normal latent.
    pub fn latent(&self) -> Vec<f64> {
        let mut rng = Philox::new(SEED, 0, Stream::Latent);
        (0..self.config().latent).map(|_| rng.normal()).collect()
    }

    /// The mean conditions of the training set; standardised they are zeros.
    pub fn conditions(&self) -> Vec<f32> {
        self.card
            .conditions
            .list
            .iter()
            .map(|c| c.mean as f32)
            .collect()
    }

    /// A sheared, magnified galaxy of 0.8 arcsec whose axes lie along no axis of the grid.
    pub fn object(&self, id: u64) -> Object {
        Object {
            half_light_radius: 0.8,
            flux: 100.0,
            position_angle: 30.0,
            shear: [0.02, -0.03],
            magnification: 1.1,
            ..Object::new(id % OBJECTS, &self.conditions())
        }
    }

    /// 64 x 64 pixels of 0.2 arcsec behind a Moffat profile of 0.7 arcsec, as from the ground.
    pub fn renderer(&self) -> Renderer {
        let psf = Psf::moffat(0.7, 3.0).expect("a valid profile");
        let grid = Grid {
            width: 64,
            height: 64,
            pixel_scale: 0.2,
        };
        let geometry = &self.card.geometry;
        Renderer::new(geometry.side, geometry.bands.len(), grid, Some(&psf)).expect("a small grid")
    }

    /// Stamps of all objects in the galaxy frame, checked: unit sum, and the bits of the portable code.
    pub fn stamps(&self) -> Vec<Vec<f32>> {
        let (mut fast, mut oracle) = (self.session(), Session::new(self.model(Simd::Scalar)));
        let draw = |session: &mut Session, id| {
            let mut stamp = vec![0.0; session.model().stamp_len()];
            let object = Object {
                flux: 1.0,
                magnification: 1.0,
                ..self.object(id)
            };
            let drawn = session.sample_galaxy_frame(SEED, &object, &mut stamp);
            drawn.expect("a valid object");
            stamp
        };
        let stamps: Vec<_> = (0..OBJECTS).map(|id| draw(&mut fast, id)).collect();
        assert_eq!(
            stamps[0],
            draw(&mut oracle, 0),
            "the portable code draws another stamp"
        );
        for stamp in &stamps {
            assert_sum(stamp, 1.0);
        }
        stamps
    }
}

/// Asserts that the pixels are not negative and have this sum to 1e-6.
pub fn assert_sum(pixels: &[f32], expected: f64) {
    assert!(pixels.iter().all(|&p| p >= 0.0), "a pixel is negative");
    let sum: f64 = pixels.iter().map(|&p| f64::from(p)).sum();
    assert!(
        (sum - expected).abs() <= 1e-6 * expected,
        "sum {sum}, expected {expected}"
    );
}
