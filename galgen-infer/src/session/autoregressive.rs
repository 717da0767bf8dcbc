//! What autoregressive models can tell beside other models: the distribution of every pixel given those
//! before it.

use super::{Pixels, Session, finite};
use crate::model::DrawError;
use crate::models::pixel_cnn;
use galgen_core::condition::Flags;

impl Session {
    fn autoregressive(&self) -> Result<&pixel_cnn::Engine, DrawError> {
        let engine = self.model.engine.autoregressive();
        engine.ok_or(DrawError::NotAutoregressive)
    }

    /// ln p(pixel | pixels before it) of every pixel of `image`, in nats: their sum is
    /// [`log_likelihood`](Self::log_likelihood). All `[n, n]`.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn pixel_log_likelihoods(
        &mut self,
        image: &[f32],
        conditions: &[f32],
        out: &mut [f64],
    ) -> Result<Flags, DrawError> {
        self.autoregressive()?.check(image.iter().copied())?;
        self.precise()?;
        assert_eq!(out.len(), image.len(), "length of the map");
        self.evaluate(image, conditions, |engine, i, parameters| {
            out[i] = engine.head().log_prob(parameters, f64::from(image[i]));
        })
    }

    /// The parameters of every pixel's distribution given the pixels of `image` before it, `[parameters, n, n]`, as
    /// [`Head::natural`](galgen_core::models::Head::natural) gives them, or with `raw` as the net does.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn pixel_parameters(
        &mut self,
        image: &[f32],
        conditions: &[f32],
        raw: bool,
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        let count = self.autoregressive()?.head().parameters();
        assert_eq!(out.len(), count * image.len(), "length of the parameters");
        finite("pixel", image)?;
        if raw {
            let flags = self.set_context(conditions)?;
            self.set_shape(image)?;
            let Session {
                model,
                shape,
                context,
                scratch,
                ..
            } = self;
            let engine = model.engine.autoregressive();
            let engine = engine.ok_or(DrawError::NotAutoregressive)?;
            engine.parameters(shape, context, scratch, out);
            return Ok(flags);
        }
        let plane = image.len();
        self.evaluate(image, conditions, |engine, i, parameters| {
            engine.head().natural(parameters);
            for (k, &value) in parameters.iter().enumerate() {
                out[k * plane + i] = value as f32;
            }
        })
    }

    /// The mean of every pixel given the pixels of `image` before it.
    pub(super) fn predict(
        &mut self,
        image: &[f32],
        conditions: &[f32],
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        assert_eq!(out.len(), image.len(), "length of the reconstruction");
        finite("pixel", image)?;
        let flags = self.evaluate(image, conditions, |engine, i, parameters| {
            out[i] = engine.head().mean(parameters) as f32;
        })?;
        finite("mean of a pixel", out).inspect_err(|_| out.fill(0.0))?;
        Ok(flags)
    }

    /// One evaluation of the net on `image`, then `visit` with every pixel and its parameters.
    fn evaluate(
        &mut self,
        image: &[f32],
        conditions: &[f32],
        mut visit: impl FnMut(&pixel_cnn::Engine, usize, &mut [f64]),
    ) -> Result<Flags, DrawError> {
        let flags = self.set_context(conditions)?;
        self.set_shape(image)?;
        let Session {
            model,
            shape,
            context,
            scratch,
            ..
        } = self;
        let engine = model.engine.autoregressive();
        let engine = engine.ok_or(DrawError::NotAutoregressive)?;
        engine.each_pixel(shape, context, scratch, |i, parameters| {
            visit(engine, i, parameters);
        });
        Ok(flags)
    }

    /// Completes image `id` under `conditions`: pixels of `image` where `given` is true are kept, every other is
    /// drawn given all pixels before it, in reading order. A given pixel *after* a drawn one does not change it. All
    /// `[n, n]`.
    ///
    /// Without given pixels it is [`sample_image`](Self::sample_image) with [`Pixels::Drawn`].
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn complete(
        &mut self,
        seed: u64,
        id: u64,
        conditions: &[f32],
        image: &[f32],
        given: &[bool],
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        let engine = self.autoregressive()?;
        assert_eq!(image.len(), self.shape.len(), "length of the image");
        assert_eq!(given.len(), image.len(), "length of the mask");
        let known = image.iter().zip(given).filter(|(_, given)| **given);
        engine.check(known.map(|(&pixel, _)| pixel))?;
        let value = |i: usize| given[i].then_some(image[i]);
        self.draw_pixels([seed, id], conditions, value, Pixels::Drawn, out)
    }

    /// Draws the pixels that are not `given`; with [`Pixels::Mean`], `out` has the mean of each instead.
    pub(super) fn draw_pixels(
        &mut self,
        key: [u64; 2],
        conditions: &[f32],
        given: impl Fn(usize) -> Option<f32>,
        pixels: Pixels,
        out: &mut [f32],
    ) -> Result<Flags, DrawError> {
        assert_eq!(out.len(), self.shape.len(), "length of the output image");
        let flags = self.set_context(conditions)?;
        let Session {
            model,
            shape,
            context,
            scratch,
            ..
        } = self;
        let engine = model.engine.autoregressive();
        let engine = engine.ok_or(DrawError::NotAutoregressive)?;
        let drawn = engine.draw(key, given, context, scratch, shape, |i, parameters| {
            if pixels == Pixels::Mean {
                out[i] = engine.head().mean(parameters) as f32;
            }
        });
        drawn.map_err(|failed| {
            out.fill(0.0);
            failed.of_object(key[1])
        })?;
        if pixels == Pixels::Drawn {
            out.copy_from_slice(shape);
        }
        Ok(flags)
    }
}
