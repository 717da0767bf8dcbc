//! Drawing and scoring: one session per thread, all memory taken at the start.

mod autoregressive;
mod batch;
mod likelihood;

use crate::flow::Unsolved;
use crate::model::{DrawError, Model};
use crate::models::{Failed, Scratch};
use crate::render::{Affine, Grid, Lens, NativeFrame, Noise, Renderer};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
pub use batch::Scoring;
use galgen_core::condition::Flags;
use galgen_core::measure;
use galgen_core::object::{Object, SizeDefinition};
use galgen_core::rng::{Philox, Stream};

/// Name of the condition that fixes the half-light ellipse of a stamp.
const AXIS_RATIO: &str = "axis_ratio";
/// A drawn stamp rounder than this has no orientation that could be corrected.
const ROUND: f64 = 0.97;
/// Conditions agree when a round changes none by more than this fraction; no more rounds than that.
const AGREEMENT: f32 = 1e-3;
const AGREEMENT_ROUNDS: usize = 12;

/// What was drawn, beside the pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// What is unusual about the request or the stamp.
    pub flags: Flags,
    /// Side of a pixel of the output, in arcsec. In the galaxy frame: before lensing.
    pub pixel_scale: f64,
    /// 2 x 2 matrix, row-major, from an offset in pixels of the *galaxy frame* to the sky in arcsec:
    /// rotation, shear and magnification included.
    pub jacobian: [f64; 4],
    /// Half-light radius of the drawn stamp in pixels of the galaxy frame, by the requested definition.
    pub half_light_radius: f64,
    /// Total flux of the galaxy, lensed: the request's flux times its magnification.
    pub flux: f64,
    /// Share of `flux` inside the output; 1 for native stamps.
    pub fraction_inside: f64,
}

/// Draws and scores with one [`Model`]. Holds all scratch memory: after construction nothing is
/// allocated. One per thread.
pub struct Session {
    model: Arc<Model>,
    scratch: Scratch,
    /// Unit-sum stamp in the galaxy frame.
    shape: Vec<f32>,
    /// All bands of `shape` added, for measurements.
    light: Vec<f32>,
    context: Vec<f32>,
    /// Conditions of the round before, in `agree`.
    asked: Vec<f32>,
    /// Scratch of `set_psf`.
    psf: Vec<f32>,
    /// Mean and ln variance of a stamp, or a drawn latent.
    code: [Vec<f32>; 2],
    /// For galaxies.
    native: Option<Renderer>,
    axis_ratio: Option<usize>,
    /// Whether weights of 16 bits are good enough for likelihoods.
    half_precision: bool,
    /// Most items that are computed together, and of each of them:
    batch: usize,
    contexts: Vec<f32>,
    latents: Vec<f32>,
    flags: Vec<Flags>,
    drawn: Vec<Result<(), Failed>>,
    decoded: Vec<Result<(), Failed>>,
    scores: Vec<Result<f64, Unsolved>>,
}

/// Lengths of a session's own buffers.
struct Lengths {
    shape: usize,
    light: usize,
    context: usize,
    asked: usize,
    psf: usize,
    code: usize,
}

impl Lengths {
    fn new(model: &Model) -> Self {
        let (geometry, conditions) = (&model.card().geometry, &model.card().conditions);
        let plane = geometry.side * geometry.side;
        Lengths {
            shape: geometry.pixels(),
            light: if geometry.bands.len() > 1 { plane } else { 0 },
            context: conditions.width(),
            asked: conditions.list.len(),
            psf: plane,
            code: model.latent(),
        }
    }
}

/// The grid of a native stamp.
fn native_grid(side: usize) -> Grid {
    Grid {
        width: side,
        height: side,
        pixel_scale: 1.0,
    }
}

impl Model {
    /// Bytes of memory that [`Session::new`] takes, in blocks of their final sizes; drawing and scoring take no more.
    pub fn session_bytes(&self) -> usize {
        self.session_bytes_of(1)
    }

