//! A loaded model and a session that draws from it.

use crate::error::LoadError;
use crate::flow::Unsolved;
use crate::kernels::Simd;
use crate::models::{self, flow, flow_vae, made, pixel_cnn, vae};
use crate::weights::Weights;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::condition::NoClass;
use galgen_core::models::{Family, Head};
use galgen_core::object::ObjectError;

/// A model file in memory: the card and packed weights. Immutable; share it between threads through
/// an [`Arc`] and give each thread its own [`Session`](crate::session::Session).
pub struct Model {
    card: Card,
    simd: Simd,
    pub(crate) engine: Box<dyn models::Engine>,
}

impl Model {
    /// Loads a model from the bytes of its file, for the widest instructions of this CPU.
    ///
    /// The result depends on the bytes only: every level of instructions gives the same bits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Arc<Model>, LoadError> {
        Self::from_bytes_on(bytes, Simd::detect())
    }

    /// Loads a model for given instructions; see [`Simd::available`].
    pub fn from_bytes_on(bytes: &[u8], simd: Simd) -> Result<Arc<Model>, LoadError> {
        Self::from_weights(Weights::parse(bytes)?, simd)
    }

    fn from_weights(weights: Weights, simd: Simd) -> Result<Arc<Model>, LoadError> {
        let json = weights
            .metadata(METADATA_KEY)
            .ok_or(LoadError::MissingCard)?;
        let (card, tensors) = Card::parse(json)?;
        weights.check(&tensors)?;
        let geometry = &card.geometry;
        let engine: Box<dyn models::Engine> = match &card.model {
            Family::FlowVae(config) => {
                Box::new(flow_vae::Engine::new(config, geometry, &weights, simd)?)
            }
            Family::Vae(config) => Box::new(vae::Engine::new(config, geometry, &weights, simd)?),
            Family::Flow(config) => Box::new(flow::Engine::new(config, &weights, simd)?),
            Family::Made(config) => Box::new(made::Engine::new(config, &weights, simd)?),
            Family::PixelCnn(config) => {
                Box::new(pixel_cnn::Engine::new(config, geometry, &weights, simd)?)
            }
        };
        weights.check_unread()?;
        Ok(Arc::new(Model { card, simd, engine }))
    }

    /// Loads a model file.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Arc<Model>, LoadError> {
        Self::open_on(path, Simd::detect())
    }

    /// Loads a model file for given instructions; see [`Simd::available`].
    #[cfg(feature = "std")]
    pub fn open_on(path: impl AsRef<std::path::Path>, simd: Simd) -> Result<Arc<Model>, LoadError> {
        Self::from_weights(Weights::open(path.as_ref())?, simd)
    }

    /// The card: geometry, conditions, family, provenance, evaluation.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The instructions that the kernels use.
    pub fn simd(&self) -> Simd {
        self.simd
    }

    /// Number of f32 of one stamp: bands x side x side.
    pub fn stamp_len(&self) -> usize {
        self.card.geometry.pixels()
    }

    /// Whether the model draws galaxies as they are in front of the telescope, and takes the point-spread
    /// function of stamps that it encodes or scores.
    pub fn takes_psf(&self) -> bool {
        self.engine.takes_psf()
    }

    /// Whether likelihoods take the sky noise of a stamp: that of other families is part of what they have learned.
    pub fn takes_sky(&self) -> bool {
        self.own_noise().is_none()
    }

    /// Why likelihoods take no sky noise; `None` if they do.
    pub(crate) fn own_noise(&self) -> Option<&'static str> {
        match &self.card.model {
            Family::FlowVae(_) => None,
            Family::Vae(_) => Some("none: the model has learned the noise of its pixels"),
            Family::PixelCnn(_) => Some("none: the noise is inside the distribution of the pixels"),
            Family::Flow(_) => Some("none: the density of a flow has no noise of its own"),
            Family::Made(_) => Some("none: the pixels of this model are 0 or 1"),
        }
    }

    /// The distribution of a pixel given those before it, of an autoregressive model.
    pub fn head(&self) -> Option<Head> {
        self.engine.autoregressive().map(pixel_cnn::Engine::head)
    }

    /// Number of latent dimensions; 0 of a model without a latent.
    pub fn latent(&self) -> usize {
        self.engine.latent()
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.card.name)
            .field("fingerprint", &self.card.fingerprint)
            .field("simd", &self.simd)
            .finish_non_exhaustive()
    }
}

/// Why an object cannot be drawn or scored.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DrawError {
    /// A number of the request is out of range.
    #[error("object {id}: {error}")]
    Object {
        /// The object.
        id: u64,
        /// Which number and why.
        error: ObjectError,
    },
    /// The decoder gave a stamp without light: the weights are damaged, or the conditions absurd.
    #[error(
        "object {id}: the model draws no light, or no numbers: its weights are damaged, or conditions lie far outside the trained range"
    )]
    NoLight {
        /// The object.
        id: u64,
    },
    /// The same of a latent, given or of a stamp.
    #[error(
        "the model makes no light, or no numbers, of the latent: it is far from those that the model draws, or the weights are damaged"
    )]
    Undecodable,
    /// A stamp where the model's density is zero was to be encoded.
    #[error(
        "a pixel of the stamp lies outside the domain of the flow (its logit takes 0 to 1, a little more with alpha): it has no latent"
    )]
    Outside,
    /// A condition that is a class has a value that is none.
    #[error("{0}")]
    Class(#[from] NoClass),
    /// A galaxy was asked of a model of plain images.
    #[error("the model draws plain images, without size, flux or orientation: draw images from it")]
    NotGalaxies,
    /// A plain image was asked of a model of galaxies.
    #[error(
        "the model draws galaxies: ask for stamps in the galaxy frame, native or rendered ones"
    )]
    NotImages,
    /// A latent was asked of a model that has none.
    #[error("the model has no latent: draw images from it, score, reconstruct or complete them")]
    NoLatent,
    /// The distribution of single pixels was asked of a model that has none.
    #[error(
        "the model is no PixelCNN, whose are per-pixel likelihoods, parameters and completions"
    )]
    NotAutoregressive,
    /// A plain autoencoder was asked how likely a stamp is.
    #[error(
        "the model is a plain autoencoder, which has no likelihood of a stamp: use the error of its \
         reconstruction and the density of its latent"
    )]
    NoLikelihood,
    /// The differential equation of a continuous flow was not solved.
    #[error("{0}")]
    Unsolved(#[from] Unsolved),
    /// The weights were stored in 16 bits, and the likelihood was asked for without accepting that.
    #[error(
        "the model's weights are stored in 16 bits, which changes ln p by about 0.01 to 0.2 nats: export them as f32, \
         or accept it (--half-precision, Session::accept_half_precision, galgen_session_accept_half_precision)"
    )]
    HalfPrecision,
    /// The object's size, shear and magnification together leave the range of f64.
    #[error("object {id}: size, shear and magnification cannot be rendered together")]
    Unrenderable {
        /// The object.
        id: u64,
    },
    /// A stamp to be scored has no light or holds a number that is not finite.
    #[error(
        "the stamp has sum {sum} or holds a number that is not finite, expected finite pixels with a positive sum"
    )]
    Stamp {
        /// Sum of its pixels.
        sum: f64,
    },
    /// Conditions to score a stamp under, or the number of posterior draws, are out of range.
    #[error("{field} is {found}, expected {expected}")]
    Argument {
        /// What was out of range.
        field: &'static str,
        /// Its value.
        found: f64,
        /// What would be right.
        expected: &'static str,
    },
}
