//! Fast operations for training on the CPU, with checked gradients.
//!
//! candle's own convolutions, reductions and exponentials take several times longer than the processor needs; these
//! replace them. All run on f32 and f64, use [`threads`] threads, and give the same bits on any number of threads.

mod act;
mod adam;
mod bias;
mod conv;
mod maps;
mod math;
mod norm;
mod portable;
mod real;
mod shift;
mod threads;
mod upsample;

pub use act::{Activation, activate, bias_activate, bias_add, bias_silu};
pub use adam::{Adam, adam_step};
pub use bias::channel_sum;
pub use conv::{Padding, conv_transpose2d, conv2d, conv2d_weight_grad};
pub use norm::group_norm;
pub use threads::threads;
pub use upsample::{upsample_nearest2x, upsample2x_conv3x3};

#[cfg(test)]
mod tests;
