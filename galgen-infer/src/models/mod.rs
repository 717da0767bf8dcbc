//! How each family draws and scores, on top of lowered networks. A new family is a new [`Engine`].

mod blur;
mod bound;
pub(crate) mod flow;
pub(crate) mod flow_vae;
mod light;
pub(crate) mod made;
pub(crate) mod pixel_cnn;
mod texture;
pub(crate) mod vae;

use crate::causal;
use crate::flow::{FlowScratch, FlowSizes, Noises, Unsolved};
use crate::model::DrawError;
use alloc::vec;
use alloc::vec::Vec;
use blur::Blur;
use bound::LogSumExp;
use galgen_core::rng::Philox;
use galgen_core::spec::TraceNoise;
use texture::{TextureScratch, TextureSizes};

/// A family with packed weights. `context` is the standardised condition vector everywhere; stamps are what
/// [`Session`](crate::Session) hands to the networks: of unit sum in the galaxy frame, images as they are.
pub(crate) trait Engine: Send + Sync {
    /// Number of latent dimensions.
    fn latent(&self) -> usize;

    /// How many of so many items it saves time to compute together.
    fn batch(&self, _items: usize) -> usize {
        1
    }

    /// Lengths of all memory that the other functions write to, for so many items at a time.
    fn sizes(&self, items: usize) -> Sizes;

    /// The engine of an autoregressive model, which has no latent.
    fn autoregressive(&self) -> Option<&pixel_cnn::Engine> {
        None
    }

    /// Whether observed stamps are blurred versions of the model's, and [`Engine::set_psf`] says how.
    fn takes_psf(&self) -> bool {
        false
    }

    /// Whether the likelihood suffers from weights that were stored in 16 bits.
    fn half_precision(&self) -> bool {
        false
    }

    /// The point-spread function of the stamps that are encoded and scored from now on: odd side, at most
    /// the stamp's, of sum 1. Ignored by a model that takes none.
    fn set_psf(&self, _psf: &[f32], _psf_side: usize, _scratch: &mut Scratch) {}

    /// A latent drawn from the model with the random numbers of `rng`.
    fn draw_latent(
        &self,
        rng: &mut Philox,
        context: &[f32],
        scratch: &mut Scratch,
        z: &mut [f32],
    ) -> Result<(), Failed>;

    /// Turns the mean of an image into a draw of its pixels.
    fn scatter(&self, rng: &mut Philox, out: &mut [f32]);

    /// The mean stamp of latent `z`.
    fn decode(
        &self,
        z: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Failed>;

    /// Turns the mean stamp of a galaxy, of latent `z`, into a draw: with the random detail that its latent does not say.
    fn draw_texture(
        &self,
        _rng: &mut Philox,
        _z: &[f32],
        _context: &[f32],
        _scratch: &mut Scratch,
        _out: &mut [f32],
    ) -> Result<(), Failed> {
        Ok(())
    }

    /// Strength of that detail in each pixel of a plane.
    fn texture_strength(
        &self,
        _z: &[f32],
        _context: &[f32],
        _scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        out.fill(0.0);
    }

    /// The mean stamps of several latents, one after the other in `z`, `contexts` and `out`; what cannot be decoded is
    /// zero, and `decoded` says so. The bits of each are those that it has alone.
    fn decode_batch(
        &self,
        z: &[f32],
        contexts: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
        decoded: &mut [Result<(), Failed>],
    ) {
        let items = decoded.len();
        for (i, (decoded, out)) in decoded.iter_mut().zip(rows_mut(out, items)).enumerate() {
            let (z, context) = (row(z, items, i), row(contexts, items, i));
            *decoded = self.decode(z, context, scratch, out);
            if decoded.is_err() {
                out.fill(0.0);
            }
        }
    }

    /// Whether [`Engine::log_likelihood`] is a density of any finite pixels, the same whatever `samples` are, which
    /// [`Engine::log_densities`] gives for several stamps.
    fn has_log_densities(&self) -> bool {
        false
    }

    /// ln p of several stamps, of a model that has it, each with its `noise`. The bits of each are those that it has
    /// alone.
    fn log_densities(
        &self,
        _stamps: &[f32],
        _contexts: &[f32],
        _noise: Noises<'_>,
        _scratch: &mut Scratch,
        _out: &mut [Result<f64, Unsolved>],
    ) {
    }

    /// Mean and ln variance of the posterior of z. An error if the stamp is none that the model knows.
    fn encode(
        &self,
        stamp: &[f32],
        context: &[f32],
        scratch: &mut Scratch,
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), DrawError>;

    /// ln p(z | context); minus infinity where the networks overflow.
    fn log_prob_latent(&self, z: &[f64], context: &[f32], scratch: &mut Scratch) -> f64;

    /// Importance-weighted lower bound of ln p(stamp | context) with `samples` posterior draws.
    fn log_likelihood(
        &self,
        observed: &Observed,
        context: &[f32],
        samples: u32,
        rng: &mut Philox,
        scratch: &mut Scratch,
    ) -> Result<f64, DrawError>;
}

/// An error if an element is neither 0 nor 1.
fn binary(stamp: &[f32]) -> Result<(), DrawError> {
    match stamp.iter().find(|&&x| x != 0.0 && x != 1.0) {
        Some(&found) => Err(DrawError::Argument {
            field: "pixel",
            found: f64::from(found),
            expected: "0 or 1: binarise the image first",
        }),
        None => Ok(()),
    }
}

/// A stamp to be scored. The conditions are given apart, standardised.
pub(crate) struct Observed<'a> {
    /// Its pixels.
    pub stamp: &'a [f32],
    /// Noise of a pixel in units of the pixels, if it is known.
    pub sky: Option<f64>,
    /// Where a flow's trace is estimated.
    pub noise: TraceNoise,
}

