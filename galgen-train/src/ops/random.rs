//! Standard normals of the project's counter-based generator, on any device.

use candle_core::{Device, Result, Shape, Tensor};
use galgen_core::rng::{Philox, Stream};

/// The first normals of the sequence of (`seed`, `id`) for training, rounded to f32. Those of a CUDA device are the
/// same to about an ulp.
pub fn normals(seed: u64, id: u64, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return crate::cuda::normals(seed, id, Stream::Training as u32, shape, device);
    }
    let mut rng = Philox::new(seed, id, Stream::Training);
    let values: Vec<f32> = (0..shape.elem_count())
        .map(|_| rng.normal() as f32)
        .collect();
    Tensor::from_vec(values, shape, device)
}
