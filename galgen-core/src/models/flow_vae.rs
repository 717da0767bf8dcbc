//! The flow-VAE (Lanusse et al. 2021, "Deep generative models for galaxy image simulations"): a
//! variational autoencoder of galaxy stamps, and a normalising flow that learns where, for given
//! physical conditions, the galaxies lie in its latent space.
//!
//! To draw: u ~ N(0, 1), z = flow(u | c), stamp = decoder(z, c), made non-negative by the decoder's
//! last activation, multiplied by the border window and divided by its sum; a model with a [`Texture`] then draws that.
//!
//! The density of a stamp x (unit sum, galaxy frame) is the integral over z of p(x | z, c) p(z | c).
//! p(z | c) is the flow's exact density; p(x | z, c) is an independent Gaussian for every pixel
//! inside the stamp's circle, with the noise of [`PixelNoise`], about the decoder's stamp or, with
//! [`Forward::Psf`], about that stamp convolved with the observation's point-spread function: then the
//! decoder draws galaxies as they are in front of the telescope.

use super::check;
use super::texture::{Texture, TexturePreset};
use crate::condition::Conditions;
use crate::math::act::Act;
use crate::math::spline::SplineSpec;
use crate::spec::{Base, ElementMap, Flow, Layer, Net, Shape, SpecError, TensorSpec, Transform};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Bounds of the encoder's ln variance: narrower would be a stamp encoded more finely than f32 noise
/// allows, wider a dimension that the prior already describes.
pub const LOG_VARIANCE: [f32; 2] = [-12.0, 3.0];

/// Standard deviation of a pixel x given the model's stamp m, both multiplied by
/// [`FlowVae::intensity`]: sqrt(sky^2 + floor^2 + (relative m)^2), where `sky` is the measured noise
/// of the stamp; a [`Texture`] adds its variance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelNoise {
    /// Part that every pixel has, in intensity units; positive.
    pub floor: f64,
    /// Part proportional to the model's light: uncertainty of the display stretch, unmodelled detail.
    pub relative: f64,
    /// Sky noise of a typical training stamp, in intensity units: used where none is given.
    pub typical_sky: f64,
}

impl PixelNoise {
    /// Variance of a pixel with model value `model` (intensity units) and sky noise `sky`.
    pub fn variance(&self, model: f64, sky: f64) -> f64 {
        let scatter = self.relative * model;
        sky * sky + self.floor * self.floor + scatter * scatter
    }
}

/// What lies between the decoder's light and the pixels of an observed stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Forward {
    /// Nothing: the decoder draws stamps as they were observed.
    #[default]
    Direct,
    /// Convolution with the point-spread function of each stamp, given in its pixels. The encoder sees
    /// it as one more plane after the bands, see [`place_psf`].
    Psf,
}

impl Forward {
    /// Planes of the encoder's input beside the bands.
    pub fn planes(self) -> usize {
        match self {
            Forward::Direct => 0,
            Forward::Psf => 1,
        }
    }
}

/// Writes a point-spread function of odd side into the encoder's plane of side `n`, centred on pixel
/// (n / 2, n / 2), zero around it; what does not fit is cut off.
///
/// # Panics
/// If a slice is not a square of its side.
pub fn place_psf(psf: &[f32], side: usize, plane: &mut [f32], n: usize) {
    assert_eq!((psf.len(), plane.len()), (side * side, n * n));
    plane.fill(0.0);
    for y in 0..side {
        for x in 0..side {
            let (to_y, to_x) = (y + n / 2, x + n / 2);
            let inside = (side / 2..n + side / 2).contains(&to_y)
                && (side / 2..n + side / 2).contains(&to_x);
            if inside {
                plane[(to_y - side / 2) * n + to_x - side / 2] = psf[y * side + x];
            }
        }
    }
}

/// Configuration of a flow-VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowVae {
    /// Number of latent dimensions.
    pub latent: usize,
    /// Unit-sum stamps are multiplied by this before the encoder and in the likelihood, so that a
    /// round galaxy has a mean of about 1 inside its half-light radius.
    pub intensity: f64,
    /// The pixels' likelihood.
    pub noise: PixelNoise,
    /// How light becomes an observed stamp.
    #[serde(default)]
    pub forward: Forward,
    /// Stamp and, if any, point-spread function (both in intensity units) and context to \[mean, ln variance\] of the posterior of z.
    pub encoder: Net,
    /// z and context to the unnormalised stamp, non-negative.
    pub decoder: Net,
    /// Density of z given the context.
    pub flow: Flow,
    /// What is drawn at random beside the latent; without it drawn galaxies are the decoder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texture: Option<Texture>,
}