    /// Bytes of memory that [`Session::with_batch`] takes.
    pub fn session_bytes_of(&self, items: usize) -> usize {
        let items = self.engine.batch(items.max(1));
        let Lengths {
            shape,
            light,
            context,
            asked,
            psf,
            code,
        } = Lengths::new(self);
        let geometry = &self.card().geometry;
        let native = match geometry.half_light_radius {
            Some(_) => Renderer::bytes(geometry.side, &native_grid(geometry.side)) as usize,
            None => 0,
        };
        let own = 4 * (shape + light + context + asked + psf + 2 * code);
        let outcomes = size_of::<Flags>()
            + 2 * size_of::<Result<(), Failed>>()
            + size_of::<Result<f64, Unsolved>>();
        let batch = items * (4 * (context + code) + outcomes);
        own + batch + native + self.engine.sizes(items).bytes()
    }
}

/// What of an image is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// The mean of the pixels given the latent (of an autoregressive model: given the pixels drawn before
    /// each): the probability of 1 where pixels are 0 or 1.
    #[default]
    Mean,
    /// One draw of the pixels given the latent.
    Drawn,
}

impl Session {
    /// A session of `model`. Takes [`Model::session_bytes`] of memory, and never more.
    pub fn new(model: Arc<Model>) -> Session {
        Self::with_batch(model, 1)
    }

    /// A session that computes up to so many `items` of a call together, where that saves time (flows of vectors): the
    /// results stay the same. Takes [`Model::session_bytes_of`] of memory, and never more.
    pub fn with_batch(model: Arc<Model>, items: usize) -> Session {
        let batch = model.engine.batch(items.max(1));
        let geometry = &model.card().geometry;
        let (side, bands) = (geometry.side, geometry.bands.len());
        let native = geometry.half_light_radius.map(|_| {
            let renderer = Renderer::new(side, bands, native_grid(side), None);
            renderer.expect("a checked card has a stamp that can be rendered")
        });
        let lengths = Lengths::new(&model);
        Session {
            scratch: Scratch::new(&model.engine.sizes(batch)),
            shape: vec![0.0; lengths.shape],
            light: vec![0.0; lengths.light],
            context: vec![0.0; lengths.context],
            asked: vec![0.0; lengths.asked],
            psf: Vec::with_capacity(lengths.psf),
            code: [(); 2].map(|()| vec![0.0; lengths.code]),
            native,
            half_precision: false,
            batch,
            contexts: vec![0.0; batch * lengths.context],
            latents: vec![0.0; batch * lengths.code],
            flags: vec![Flags::default(); batch],
            drawn: vec![Ok(()); batch],
            decoded: vec![Ok(()); batch],
            scores: vec![Ok(0.0); batch],
            axis_ratio: model.card().conditions.position(AXIS_RATIO),
            model,
        }
    }

    /// The model that this session draws from.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Draws `object` into `out` (`[bands, side, side]`) in the **galaxy frame**: the network's own
    /// grid, major axis near x, nothing resampled. `jacobian` of the result carries size, orientation,
    /// shear and magnification exactly. Sum = flux (lensed), all pixels 0 or more.
    ///
    /// # Panics
    /// If `out` is not [`Model::stamp_len`] long.
    pub fn sample_galaxy_frame(
        &mut self,
        seed: u64,
        object: &Object,
        out: &mut [f32],
    ) -> Result<Drawn, DrawError> {
        assert_eq!(out.len(), self.shape.len(), "length of the output stamp");
        let (drawn, _) = self.draw(seed, object)?;
        for (out, &pixel) in out.iter_mut().zip(&self.shape) {
            *out = (f64::from(pixel) * drawn.flux) as f32;
        }
        Ok(drawn)
    }