/// Why nothing was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The decoder gave no light, negative light or not a number, or the latent left the range of f32.
    NoLight,
    /// The way from the noise was not found.
    Unsolved(Unsolved),
}

impl Failed {
    /// What the caller is told who asked for object `id`.
    pub fn of_object(self, id: u64) -> DrawError {
        match self {
            Failed::NoLight => DrawError::NoLight { id },
            Failed::Unsolved(error) => DrawError::Unsolved(error),
        }
    }

    /// What the caller is told who gave a latent.
    pub fn of_latent(self) -> DrawError {
        match self {
            Failed::NoLight => DrawError::Undecodable,
            Failed::Unsolved(error) => DrawError::Unsolved(error),
        }
    }
}

impl From<Unsolved> for Failed {
    fn from(error: Unsolved) -> Self {
        Failed::Unsolved(error)
    }
}

/// Everything that is written while drawing or scoring one object.
pub(crate) struct Scratch {
    plans: Vec<f32>,
    flow: FlowScratch,
    /// Input of the encoder.
    seen: Vec<f32>,
    stamp: Vec<f32>,
    blur: Option<Blur>,
    texture: Option<TextureScratch>,
    /// Output of the encoder.
    code: Vec<f32>,
    z32: Vec<f32>,
    z: Vec<f64>,
    u: Vec<f64>,
    log_weights: LogSumExp,
    /// Of several items.
    outcomes: Vec<Result<f64, Unsolved>>,
    /// Of an autoregressive model.
    sampler: Option<causal::State>,
}

/// Lengths of the buffers of a [`Scratch`].
#[derive(Default)]
pub(crate) struct Sizes {
    plans: usize,
    flow: FlowSizes,
    seen: usize,
    stamp: usize,
    /// Side of the stamps, where they are blurred.
    blur: Option<usize>,
    texture: Option<TextureSizes>,
    code: usize,
    /// Numbers of a latent, times the items that are decoded together.
    latent: usize,
    outcomes: usize,
    sampler: Option<causal::Sizes>,
}

impl Sizes {
    /// Bytes that [`Scratch::new`] allocates.
    pub fn bytes(&self) -> usize {
        let f32s = self.plans + self.seen + self.stamp + self.code + self.latent;
        let f64s = 2 * self.latent;
        4 * f32s
            + 8 * f64s
            + size_of::<Result<f64, Unsolved>>() * self.outcomes
            + self.flow.bytes()
            + self.blur.map_or(0, Blur::bytes)
            + self.texture.as_ref().map_or(0, TextureSizes::bytes)
            + self.sampler.as_ref().map_or(0, causal::Sizes::bytes)
    }
}

impl Scratch {
    pub fn new(sizes: &Sizes) -> Self {
        Scratch {
            plans: vec![0.0; sizes.plans],
            flow: FlowScratch::new(&sizes.flow),
            seen: vec![0.0; sizes.seen],
            stamp: vec![0.0; sizes.stamp],
            blur: sizes.blur.map(Blur::new),
            texture: sizes.texture.as_ref().map(TextureScratch::new),
            code: vec![0.0; sizes.code],
            z32: vec![0.0; sizes.latent],
            z: vec![0.0; sizes.latent],
            u: vec![0.0; sizes.latent],
            log_weights: LogSumExp::default(),
            outcomes: vec![Ok(0.0); sizes.outcomes],
            sampler: sizes.sampler.as_ref().map(causal::State::new),
        }
    }
}

/// Item `i` of `items` that lie one after the other.
pub(crate) fn row<T>(values: &[T], items: usize, i: usize) -> &[T] {
    let each = values.len() / items;
    &values[i * each..(i + 1) * each]
}

/// All of `items` that lie one after the other; none if they are empty.
fn rows_mut<T>(values: &mut [T], items: usize) -> core::slice::ChunksExactMut<'_, T> {
    let each = values.len() / items.max(1);
    values.chunks_exact_mut(each.max(1))
}

/// Rounds `z` into `z32`; whether that is finite. A saturating activation of a decoder would make numbers of
/// infinities again.
fn rounded(z: &[f64], z32: &mut [f32]) -> Result<(), Failed> {
    for (to, &from) in z32.iter_mut().zip(z) {
        *to = from as f32;
    }
    match z32.iter().all(|z| z.is_finite()) {
        true => Ok(()),
        false => Err(Failed::NoLight),
    }
}