/// Latent maps beside the latent vector: detail that a vector for the whole galaxy would have to learn anew at every
/// place (arms, knots). They join the decoder, and leave the encoder, where its maps have that side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialLatent {
    /// Side of the maps in pixels: 4 times a power of 2, below the stamp's.
    pub side: usize,
    /// Number of maps.
    pub channels: usize,
}

/// Sizes from which a convolutional flow-VAE is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowVaePreset {
    /// Length of the latent vector.
    pub latent: usize,
    /// Latent maps beside it. Their dimensions come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spatial: Option<SpatialLatent>,
    /// Channels of the decoder from the 4 x 4 map to the full stamp; the encoder mirrors them.
    pub channels: Vec<usize>,
    /// Coupling blocks of the flow.
    pub flow_blocks: usize,
    /// Width of the two hidden layers of a coupling's net.
    pub flow_hidden: usize,
    /// Bins of the couplings' splines.
    pub flow_bins: usize,
    /// Pixel noise floor, see [`PixelNoise`].
    pub noise_floor: f64,
    /// Relative pixel noise, see [`PixelNoise`].
    pub noise_relative: f64,
    /// What lies between the decoder's light and the observed pixels.
    pub forward: Forward,
    /// Texture, if there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub texture: Option<TexturePreset>,
}

impl Default for FlowVaePreset {
    fn default() -> Self {
        FlowVaePreset {
            latent: 32,
            spatial: None,
            channels: vec![256, 128, 64, 32, 16],
            flow_blocks: 8,
            flow_hidden: 96,
            flow_bins: 8,
            noise_floor: 0.02,
            noise_relative: 0.1,
            forward: Forward::Direct,
            texture: None,
        }
    }
}

impl FlowVaePreset {
    /// The networks of these sizes for `geometry` and a context of so many numbers. The side of the
    /// stamp must be 4 * 2^(channels - 1).
    pub fn build(&self, geometry: &Geometry, context: usize) -> Result<FlowVae, SpecError> {
        let fail = |problem| Err(SpecError::new("preset", problem));
        let stages = self.channels.len();
        if stages < 2 || geometry.side != 4 << (stages - 1) {
            return fail(format!(
                "{stages} channel numbers for a stamp of {} pixels, expected as many as halvings to 4, plus 1",
                geometry.side
            ));
        }
        if self.latent < 2 {
            return fail(format!("latent of {}, expected 2 or more", self.latent));
        }
        if let Some(maps) = self.spatial {
            let joins = (1..stages - 1).any(|i| 4 << i == maps.side);
            if !joins || maps.channels == 0 {
                return fail(format!(
                    "spatial latent of {} maps of side {}, expected 1 or more of a side between 4 and the stamp's {} that halvings reach",
                    maps.channels, maps.side, geometry.side
                ));
            }
        }
        let bands = geometry.bands.len();
        let latent = self.latent + self.maps();
        let texture = self.texture.as_ref();
        let texture = texture.map(|t| t.build(geometry.side, latent, context));
        let model = FlowVae {
            latent,
            intensity: geometry.intensity(),
            noise: PixelNoise {
                floor: self.noise_floor,
                relative: self.noise_relative,
                typical_sky: 0.0,
            },
            forward: self.forward,
            encoder: self.encoder(bands + self.forward.planes(), geometry.side, context),
            decoder: self.decoder(bands, context),
            flow: self.flow(context),
            texture: texture.transpose()?,
        };
        Ok(model)
    }

    /// Numbers of the latent maps.
    fn maps(&self) -> usize {
        self.spatial.map_or(0, |m| m.channels * m.side * m.side)
    }

