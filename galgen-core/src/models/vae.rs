//! Autoencoders: an encoder that takes an image to a few latent numbers, and a decoder that takes them back.
//!
//! With a [`Posterior::Gaussian`] the model is a variational autoencoder (Kingma and Welling 2014): the
//! encoder gives the mean and ln variance of q(z | x), the prior is N(0, 1), and ln p(x) is bounded
//! below by E_q[ln p(x | z)] - KL(q || p), and closer by importance weighting (Burda et al. 2016).
//!
//! With a [`Posterior::Point`] it is a plain autoencoder: the encoder gives z itself, and the prior is
//! the Gaussian fitted to the codes of the training images, stored as the tensors `prior.mean`
//! \[latent\] and `prior.cholesky` \[latent, latent\], the lower factor L of its covariance L L^T. A
//! linear one with squared error spans the principal subspace (Baldi and Hornik 1989).
//!
//! On plain images x are the pixels as they are. In the galaxy frame ([`Geometry::half_light_radius`]) the
//! decoder's output is multiplied by the border window and divided by its sum, and x is that stamp
//! times [`Geometry::intensity`].

use super::check;
use crate::condition::Conditions;
use crate::math::act::Act;
use crate::spec::{Layer, Net, Role, Shape, SpecError, TensorSpec};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What the encoder says of z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posterior {
    /// Mean and ln variance of an independent Gaussian, the ln variance within
    /// [`LOG_VARIANCE`](super::LOG_VARIANCE).
    Gaussian,
    /// z itself.
    Point,
}

/// Density of the pixels given z, independent for each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Likelihood {
    /// Pixels are 0 or 1, the decoder gives the logit of the probability of 1.
    Bernoulli,
    /// The decoder gives the mean.
    Gaussian {
        /// Standard deviation of a pixel, positive.
        deviation: f64,
    },
}

/// Configuration of an autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vae {
    /// Number of latent dimensions.
    pub latent: usize,
    /// What the encoder's output means.
    pub posterior: Posterior,
    /// What the decoder's output means.
    pub likelihood: Likelihood,
    /// Image and context to \[mean, ln variance\] or to z.
    pub encoder: Net,
    /// z and context to the parameters of the pixels, one each.
    pub decoder: Net,
}

/// Sizes from which an autoencoder is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaePreset {
    /// Number of latent dimensions.
    pub latent: usize,
    /// Density of the pixels.
    pub likelihood: Likelihood,
    /// Encoder and decoder.
    pub network: Network,
}

/// Layers of encoder and decoder, which mirror each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// One linear layer each.
    Linear,
    /// Dense layers.
    Dense {
        /// Widths of the encoder's hidden layers from the image on.
        hidden: Vec<usize>,
        /// After each hidden layer.
        activation: Act,
    },
    /// Convolutions of 3 x 3, each but the first halving the map.
    Convolutional {
        /// Channels from the full image to the smallest map.
        channels: Vec<usize>,
        /// After each convolution.
        activation: Act,
    },
}

impl VaePreset {
    /// The networks of these sizes for `geometry`, a posterior and a context of `context` numbers.
    ///
    /// A convolutional network needs a side that is a multiple of 2^(channels - 1).
    pub fn build(
        &self,
        geometry: &Geometry,
        posterior: Posterior,
        context: usize,
    ) -> Result<Vae, SpecError> {
        let code = match posterior {
            Posterior::Gaussian => 2 * self.latent,
            Posterior::Point => self.latent,
        };
        let image = Shape::square(geometry.bands.len(), geometry.side);
        let append = || (context > 0).then_some(Layer::AppendContext);
        let mut encoder = Vec::new();
        let mut decoder: Vec<Layer> = append().into_iter().collect();
        if geometry.half_light_radius.is_some() {
            // Faint arms and bright cores both matter.
            encoder.extend([Layer::Scale(4.0), Layer::Activation(Act::Asinh)]);
        }
        match &self.network {
            Network::Linear => {
                encoder.push(Layer::Reshape(Shape::Vector(image.len())));
                encoder.extend(append());
            }
            Network::Dense { hidden, activation } => {
                encoder.push(Layer::Reshape(Shape::Vector(image.len())));
                encoder.extend(append());
                for &width in hidden {
                    encoder.extend([Layer::linear(width), Layer::Activation(*activation)]);
                }
                for &width in hidden.iter().rev() {
                    decoder.extend([Layer::linear(width), Layer::Activation(*activation)]);
                }
            }
            Network::Convolutional {
                channels,
                activation,
            } => {
                let halvings = channels.len().saturating_sub(1);
                let side = geometry.side.checked_shr(halvings as u32).unwrap_or(0);
                if channels.is_empty() || side == 0 || side << halvings != geometry.side {
                    let problem = format!(
                        "{} channel numbers for images of {} pixels, expected a side that halves as \
                         often as there are numbers, less 1",
                        channels.len(),
                        geometry.side
                    );
                    return Err(SpecError::new("network", problem));
                }
                let small = Shape::square(channels[halvings], side);
                for (i, &c) in channels.iter().enumerate() {
                    let stride = if i == 0 { 1 } else { 2 };
                    encoder.extend([Layer::conv(c, 3, stride), Layer::Activation(*activation)]);
                }
                encoder.push(Layer::Reshape(Shape::Vector(small.len())));
                encoder.extend(append());
                decoder.extend([
                    Layer::linear(small.len()),
                    Layer::Activation(*activation),
                    Layer::Reshape(small),
                ]);
                for &c in channels.iter().rev().skip(1) {
                    decoder.extend([
                        Layer::UpsampleNearest { factor: 2 },
                        Layer::conv(c, 3, 1),
                        Layer::Activation(*activation),
                    ]);
                }
            }
        }
        encoder.push(Layer::linear(code));
        match &self.network {
            Network::Linear | Network::Dense { .. } => {
                decoder.extend([Layer::linear(image.len()), Layer::Reshape(image)]);
            }
            Network::Convolutional { .. } => decoder.push(Layer::conv(image.features(), 3, 1)),
        }
        if geometry.half_light_radius.is_some() {
            decoder.push(Layer::Activation(Act::Softplus));
        }
        let net = |input, layers| Net {
            input,
            context,
            layers,
        };
        Ok(Vae {
            latent: self.latent,
            posterior,
            likelihood: self.likelihood,
            encoder: net(image, encoder),
            decoder: net(Shape::Vector(self.latent), decoder),
        })
    }
}