    /// Draws `object` into `out` (`[bands, side, side]`) as a **native** stamp: axes along the sky's,
    /// rotated, sheared and magnified, with a pixel scale of its own
    /// (`pixel_scale` of the result) that keeps all of the light inside. Sum = flux (lensed).
    ///
    /// # Panics
    /// If `out` is not [`Model::stamp_len`] long.
    pub fn sample_native(
        &mut self,
        seed: u64,
        object: &Object,
        out: &mut [f32],
    ) -> Result<Drawn, DrawError> {
        assert_eq!(out.len(), self.shape.len(), "length of the output stamp");
        let (mut drawn, frame) = self.draw(seed, object)?;
        let to_pixels = Affine::scale(1.0 / frame.pixel_scale)
            .map_err(|_| DrawError::Unrenderable { id: object.id })?;
        let affine = frame.affine.then(&to_pixels);
        let native = self.native.as_mut().ok_or(DrawError::NotGalaxies)?;
        let rendered = native.render(&self.shape, &affine, [0.0, 0.0], drawn.flux, out);
        // Corners of turned pixels at the rim stick out by a few 1e-7 of the light: give it back.
        let missing = 1.0 / rendered.fraction_inside;
        if missing > 1.0 {
            for pixel in out.iter_mut() {
                *pixel = (f64::from(*pixel) * missing) as f32;
            }
        }
        drawn.pixel_scale = frame.pixel_scale;
        Ok(drawn)
    }

    /// Draws `object` into `out` on the grid of `renderer`, through its point-spread function if it has
    /// one, with the galaxy's centre at `offset` arcsec from the grid's centre, and adds `noise`.
    ///
    /// # Panics
    /// If `renderer` was made for another stamp than this model's, or `out` is not
    /// [`Renderer::image_len`] long.
    pub fn sample_rendered(
        &mut self,
        seed: u64,
        object: &Object,
        offset: [f64; 2],
        renderer: &mut Renderer,
        noise: Option<&Noise>,
        out: &mut [f32],
    ) -> Result<Drawn, DrawError> {
        let (mut drawn, frame) = self.draw(seed, object)?;
        let rendered = renderer.render(&self.shape, &frame.affine, offset, drawn.flux, out);
        if let Some(noise) = noise {
            noise.add(out, seed, object.id);
        }
        drawn.pixel_scale = renderer.grid().pixel_scale;
        drawn.fraction_inside = rendered.fraction_inside;
        Ok(drawn)
    }

    /// Draws the unit-sum shape and works out where it goes on the sky.
    fn draw(&mut self, seed: u64, object: &Object) -> Result<(Drawn, NativeFrame), DrawError> {
        let id = object.id;
        let card = self.model.card();
        if card.geometry.half_light_radius.is_none() {
            return Err(DrawError::NotGalaxies);
        }
        let count = card.conditions.len();
        object
            .check(count)
            .map_err(|error| DrawError::Object { id, error })?;
        let conditions = &object.conditions[..count];
        let mut flags = card.conditions.standardise(conditions, &mut self.context)?;
        let side = card.geometry.side;
        self.draw_mean(seed, id)?;
        self.draw_texture(seed, id)?;

        let light = sum_bands(&self.shape, &mut self.light);
        let circular =
            measure::half_light_radius(light, side, 1.0).ok_or(DrawError::NoLight { id })?;
        let moments = measure::shape_of_radius(light, side, circular);
        let turn = match moments {
            Some(m) if m.ellipse.axis_ratio < ROUND => m.ellipse.position_angle,
            _ => {
                flags = flags | Flags(Flags::ROUND);
                0.0
            }
        };
        let axis_ratio = match object.size_definition {
            SizeDefinition::Circular => 1.0,
            SizeDefinition::SemiMajor => match (self.axis_ratio, moments) {
                (Some(i), _) => f64::from(conditions[i]).clamp(0.05, 1.0),
                (None, Some(m)) => m.ellipse.axis_ratio,
                (None, None) => 1.0,
            },
        };
        let radius = if axis_ratio == 1.0 {
            circular
        } else {
            measure::half_light_radius(light, side, axis_ratio).ok_or(DrawError::NoLight { id })?
        };

        let unrenderable = |_| DrawError::Unrenderable { id };
        let lens = Lens::new(object.shear[0], object.shear[1], object.magnification)
            .map_err(unrenderable)?;
        let scale = object.half_light_radius / radius;
        let frame =
            NativeFrame::new(scale, object.position_angle - turn, lens).map_err(unrenderable)?;
        let result = Drawn {
            flags,
            pixel_scale: scale,
            jacobian: frame.affine.matrix(),
            half_light_radius: radius,
            flux: object.flux * object.magnification,
            fraction_inside: 1.0,
        };
        Ok((result, frame))
    }

