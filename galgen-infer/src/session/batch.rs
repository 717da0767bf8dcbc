//! Several items in one call. Networks whose weights are read once for all of them, those of flows of vectors, take less
//! time for each; the bits of an item are those that it has alone.

use super::{Pixels, Session, finite};
use crate::model::DrawError;
use crate::models::row;
use galgen_core::condition::Flags;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::TraceNoise;

/// What the stamps of a batch are scored with.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    /// Noise of a pixel of each stamp in its own unit; `None`: that of a typical training stamp.
    pub sky: Option<&'a [f64]>,
    /// Posterior draws.
    pub samples: u32,
    /// Of the draws.
    pub seed: u64,
    /// Of each stamp; `None`: 0, 1, 2 ...
    pub ids: Option<&'a [u64]>,
}

impl Session {
    /// [`decode`](Self::decode) of several latents, one after the other in `z`, `conditions` and `out`: `report` gets
    /// each item's number, in order, and what `decode` returns. What cannot be decoded is zero.
    ///
    /// # Panics
    /// If a slice has not the length for `n` items.
    pub fn decode_batch(
        &mut self,
        n: usize,
        z: &[f32],
        conditions: &[f32],
        out: &mut [f32],
        mut report: impl FnMut(usize, Result<Flags, DrawError>),
    ) {
        assert_eq!(z.len(), n * self.model.latent(), "number of latents");
        assert_eq!(out.len(), n * self.shape.len(), "length of the output");
        let (latent, stamp) = (self.model.latent(), self.shape.len());
        if self.has_latent().is_err() {
            out.fill(0.0);
            (0..n).for_each(|i| report(i, self.has_latent().map(|()| Flags::default())));
            return;
        }
        let mut start = 0;
        while start < n {
            let (count, refused) =
                self.accept(start, n, conditions, |i| finite("latent", row(z, n, i)));
            let end = start + count;
            self.decode_accepted(
                &z[start * latent..end * latent],
                &mut out[start * stamp..end * stamp],
            );
            for i in 0..count {
                let decoded = self.decoded[i].map_err(|failed| failed.of_latent());
                report(start + i, decoded.map(|()| self.flags[i]));
            }
            start = end;
            if let Some(error) = refused {
                out[start * stamp..(start + 1) * stamp].fill(0.0);
                report(start, Err(error));
                start += 1;
            }
        }
    }

    /// [`sample_image`](Self::sample_image) of several images, one after the other in `conditions` and `out`; `id` gives
    /// the number of each, and `report` gets what `sample_image` returns. What cannot be drawn is zero.
    ///
    /// # Panics
    /// If a slice has not the length for `n` items.
    #[allow(clippy::too_many_arguments)]
    pub fn sample_images(
        &mut self,
        n: usize,
        seed: u64,
        id: impl Fn(usize) -> u64,
        conditions: &[f32],
        pixels: Pixels,
        out: &mut [f32],
        mut report: impl FnMut(usize, Result<Flags, DrawError>),
    ) {
        let (latent, stamp) = (self.model.latent(), self.shape.len());
        assert_eq!(out.len(), n * stamp, "length of the output");
        let images = self.model.card().geometry.half_light_radius.is_none();
        if !images || self.model.head().is_some() {
            for (i, out) in out.chunks_exact_mut(stamp).enumerate() {
                let drawn = self.sample_image(seed, id(i), row(conditions, n, i), pixels, out);
                if drawn.is_err() {
                    out.fill(0.0);
                }
                report(i, drawn);
            }
            return;
        }
        let mut start = 0;
        while start < n {
            let (count, refused) = self.accept(start, n, conditions, |_| Ok(()));
            let mut z = core::mem::take(&mut self.latents);
            for i in 0..count {
                let mut rng = Philox::new(seed, id(start + i), Stream::Latent);
                let (engine, scratch) = (&self.model.engine, &mut self.scratch);
                let context = row(&self.contexts, self.batch, i);
                let drawn =
                    engine.draw_latent(&mut rng, context, scratch, &mut z[i * latent..][..latent]);
                self.drawn[i] = drawn;
            }
            let end = start + count;
            let images = &mut out[start * stamp..end * stamp];
            self.decode_accepted(&z[..count * latent], images);
            self.latents = z;
            for (i, image) in images.chunks_exact_mut(stamp).enumerate() {
                let id = id(start + i);
                let drawn = self.drawn[i].and(self.decoded[i]);
                if drawn.is_ok() && pixels == Pixels::Drawn {
                    let mut rng = Philox::new(seed, id, Stream::Noise);
                    self.model.engine.scatter(&mut rng, image);
                } else if drawn.is_err() {
                    image.fill(0.0);
                }
                let drawn = drawn.map_err(|failed| failed.of_object(id));
                report(start + i, drawn.map(|()| self.flags[i]));
            }
            start = end;
            if let Some(error) = refused {
                out[start * stamp..(start + 1) * stamp].fill(0.0);
                report(start, Err(error));
                start += 1;
            }
        }
    }

