//! The published PixelCNNs as nets.

use super::{Head, PixelCnn};
use crate::math::act::Act;
use crate::spec::{CausalMask, Layer, Net, Padding, Shape, SpecError};
use crate::stamp::Geometry;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Sizes from which the net of a [`PixelCnn`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelCnnPreset {
    /// How the net is made.
    pub body: Body,
    /// Channels of a stream.
    pub channels: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// What the net says of a pixel.
    pub head: Head,
}

/// How pixels before this one are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Masked convolutions, a first of 7 x 7 and then `blocks` residual ones of 3 x 3 (van den Oord et al.
    /// 2016, "Pixel recurrent neural networks"). It does not see all pixels before this one: to the right
    /// of it there is a blind spot.
    Masked,
    /// A vertical stack of the rows above and a horizontal one of this row, both gated (van den Oord et al.
    /// 2016, "Conditional image generation with PixelCNN decoders"): sees all pixels before this one.
    Gated,
    /// PixelCNN++ (Salimans et al. 2017) on one resolution: a stream of the rows above and one of pixels above
    /// and to the left, `blocks` gated residual blocks with concat-ELU up and as many down, joined by
    /// skips.
    PlusPlus,
}

/// Most channels and blocks of a preset: what a spec may hold at most.
const MOST: usize = 1024;

impl PixelCnnPreset {
    /// The model for images of `geometry` under `context` standardised conditions.
    pub fn build(&self, geometry: &Geometry, context: usize) -> Result<PixelCnn, SpecError> {
        for (name, found) in [("channels", self.channels), ("blocks", self.blocks)] {
            if !(1..=MOST).contains(&found) {
                let problem = format!("{found}, expected 1 to {MOST}");
                return Err(SpecError::new(name, problem));
            }
        }
        self.head.check()?;
        let parts = Parts {
            c: self.channels,
            context,
        };
        let mut layers = match self.body {
            Body::Masked => parts.masked(self.blocks),
            Body::Gated => parts.gated(self.blocks),
            Body::PlusPlus => parts.plus_plus(self.blocks),
        };
        layers.push(Layer::conv(self.head.parameters(), 1, 1));
        let net = Net {
            input: Shape::square(geometry.bands.len(), geometry.side),
            context,
            layers,
        };
        Ok(PixelCnn {
            net,
            head: self.head,
        })
    }
}

/// A convolution of `kernel` that sees the pixel itself at its last row, `right` columns to its right and the rest
/// to its left.
fn conv(outputs: usize, kernel: [usize; 2], right: usize, mask: Option<CausalMask>) -> Layer {
    let padding = Padding {
        top: kernel[0] - 1,
        bottom: 0,
        left: kernel[1] - 1 - right,
        right,
    };
    Layer::Conv2d {
        outputs,
        kernel,
        stride: 1,
        padding,
        mask,
    }
}

fn relu() -> Layer {
    Layer::Activation(Act::Relu)
}

fn slice(start: usize, len: usize) -> Layer {
    Layer::Slice { start, len }
}

struct Parts {
    /// Channels of a stream.
    c: usize,
    context: usize,
}

impl Parts {
    /// The sum of the terms, and of a product with the conditions on a value of `features` if there are any.
    fn with_context(&self, mut terms: Vec<Vec<Layer>>, features: usize, outputs: usize) -> Layer {
        if self.context > 0 {
            terms.push(vec![
                Layer::AppendContext,
                slice(features, self.context),
                Layer::conv(outputs, 1, 1),
            ]);
        }
        Layer::Sum(terms)
    }

    /// 2 c features between the blocks.
    fn masked(&self, blocks: usize) -> Vec<Layer> {
        let (c, wide) = (self.c, 2 * self.c);
        let square = |side: usize, outputs, mask| Layer::Conv2d {
            outputs,
            kernel: [side; 2],
            stride: 1,
            padding: Padding::all(side / 2),
            mask: Some(mask),
        };
        let first = vec![square(7, wide, CausalMask::A)];
        let mut layers = vec![self.with_context(vec![first], 1, wide)];
        for _ in 0..blocks {
            let middle = vec![square(3, c, CausalMask::B)];
            layers.push(Layer::residual(vec![
                relu(),
                Layer::conv(c, 1, 1),
                relu(),
                self.with_context(vec![middle], c, c),
                relu(),
                Layer::conv(wide, 1, 1),
            ]));
        }
        layers.extend([relu(), Layer::conv(wide, 1, 1), relu()]);
        layers
    }