    /// Leaves the mean stamp of object `id` under `self.context` in `self.shape`.
    fn draw_mean(&mut self, seed: u64, id: u64) -> Result<(), DrawError> {
        let mut rng = Philox::new(seed, id, Stream::Latent);
        let Session {
            model,
            shape,
            context,
            scratch,
            code: [z, _],
            ..
        } = self;
        let engine = &model.engine;
        engine
            .draw_latent(&mut rng, context, scratch, z)
            .and_then(|()| engine.decode(z, context, scratch, shape))
            .map_err(|failed| failed.of_object(id))
    }

    /// Turns the mean stamp of object `id`, just drawn, into the galaxy itself.
    fn draw_texture(&mut self, seed: u64, id: u64) -> Result<(), DrawError> {
        let mut rng = Philox::new(seed, id, Stream::Texture);
        let Session {
            model,
            shape,
            context,
            scratch,
            code: [z, _],
            ..
        } = self;
        let engine = &model.engine;
        engine
            .draw_texture(&mut rng, z, context, scratch, shape)
            .map_err(|failed| failed.of_object(id))
    }

    /// The latent (its [`Model::latent`] numbers) of object `id` under physical `conditions`: what
    /// [`sample_galaxy_frame`](Self::sample_galaxy_frame) decodes.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn sample_latent(
        &mut self,
        seed: u64,
        id: u64,
        conditions: &[f32],
        z: &mut [f32],
    ) -> Result<Flags, DrawError> {
        self.has_latent()?;
        assert_eq!(z.len(), self.model.latent(), "number of latent dimensions");
        let flags = self.set_context(conditions)?;
        let mut rng = Philox::new(seed, id, Stream::Latent);
        let engine = &self.model.engine;
        engine
            .draw_latent(&mut rng, &self.context, &mut self.scratch, z)
            .map_err(|failed| failed.of_object(id))?;
        Ok(flags)
    }

    /// Draws image `id` (`[bands, side, side]`) of a model of plain images under `conditions`, in the units of
    /// the training data: the mean of its pixels, or a draw of them.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn sample_image(
        &mut self,
        seed: u64,
        id: u64,
        conditions: &[f32],
        pixels: Pixels,
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        if self.model.card().geometry.half_light_radius.is_some() {
            return Err(DrawError::NotImages);
        }
        if self.model.head().is_some() {
            return self.draw_pixels([seed, id], conditions, |_| None, pixels, out);
        }
        let flags = self.set_context(conditions)?;
        self.draw_mean(seed, id)?;
        out.copy_from_slice(&self.shape);
        if pixels == Pixels::Drawn {
            let engine = &self.model.engine;
            engine.scatter(&mut Philox::new(seed, id, Stream::Noise), out);
        }
        Ok(flags)
    }

    /// What the model makes of a stamp: the stamp of the posterior's mean, with the sum of the given one
    /// if they are galaxies. Of a model that takes a point-spread function it is the galaxy in front of it, of
    /// an autoregressive model the mean of each pixel given those of the stamp before it.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn reconstruct(
        &mut self,
        stamp: &[f32],
        conditions: &[f32],
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        if self.model.head().is_some() {
            return self.predict(stamp, conditions, out);
        }
        let flags = self.set_context(conditions)?;
        let sum = self.set_shape(stamp)?;
        let Session {
            model,
            shape,
            context,
            scratch,
            code: [mean, log_variance],
            ..
        } = self;
        model
            .engine
            .encode(shape, context, scratch, mean, log_variance)?;
        finite("posterior of the latent", mean)?;
        let decoded = model.engine.decode(mean, context, scratch, out);
        decoded.map_err(Failed::of_latent)?;
        if sum != 1.0 {
            for pixel in out {
                *pixel = (f64::from(*pixel) * sum) as f32;
            }
        }
        Ok(flags)
    }

    /// Brings the conditions of a stamp and its reconstruction to agree: `measure` gets the reconstruction under
    /// `conditions` and writes what it measures on it into them, again until they stay as they are. So
    /// conditions that a model means in front of the point-spread function are found for a stamp behind it; `conditions`
    /// starts with what is known. `out` ends as the last reconstruction.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn agree<E: From<DrawError>>(
        &mut self,
        stamp: &[f32],
        conditions: &mut [f32],
        out: &mut [f32],
        mut measure: impl FnMut(&[f32], &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..AGREEMENT_ROUNDS {
            self.reconstruct(stamp, conditions, out)?;
            self.asked.copy_from_slice(conditions);
            measure(out, conditions)?;
            let moved = |(a, b): (&f32, &f32)| libm::fabsf(a - b) > AGREEMENT * libm::fabsf(*b);
            if !self.asked.iter().zip(&*conditions).any(moved) {
                break;
            }
        }
        Ok(())
    }

    /// The mean stamp of latent `z` under physical `conditions`: of unit sum in the galaxy frame, or an image.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn decode(
        &mut self,
        z: &[f32],
        conditions: &[f32],
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        let flags = self.check_latent(z, conditions)?;
        let engine = &self.model.engine;
        let decoded = engine.decode(z, &self.context, &mut self.scratch, out);
        decoded.map_err(Failed::of_latent)?;
        Ok(flags)
    }

    /// Checks what is decoded, and sets its conditions.
    fn check_latent(&mut self, z: &[f32], conditions: &[f32]) -> Result<Flags, DrawError> {
        self.has_latent()?;
        let flags = self.set_context(conditions)?;
        finite("latent", z)?;
        assert_eq!(z.len(), self.model.latent(), "number of latent dimensions");
        Ok(flags)
    }

    /// Strength of the texture ([`galgen_core::models::Texture`]) of latent `z` under physical `conditions`, `[side, side]` in the
    /// galaxy frame: the relative deviation of a drawn galaxy's pixels from [`decode`](Self::decode)'s; 0 for a model without
    /// texture.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn texture_strength(
        &mut self,
        z: &[f32],
        conditions: &[f32],
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        let flags = self.check_latent(z, conditions)?;
        let side = self.model.card().geometry.side;
        assert_eq!(out.len(), side * side, "pixels of a plane");
        let engine = &self.model.engine;
        engine.texture_strength(z, &self.context, &mut self.scratch, out);
        finite("strength of the texture", out)?;
        Ok(flags)
    }

    /// Sets the point-spread function of the stamps that [`encode`](Self::encode) and
    /// [`log_likelihood`](Self::log_likelihood) get from now on, in the stamps' pixels: row-major, `side`
    /// odd and at most the stamp's, centred on ((side - 1) / 2, (side - 1) / 2), any positive sum.
    /// `&[1.0]` is none, and what a new session starts with. Drawing is not affected.
    ///
    /// Only a model trained with the point-spread function inside takes one
    /// ([`Model::takes_psf`]).
    ///
    /// # Panics
    /// If `psf` is not `side * side` long.
    pub fn set_psf(&mut self, psf: &[f32], side: usize) -> Result<(), DrawError> {
        assert_eq!(
            psf.len(),
            side * side,
            "length of the point-spread function"
        );
        let refuse = |field, found, expected| {
            Err(DrawError::Argument {
                field,
                found,
                expected,
            })
        };
        if !self.model.takes_psf() && psf != [1.0] {
            let expected = "1: this model was trained on stamps with their blur inside";
            return refuse("side of the point-spread function", side as f64, expected);
        }
        if side.is_multiple_of(2) || side > self.model.card().geometry.side {
            let expected = "an odd number, at most the stamp's side";
            return refuse("side of the point-spread function", side as f64, expected);
        }
        finite("point-spread function", psf)?;
        let sum = measure::total(psf);
        if !(sum.is_finite() && sum > 0.0) {
            return refuse("sum of the point-spread function", sum, "a positive number");
        }
        self.psf.clear();
        self.psf
            .extend(psf.iter().map(|&v| (f64::from(v) / sum) as f32));
        finite("point-spread function over its sum", &self.psf)?;
        self.model
            .engine
            .set_psf(&self.psf, side, &mut self.scratch);
        Ok(())
    }

    /// Mean and ln variance (each [`Model::latent`] long) of the posterior of the latent, for a stamp
    /// in the galaxy frame (any positive sum), or an image, under physical `conditions`. The ln variance
    /// of a plain autoencoder is minus infinity.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn encode(
        &mut self,
        stamp: &[f32],
        conditions: &[f32],
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<Flags, DrawError> {
        self.has_latent()?;
        let flags = self.set_context(conditions)?;
        self.set_shape(stamp)?;
        let engine = &self.model.engine;
        let (shape, context) = (&self.shape, &self.context);
        engine.encode(shape, context, &mut self.scratch, mean, log_variance)?;
        // Absurd conditions can carry the network out of f32's range.
        finite("posterior of the latent", mean)?;
        if let Some(&found) = log_variance.iter().find(|v| v.is_nan()) {
            finite("posterior of the latent", &[found])?;
        }
        Ok(flags)
    }

    fn has_latent(&self) -> Result<(), DrawError> {
        match self.model.head() {
            Some(_) => Err(DrawError::NoLatent),
            None => Ok(()),
        }
    }

    fn set_context(&mut self, conditions: &[f32]) -> Result<Flags, DrawError> {
        finite("conditions", conditions)?;
        let all = &self.model.card().conditions;
        Ok(all.standardise(conditions, &mut self.context)?)
    }

    /// Takes `stamp` into `self.shape`, galaxies divided by their sum; returns what it was divided by.
    fn set_shape(&mut self, stamp: &[f32]) -> Result<f64, DrawError> {
        assert_eq!(stamp.len(), self.shape.len(), "length of the stamp");
        if self.model.card().geometry.half_light_radius.is_none() {
            finite("pixel", stamp)?;
            self.shape.copy_from_slice(stamp);
            return Ok(1.0);
        }
        let sum = measure::total(stamp);
        let bad = !(sum.is_finite() && sum > 0.0) || stamp.iter().any(|p| !p.is_finite());
        if bad {
            return Err(DrawError::Stamp { sum });
        }
        for (shape, &pixel) in self.shape.iter_mut().zip(stamp) {
            *shape = (f64::from(pixel) / sum) as f32;
        }
        // Bright pixels of both signs may leave next to nothing as a sum.
        if self.shape.iter().any(|p| !p.is_finite()) {
            return Err(DrawError::Stamp { sum });
        }
        Ok(sum)
    }
}

fn finite(field: &'static str, values: &[f32]) -> Result<(), DrawError> {
    match values.iter().find(|v| !v.is_finite()) {
        Some(&found) => Err(DrawError::Argument {
            field,
            found: f64::from(found),
            expected: "finite numbers",
        }),
        None => Ok(()),
    }
}

/// The stamp's light in all bands; the stamp itself when it has one (`sum` is then empty).
fn sum_bands<'a>(stamp: &'a [f32], sum: &'a mut [f32]) -> &'a [f32] {
    if sum.is_empty() {
        return stamp;
    }
    sum.fill(0.0);
    for plane in stamp.chunks_exact(sum.len()) {
        for (total, pixel) in sum.iter_mut().zip(plane) {
            *total += pixel;
        }
    }
    sum
}
