//! Fast operations for training on the CPU, with checked gradients.
//!
//! candle's own convolutions, reductions and exponentials take several times longer than the processor needs; these
//! replace them. All run on f32 and f64, use [`threads`] threads, and give the same bits on any number of threads.

mod conv;
mod maps;
mod real;
mod shift;
mod threads;
mod upsample;

pub use conv::{Padding, conv_transpose2d, conv2d};
pub use threads::threads;
pub use upsample::{upsample_nearest2x, upsample2x_conv3x3};

#[cfg(test)]
mod tests;