    /// The streams lie side by side in the channels, vertical first. The vertical one sees its own row, which the
    /// mask of the 2 x 1 convolution into the horizontal one takes away.
    fn gated(&self, blocks: usize) -> Vec<Layer> {
        let c = self.c;
        let down = || conv(2 * c, [2, 1], 0, Some(CausalMask::A));
        let gate = |terms, features| vec![self.with_context(terms, features, 2 * c), Layer::Gate];
        // v before its gate; the image waits.
        let rows = conv(2 * c, [4, 7], 3, None);
        let along = Layer::Conv2d {
            outputs: 2 * c,
            kernel: [1, 7],
            stride: 1,
            padding: Padding {
                top: 0,
                bottom: 0,
                left: 3,
                right: 3,
            },
            mask: Some(CausalMask::A),
        };
        let into_h = vec![vec![slice(0, 2 * c), down()], vec![slice(2 * c, 1), along]];
        let mut h = gate(into_h, 2 * c + 1);
        h.push(Layer::conv(c, 1, 1));
        let mut v = vec![slice(0, 2 * c)];
        v.extend(gate(vec![vec![]], 2 * c));
        let mut layers = vec![
            Layer::Concat(vec![vec![rows], vec![]]),
            Layer::Concat(vec![v, h]),
        ];
        for _ in 0..blocks {
            // v becomes its convolution before the gate, 2 c features; h waits.
            let vertical = vec![slice(0, c), conv(2 * c, [2, 3], 1, None)];
            layers.push(Layer::Concat(vec![vertical, vec![slice(c, c)]]));
            // [1, 2]: this pixel of h and the one to its left, none of which sees its own pixel.
            let along = conv(2 * c, [1, 2], 0, None);
            let into_h = vec![vec![slice(0, 2 * c), down()], vec![slice(2 * c, c), along]];
            let mut update = gate(into_h, 3 * c);
            update.push(Layer::conv(c, 1, 1));
            let mut v = vec![slice(0, 2 * c)];
            v.extend(gate(vec![vec![]], 2 * c));
            let h = vec![Layer::Sum(vec![vec![slice(2 * c, c)], update])];
            layers.push(Layer::Concat(vec![v, h]));
        }
        layers.extend([slice(c, c), relu(), Layer::conv(2 * c, 1, 1), relu()]);
        layers
    }

    /// The streams u (rows above) and ul (above and left) lie side by side, those of the way up one after the other.
    fn plus_plus(&self, blocks: usize) -> Vec<Layer> {
        let c = self.c;
        let rows = || conv(c, [2, 3], 1, None);
        let shift = |down, right| Layer::Shift { down, right };
        let mut layers = vec![
            Layer::AppendOnes,
            Layer::Concat(vec![
                vec![rows(), shift(1, 0)],
                vec![Layer::Sum(vec![
                    vec![conv(c, [1, 3], 1, None), shift(1, 0)],
                    vec![conv(c, [2, 1], 0, None), shift(0, 1)],
                ])],
            ]),
        ];
        // Start of level k of the way up in the channels.
        let level = |k: usize| 2 * c * k;
        for k in 0..blocks {
            let (u, ul) = (level(k), level(k) + c);
            let all = level(k + 1);
            layers.push(Layer::Concat(vec![
                vec![],
                self.resnet([2, 3], &[slice(u, c)], None, all),
            ]));
            let from_u = vec![slice(all, c)];
            layers.push(Layer::Concat(vec![
                vec![],
                self.resnet([2, 2], &[slice(ul, c)], Some(from_u), all + c),
            ]));
        }
        for k in (0..blocks).rev() {
            // Levels 0 .. k, then u and ul on the way down.
            let (u, ul) = (level(k + 1), level(k + 1) + c);
            let all = level(k + 2);
            let skip = vec![slice(level(k), c)];
            layers.push(Layer::Concat(vec![
                vec![slice(0, u)],
                self.resnet([2, 3], &[slice(u, c)], Some(skip), all),
                vec![slice(ul, c)],
            ]));
            let both = vec![Layer::Concat(vec![
                vec![slice(u, c)],
                vec![slice(level(k) + c, c)],
            ])];
            let mut parts = vec![
                vec![slice(u, c)],
                self.resnet([2, 2], &[slice(ul, c)], Some(both), all),
            ];
            if k > 0 {
                parts.insert(0, vec![slice(0, level(k))]);
            }
            layers.push(Layer::Concat(parts));
        }
        layers.extend([slice(c, c), Layer::Activation(Act::Elu)]);
        layers
    }

    /// x + gate(conv(concat-ELU(conv(concat-ELU(x)) + 1x1(concat-ELU(a))))), where `x` and `skip`
    /// take their parts of a value of `features`; [2, 3] looks to the right of rows above, which have been shifted.
    fn resnet(
        &self,
        kernel: [usize; 2],
        x: &[Layer],
        skip: Option<Vec<Layer>>,
        features: usize,
    ) -> Vec<Layer> {
        let c = self.c;
        let causal = |outputs| conv(outputs, kernel, usize::from(kernel[1] == 3), None);
        let branch = |from: &[Layer], conv| {
            let mut layers = from.to_vec();
            layers.extend([Layer::ConcatElu, conv]);
            layers
        };
        let mut terms = vec![branch(x, causal(c))];
        if let Some(from) = &skip {
            terms.push(branch(from, Layer::conv(c, 1, 1)));
        }
        let update = vec![vec![Layer::Sum(terms), Layer::ConcatElu, causal(2 * c)]];
        let gated = vec![self.with_context(update, features, 2 * c), Layer::Gate];
        vec![Layer::Sum(vec![x.to_vec(), gated])]
    }
}