impl Vae {
    /// Length of the encoder's output.
    pub fn code(&self) -> usize {
        match self.posterior {
            Posterior::Gaussian => self.latent.saturating_mul(2),
            Posterior::Point => self.latent,
        }
    }

    /// Checks the parts against each other and lists all tensors: `encoder.*`, `decoder.*`, and
    /// `prior.*` of a [`Posterior::Point`].
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        check::latent(self.latent)?;
        match self.likelihood {
            Likelihood::Bernoulli if geometry.half_light_radius.is_some() => {
                let problem = "bernoulli in the galaxy frame, expected gaussian";
                return Err(SpecError::new("likelihood", problem));
            }
            Likelihood::Bernoulli => (),
            Likelihood::Gaussian { deviation } => {
                check::number("likelihood.deviation", deviation, false)?;
            }
        }
        let stamp = Shape::square(geometry.bands.len(), geometry.side);
        let (z, code) = (Shape::Vector(self.latent), Shape::Vector(self.code()));
        let width = conditions.width();
        let mut tensors = check::net("encoder", &self.encoder, stamp, code, width)?;
        tensors.extend(check::net("decoder", &self.decoder, z, stamp, width)?);
        if self.posterior == Posterior::Point {
            let prior = |name: &str, shape| TensorSpec {
                name: format!("prior.{name}"),
                shape,
                role: Role::Bias,
            };
            tensors.extend([
                prior("mean", vec![self.latent]),
                prior("cholesky", vec![self.latent, self.latent]),
            ]);
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(side: usize, radius: Option<f64>) -> Geometry {
        Geometry {
            side,
            bands: vec!["grey".into()],
            half_light_radius: radius,
        }
    }

    fn networks() -> [Network; 3] {
        [
            Network::Linear,
            Network::Dense {
                hidden: vec![20, 10],
                activation: Act::Tanh,
            },
            Network::Convolutional {
                channels: vec![4, 6, 8],
                activation: Act::Silu,
            },
        ]
    }

    #[test]
    fn every_preset_is_consistent() {
        for network in networks() {
            for posterior in [Posterior::Gaussian, Posterior::Point] {
                for (radius, likelihood) in [
                    (None, Likelihood::Bernoulli),
                    (None, Likelihood::Gaussian { deviation: 0.1 }),
                    (Some(3.0), Likelihood::Gaussian { deviation: 0.1 }),
                ] {
                    let preset = VaePreset {
                        latent: 5,
                        likelihood,
                        network: network.clone(),
                    };
                    let geometry = geometry(28, radius);
                    let model = preset.build(&geometry, posterior, 0).unwrap();
                    let tensors = model.tensors(&geometry, &Conditions::default()).unwrap();
                    let prior = tensors.iter().any(|t| t.name == "prior.cholesky");
                    assert_eq!(prior, posterior == Posterior::Point);
                }
            }
        }
    }

    #[test]
    fn contradictions_are_named() {
        let preset = VaePreset {
            latent: 5,
            likelihood: Likelihood::Bernoulli,
            network: networks()[2].clone(),
        };
        let found = preset.build(&geometry(30, None), Posterior::Gaussian, 0);
        assert_eq!(found.unwrap_err().layer, "network");
        let geometry = geometry(28, None);
        let good = preset.build(&geometry, Posterior::Gaussian, 0).unwrap();
        let layer = |model: Vae, geometry: &Geometry| {
            let error = model.tensors(geometry, &Conditions::default());
            error.unwrap_err().layer
        };
        let wrong = Vae {
            latent: 6,
            ..good.clone()
        };
        assert_eq!(layer(wrong, &geometry), "encoder");
        let wrong = Vae {
            likelihood: Likelihood::Gaussian { deviation: 0.0 },
            ..good.clone()
        };
        assert_eq!(layer(wrong, &geometry), "likelihood.deviation");
        let galaxy = Geometry {
            half_light_radius: Some(3.0),
            ..geometry
        };
        assert_eq!(layer(good, &galaxy), "likelihood");
    }
}