    /// Half a dozen intensity units of compression: faint arms and bright cores both matter.
    fn encoder(&self, planes: usize, side: usize, context: usize) -> Net {
        let full = self.channels.iter().rev().take(1).map(|&c| (c, 1, side));
        let halved = self.channels.iter().rev().enumerate().skip(1);
        let halved = halved.map(|(i, &c)| (c, 2, side >> i));
        let mut layers = vec![Layer::Scale(4.0), Layer::Activation(Act::Asinh)];
        // What follows the place where the latent maps leave.
        let mut deep = Vec::new();
        let leaves = self.spatial.map_or(0, |m| m.side);
        for (channels, stride, side) in full.chain(halved) {
            let to = if side < leaves {
                &mut deep
            } else {
                &mut layers
            };
            to.extend([
                Layer::conv(channels, 3, stride),
                Layer::Activation(Act::Silu),
            ]);
        }
        deep.push(Layer::Reshape(Shape::Vector(16 * self.channels[0])));
        if context > 0 {
            deep.push(Layer::AppendContext);
        }
        deep.push(Layer::linear(2 * self.latent));
        match self.spatial {
            None => layers.extend(deep),
            Some(maps) => {
                let n = self.maps();
                let local = vec![
                    Layer::conv(self.channels_at(maps.side), 3, 1),
                    Layer::Activation(Act::Silu),
                    Layer::conv(2 * maps.channels, 3, 1),
                    Layer::Reshape(Shape::Vector(2 * n)),
                ];
                let slice = |start, len| vec![Layer::Slice { start, len }];
                layers.extend([
                    Layer::Concat(vec![local, deep]),
                    Layer::Concat(vec![
                        slice(0, n),
                        slice(2 * n, self.latent),
                        slice(n, n),
                        slice(2 * n + self.latent, self.latent),
                    ]),
                ]);
            }
        }
        Net {
            input: Shape::square(planes, side),
            context,
            layers,
        }
    }

    /// Channels of the decoder's maps of that side.
    fn channels_at(&self, side: usize) -> usize {
        self.channels[(side / 4).ilog2() as usize]
    }

    fn decoder(&self, bands: usize, context: usize) -> Net {
        let mut layers = Vec::new();
        if self.spatial.is_some() {
            layers.push(Layer::Slice {
                start: self.maps(),
                len: self.latent,
            });
        }
        if context > 0 {
            layers.push(Layer::AppendContext);
        }
        layers.extend([
            Layer::linear(16 * self.channels[0]),
            Layer::Activation(Act::Silu),
            Layer::Reshape(Shape::square(self.channels[0], 4)),
        ]);
        for (i, &channels) in self.channels.iter().enumerate().skip(1) {
            layers.extend([
                Layer::UpsampleNearest { factor: 2 },
                Layer::conv(channels, 3, 1),
                Layer::Activation(Act::Silu),
            ]);
            let Some(maps) = self.spatial.filter(|m| m.side == 4 << i) else {
                continue;
            };
            let local = vec![
                Layer::Slice {
                    start: 0,
                    len: self.maps(),
                },
                Layer::Reshape(Shape::square(maps.channels, maps.side)),
            ];
            let whole = core::mem::take(&mut layers);
            // The whole says how strong the detail is at each place.
            layers.extend([
                Layer::Concat(vec![whole, local]),
                Layer::conv(channels, 1, 1),
                Layer::Activation(Act::Silu),
            ]);
        }
        layers.extend([Layer::conv(bands, 3, 1), Layer::Activation(Act::Softplus)]);
        Net {
            input: Shape::Vector(self.maps() + self.latent),
            context,
            layers,
        }
    }

    /// Spline couplings that alternate halves, after a diagonal that standardises the latent.
    fn flow(&self, context: usize) -> Flow {
        let dim = self.maps() + self.latent;
        let keep = dim / 2;
        let map = ElementMap::Spline(SplineSpec::new(self.flow_bins, 5.0));
        let mut transforms = vec![Transform::Diagonal];
        for block in 0..self.flow_blocks {
            let mut layers = Vec::new();
            if context > 0 {
                layers.push(Layer::AppendContext);
            }
            for _ in 0..2 {
                layers.extend([
                    Layer::linear(self.flow_hidden),
                    Layer::Activation(Act::Silu),
                ]);
            }
            layers.push(Layer::linear((dim - keep) * map.parameters()));
            let net = Net {
                input: Shape::Vector(keep),
                context,
                layers,
            };
            transforms.push(Transform::Coupling { keep, net, map });
            transforms.push(Transform::Permutation(mixing_order(dim, block)));
        }
        Flow::vector(dim, context, transforms)
    }
}

