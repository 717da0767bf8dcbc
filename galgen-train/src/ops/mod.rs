//! Fast operations for training, with checked gradients.
//!
//! candle's own convolutions, reductions and exponentials take several times longer than the processor needs; these
//! replace them. All run on f32 and f64, use [`threads`] threads, and give the same bits on any number of threads.
//! On CUDA the same operations run the kernels of `cuda`, in a build with that feature.

mod act;
mod adam;
mod bias;
mod conv;
mod depthwise;
mod maps;
mod math;
mod norm;
mod random;
mod real;
mod shift;
mod spectral;
mod threads;
mod upsample;

pub use act::{Activation, activate, bias_activate, bias_add, bias_silu};
pub use adam::{Adam, adam_step, decay_to, squares};
pub use bias::channel_sum;
pub use conv::{conv_transpose2d, conv2d, conv2d_weight_grad};
pub use depthwise::depthwise_conv2d;
pub use galgen_core::spec::Padding;
pub use norm::group_norm;
pub use random::normals;
pub use spectral::{Filter, coloured};
pub use threads::threads;
pub use upsample::{upsample_nearest2x, upsample2x_conv3x3};

#[cfg(test)]
mod tests;
