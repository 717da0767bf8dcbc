//! ln p of one item.

use super::Session;
use crate::model::DrawError;
use crate::models::Observed;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::TraceNoise;

impl Session {
    /// ln p(z | conditions) of a latent under the model's prior, in nats. Exact, but for a trace that is estimated, with
    /// the default [`TraceNoise`].
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn log_prob_latent(&mut self, z: &[f64], conditions: &[f32]) -> Result<f64, DrawError> {
        self.has_latent()?;
        self.set_context(conditions)?;
        if let Some(&found) = z.iter().find(|v| !v.is_finite()) {
            return Err(DrawError::Argument {
                field: "latent",
                found,
                expected: "finite numbers",
            });
        }
        assert_eq!(z.len(), self.model.latent(), "number of latent dimensions");
        let engine = &self.model.engine;
        Ok(engine.log_prob_latent(z, &self.context, &mut self.scratch))
    }

    /// Whether likelihoods may be computed with weights that were stored in 16 bits. A new session refuses them for
    /// flows, masked networks and PixelCNNs, whose ln p they change by about 0.01 nats (f16) or 0.1 (bf16) at 64 dimensions;
    /// other families do not care.
    pub fn accept_half_precision(&mut self, accept: bool) {
        self.half_precision = accept;
    }

    /// Lower bound of ln p(stamp | conditions), in nats, with `samples` posterior draws of (seed, id):
    /// the importance-weighted bound (Burda et al. 2016), whose mean grows towards the truth with `samples`;
    /// with 1, one draw of the evidence lower bound.
    ///
    /// A galaxy's stamp is in the galaxy frame, with any positive sum, and the density is over pixels in units
    /// of [`Geometry::intensity`](galgen_core::stamp::Geometry::intensity), inside the stamp's circle; an
    /// image is as it is, of 0 and 1 where the likelihood is Bernoulli. A flow's density is exact, and `samples` does
    /// not matter, but for pixels of grey levels, where the draws are of their dequantising noise; that of a continuous
    /// flow of many dimensions is an estimate ([`Trace::Hutchinson`](galgen_core::spec::Trace)) with signs of (seed, id). `sky` is the noise of
    /// a pixel in the stamp's own unit; `None` takes that of a typical training stamp. Only models that
    /// [take it](crate::Model::takes_sky) may get one. A plain autoencoder has no likelihood; that of an autoregressive model
    /// is exact, without any draw.
    ///
    /// # Panics
    /// If a slice has not the model's length.
    pub fn log_likelihood(
        &mut self,
        stamp: &[f32],
        conditions: &[f32],
        sky: Option<f64>,
        samples: u32,
        seed: u64,
        id: u64,
    ) -> Result<f64, DrawError> {
        self.set_context(conditions)?;
        self.precise()?;
        if samples == 0 {
            let expected = "1 or more";
            return Err(DrawError::Argument {
                field: "samples",
                found: 0.0,
                expected,
            });
        }
        let expected = match self.model.own_noise() {
            None => "a finite number, 0 or more",
            Some(reason) => reason,
        };
        let usable = |s: f64| self.model.takes_sky() && s.is_finite() && s >= 0.0;
        if let Some(found) = sky.filter(|s| !usable(*s)) {
            return Err(DrawError::Argument {
                field: "sky",
                found,
                expected,
            });
        }
        let sum = self.set_shape(stamp)?;
        let mut rng = Philox::new(seed, id, Stream::Posterior);
        let observed = Observed {
            stamp: &self.shape,
            sky: sky.map(|s| s / sum),
            noise: TraceNoise { seed, id },
        };
        let engine = &self.model.engine;
        engine.log_likelihood(
            &observed,
            &self.context,
            samples,
            &mut rng,
            &mut self.scratch,
        )
    }

    /// An error if the weights are too coarse for a likelihood and nobody accepted that.
    pub(super) fn precise(&self) -> Result<(), DrawError> {
        if self.model.engine.half_precision() && !self.half_precision {
            return Err(DrawError::HalfPrecision);
        }
        Ok(())
    }
}