/// Swaps the halves, and strides through each so that the groups differ from block to block.
pub(super) fn mixing_order(dim: usize, block: usize) -> Vec<u32> {
    let keep = dim / 2;
    let swapped: Vec<u32> = (keep..dim).chain(0..keep).map(|i| i as u32).collect();
    if block.is_multiple_of(2) {
        return swapped;
    }
    // Even positions first: halves of the next pair of blocks mix both of today's halves.
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..dim).partition(|i| i % 2 == 0);
    even.into_iter().chain(odd).map(|i| swapped[i]).collect()
}

impl FlowVae {
    /// Checks the parts against each other and lists all tensors: `encoder.*`, `decoder.*`, `flow.*`, `texture.*`.
    pub fn tensors(
        &self,
        geometry: &Geometry,
        conditions: &Conditions,
    ) -> Result<Vec<TensorSpec>, SpecError> {
        let stamp = Shape::square(geometry.bands.len(), geometry.side);
        let width = conditions.width();
        if geometry.half_light_radius.is_none() {
            let problem = "plain images, expected a geometry with a half-light radius";
            return Err(SpecError::new("geometry", problem));
        }
        check::latent(self.latent)?;
        check::context("flow", self.flow.context, width)?;
        if self.flow.shape != Shape::Vector(self.latent) || self.flow.base != Base::Normal {
            let problem = format!(
                "{:?} with a {:?} base, expected a vector of the latent's {} with a normal one",
                self.flow.shape, self.flow.base, self.latent
            );
            return Err(SpecError::new("flow", problem));
        }
        let n = &self.noise;
        for (name, found, may_be_0) in [
            ("intensity", self.intensity, false),
            ("noise.floor", n.floor, false),
            ("noise.relative", n.relative, true),
            ("noise.typical_sky", n.typical_sky, true),
        ] {
            check::number(name, found, may_be_0)?;
        }
        let seen = Shape::square(geometry.bands.len() + self.forward.planes(), geometry.side);
        let z = Shape::Vector(self.latent);
        let code = Shape::Vector(self.latent.saturating_mul(2));
        let mut tensors = check::net("encoder", &self.encoder, seen, code, width)?;
        tensors.extend(check::net("decoder", &self.decoder, z, stamp, width)?);
        let flow = self.flow.tensors("flow").map_err(|e| SpecError {
            layer: format!("flow.{}", e.layer),
            ..e
        })?;
        tensors.extend(flow);
        if let Some(texture) = &self.texture {
            tensors.extend(texture.tensors(geometry, self.latent, width)?);
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry {
            side: 64,
            bands: vec!["r".into()],
            half_light_radius: Some(8.0),
        }
    }

    #[test]
    fn the_preset_is_consistent() {
        let model = FlowVaePreset::default().build(&geometry(), 0).unwrap();
        let tensors = model.tensors(&geometry(), &Conditions::default()).unwrap();
        let mut names: Vec<_> = tensors.iter().map(|t| &t.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tensors.len());
    }

    #[test]
    fn latent_maps_join_where_they_can() {
        let build = |side, channels| {
            let spatial = Some(SpatialLatent { side, channels });
            let preset = FlowVaePreset {
                spatial,
                ..FlowVaePreset::default()
            };
            preset.build(&geometry(), 2)
        };
        let model = build(16, 2).unwrap();
        assert_eq!((model.latent, model.flow.dim()), (544, 544));
        let z = Shape::Vector(2 * model.latent);
        assert_eq!(model.encoder.output(), Ok(z));
        assert_eq!(model.decoder.output(), Ok(Shape::square(1, 64)));
        model.flow.check().unwrap();
        assert!(build(12, 1).is_err() && build(64, 1).is_err() && build(16, 0).is_err());
    }

    #[test]
    fn mixing_orders_are_permutations_and_every_pair_meets() {
        let preset = FlowVaePreset {
            latent: 7,
            ..FlowVaePreset::default()
        };
        let flow = preset.flow(0);
        flow.check().unwrap();
    }

    #[test]
    fn a_wrong_stamp_side_is_refused() {
        let odd = Geometry {
            side: 60,
            ..geometry()
        };
        assert!(FlowVaePreset::default().build(&odd, 2).is_err());
    }
}
