//! The layers that networks are made of.

use crate::math::act::Act;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Shape of one item (the batch dimension is never part of a spec).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// `n` numbers.
    Vector(usize),
    /// A map `[channels, height, width]`.
    Map {
        /// Number of channels.
        channels: usize,
        /// Number of rows.
        height: usize,
        /// Number of columns.
        width: usize,
    },
}

impl Shape {
    /// A map of `channels` square planes.
    pub fn square(channels: usize, side: usize) -> Self {
        Shape::Map {
            channels,
            height: side,
            width: side,
        }
    }

    /// Number of elements; saturates, so that a lying file cannot overflow it.
    pub fn len(self) -> usize {
        match self {
            Shape::Vector(n) => n,
            Shape::Map {
                channels,
                height,
                width,
            } => channels.saturating_mul(height).saturating_mul(width),
        }
    }

    /// Whether the shape has no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Length of the axis that layers mix: the elements of a vector, the channels of a map.
    pub fn features(self) -> usize {
        match self {
            Shape::Vector(n) => n,
            Shape::Map { channels, .. } => channels,
        }
    }

    /// The same shape with another number of features.
    pub fn with_features(self, features: usize) -> Self {
        match self {
            Shape::Vector(_) => Shape::Vector(features),
            Shape::Map { height, width, .. } => Shape::Map {
                channels: features,
                height,
                width,
            },
        }
    }
}

/// Zeros added around a map before a convolution. Unequal sides make shifted (causal) convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns left.
    pub left: usize,
    /// Columns right.
    pub right: usize,
}

impl Padding {
    /// The same number of zeros on all four sides.
    pub fn all(n: usize) -> Self {
        Padding {
            top: n,
            bottom: n,
            left: n,
            right: n,
        }
    }
}

/// Which taps of a convolution kernel are kept (van den Oord et al. 2016, PixelCNN). Rows above the
/// kernel's centre are kept, rows below are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CausalMask {
    /// Left of the centre only: a first layer, which must not see the pixel itself.
    A,
    /// Left of the centre and the centre.
    B,
}

impl CausalMask {
    /// Whether tap (`row`, `column`) of a `[height, width]` kernel is kept; the centre is
    /// (`height` / 2, `width` / 2).
    pub fn keeps(self, kernel: [usize; 2], row: usize, column: usize) -> bool {
        let (cy, cx) = (kernel[0] / 2, kernel[1] / 2);
        row < cy
            || row == cy
                && match self {
                    CausalMask::A => column < cx,
                    CausalMask::B => column <= cx,
                }
    }
}

/// Degrees of the inputs and outputs of a masked linear layer (Germain et al. 2015, MADE): output
/// `o` sees input `i` only if `input[i] <= output[o]`. A last layer that must not see its own input
/// carries output degrees one lower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Degrees {
    /// Degree of each input.
    pub input: Vec<u32>,
    /// Degree of each output.
    pub output: Vec<u32>,
}

impl Degrees {
    /// Makes zeros of the weights, one for each input, that this output must not see: those of inputs of higher degree.
    pub fn mask(&self, output: usize, weights: &mut [f32]) {
        let degree = self.output[output];
        for (weight, &input) in weights.iter_mut().zip(&self.input) {
            if input > degree {
                *weight = 0.0;
            }
        }
    }
}