    /// [`log_likelihood`](Self::log_likelihood) of several stamps, one after the other in `stamps` and `conditions`;
    /// `report` gets each one's number, in order, and what `log_likelihood` returns.
    ///
    /// # Panics
    /// If a slice has not the length for `n` items.
    pub fn log_likelihoods(
        &mut self,
        n: usize,
        stamps: &[f32],
        conditions: &[f32],
        scoring: Scoring<'_>,
        mut report: impl FnMut(usize, Result<f64, DrawError>),
    ) {
        let stamp = self.shape.len();
        assert_eq!(stamps.len(), n * stamp, "length of the stamps");
        let Scoring {
            sky,
            samples,
            seed,
            ids,
        } = scoring;
        let id = |i: usize| ids.map_or(i as u64, |ids| ids[i]);
        let images = self.model.card().geometry.half_light_radius.is_none();
        let together = self.model.engine.has_log_densities() && images;
        if !together || sky.is_some() || samples == 0 || self.precise().is_err() {
            for i in 0..n {
                let id = id(i);
                let (stamp, conditions) = (row(stamps, n, i), row(conditions, n, i));
                let sky = sky.map(|sky| sky[i]);
                let scored = self.log_likelihood(stamp, conditions, sky, samples, seed, id);
                report(i, scored);
            }
            return;
        }
        let mut start = 0;
        while start < n {
            let (count, refused) =
                self.accept(start, n, conditions, |i| finite("pixel", row(stamps, n, i)));
            let end = start + count;
            let width = self.context.len();
            if count > 0 {
                self.model.engine.log_densities(
                    &stamps[start * stamp..end * stamp],
                    &self.contexts[..count * width],
                    &|i| TraceNoise {
                        seed,
                        id: id(start + i),
                    },
                    &mut self.scratch,
                    &mut self.scores[..count],
                );
            }
            for (i, score) in self.scores[..count].iter().enumerate() {
                report(start + i, score.map_err(DrawError::from));
            }
            start = end;
            if let Some(error) = refused {
                report(start, Err(error));
                start += 1;
            }
        }
    }

    /// Takes the conditions of items from `start` on, as many as fit and are in order; returns how many, and what is
    /// wrong with the one after them.
    fn accept(
        &mut self,
        start: usize,
        n: usize,
        conditions: &[f32],
        check: impl Fn(usize) -> Result<(), DrawError>,
    ) -> (usize, Option<DrawError>) {
        let width = self.context.len();
        for count in 0..self.batch.min(n - start) {
            let i = start + count;
            let flags = self.set_context(row(conditions, n, i));
            match flags.and_then(|flags| check(i).map(|()| flags)) {
                Ok(flags) => self.flags[count] = flags,
                Err(error) => return (count, Some(error)),
            }
            self.contexts[count * width..][..width].copy_from_slice(&self.context);
        }
        (self.batch.min(n - start), None)
    }

    /// Decodes latents of accepted items.
    fn decode_accepted(&mut self, z: &[f32], out: &mut [f32]) {
        let count = z.len() / self.model.latent().max(1);
        if count > 0 {
            self.model.engine.decode_batch(
                z,
                &self.contexts[..count * self.context.len()],
                &mut self.scratch,
                out,
                &mut self.decoded[..count],
            );
        }
    }
}