/// One step of a [`Net`](super::Net). Input shapes follow from the layers before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// y = W x + b on a vector. Tensors `weight` \[outputs, inputs\], `bias` \[outputs\].
    Linear {
        /// Number of outputs.
        outputs: usize,
        /// Autoregressive mask, multiplied into the weights at load.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        degrees: Option<Degrees>,
    },
    /// Cross-correlation of a map, as deep-learning frameworks define `conv2d`. Tensors `weight`
    /// \[outputs, inputs, kernel height, kernel width\], `bias` \[outputs\].
    Conv2d {
        /// Number of output channels.
        outputs: usize,
        /// Kernel \[height, width\].
        kernel: [usize; 2],
        /// Step in both directions.
        stride: usize,
        /// Zeros around the input.
        padding: Padding,
        /// Autoregressive mask, multiplied into the weights at load.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<CausalMask>,
    },
    /// Transposed convolution of a map, as deep-learning frameworks define `conv_transpose2d`: input pixel
    /// (y, x) adds its products with the kernel at rows `stride` y - `padding.top` + 0 .. kernel height, columns
    /// alike; what falls outside is cut off. (rows - 1) `stride` + kernel height - top - bottom rows come out.
    /// Tensors `weight` \[inputs, outputs, kernel height, kernel width\], `bias` \[outputs\].
    ConvTranspose2d {
        /// Number of output channels.
        outputs: usize,
        /// Kernel \[height, width\].
        kernel: [usize; 2],
        /// Output rows and columns for each of the input.
        stride: usize,
        /// Rows and columns cut off.
        padding: Padding,
    },
    /// A convolution of each channel by itself. Tensors `weight` \[channels, 1, kernel height, kernel width\],
    /// `bias` \[channels\].
    DepthwiseConv2d {
        /// Kernel \[height, width\].
        kernel: [usize; 2],
        /// Step in both directions.
        stride: usize,
        /// Zeros around the input.
        padding: Padding,
    },
    /// Every pixel repeated `factor` times in both directions.
    UpsampleNearest {
        /// 2 or more.
        factor: usize,
    },
    /// A function of every element.
    Activation(Act),
    /// Multiplication by a constant.
    Scale(f32),
    /// Group normalisation (Wu and He 2018) over the channels of a group and all pixels, then
    /// `weight` x + `bias` per channel. Variance is the biased one.
    GroupNorm {
        /// Number of groups; divides the channels.
        groups: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Layer normalisation (Ba et al. 2016) over the features of each pixel, or of a vector, then
    /// `weight` x + `bias` per feature. Variance is the biased one.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// a * sigmoid(b), where a and b are the first and second half of the features.
    Gate,
    /// elu(x) of every feature, then elu(-x) of every feature: twice as many (Salimans et al. 2017,
    /// PixelCNN++).
    ConcatElu,
    /// elu(x) of features 0, 2, 4 ..., -elu(-x) of features 1, 3, 5 ..., of which there are as many (Eidnes and
    /// Nokland 2017, arXiv:1709.04054).
    BipolarElu,
    /// The same elements in row-major order under another shape of equal length.
    Reshape(Shape),
    /// Appends the context: elements of a vector, or one constant plane per value of a map.
    AppendContext,
    /// Appends a feature that is 1 everywhere. To a convolution it shows where a map ends: zeros of the
    /// padding have zeros in it.
    AppendOnes,
    /// A map moved down and to the right; zeros come in. Of rows y - `down` and columns x - `right` it
    /// makes a stream that lags behind the pixel (y, x).
    Shift {
        /// Rows, fewer than the map has.
        down: usize,
        /// Columns, fewer than the map has.
        right: usize,
    },
    /// `len` features from `start`.
    Slice {
        /// First feature kept.
        start: usize,
        /// Number of features kept.
        len: usize,
    },
    /// The branches applied to the same input, added. An empty branch is the identity, so
    /// `Sum([[], f])` is a residual connection.
    Sum(Vec<Vec<Layer>>),
    /// The branches applied to the same input, their features concatenated in order.
    Concat(Vec<Vec<Layer>>),
}

impl Layer {
    /// A dense linear layer.
    pub fn linear(outputs: usize) -> Self {
        Layer::Linear {
            outputs,
            degrees: None,
        }
    }

    /// A `k x k` convolution (k odd) that keeps the size of the map, or divides it by `stride`.
    pub fn conv(outputs: usize, k: usize, stride: usize) -> Self {
        let padding = Padding::all(k / 2);
        Layer::Conv2d {
            outputs,
            kernel: [k, k],
            stride,
            padding,
            mask: None,
        }
    }

    /// x + f(x)
    pub fn residual(f: Vec<Layer>) -> Self {
        Layer::Sum(alloc::vec![Vec::new(), f])
    }
}
