//! Networks and flows as typed data.
//!
//! A [`Net`] is a sequence of [`Layer`]s. Three composite layers make it a series-parallel graph:
//! [`Layer::Sum`] (residual connections), [`Layer::Concat`] (skips, several streams) and
//! [`Layer::Slice`] (taking one stream out). A side input, the *context*, enters wherever
//! [`Layer::AppendContext`] stands: physical conditions, class labels, the time of a continuous flow.
//! A [`Flow`] is a list of invertible [`Transform`]s, some of which hold nets.
//!
//! The same value is lowered to candle for training and to a plan of fused kernels for inference,
//! and interpreted by an f64 referee in the tests. The enums are exhaustive and matched without a
//! wildcard: a new variant does not compile until all three know it.

mod causal;
mod element;
mod flow;
mod layer;
mod made;
mod net;
mod reach;
mod transform;
mod velocity;
mod window;

pub use causal::Offset;
pub use element::{
    ElementMap, MAX_COMPONENTS, MAX_PARAMETERS, MIXTURE_LOG_SCALE, SIGMOID_OFFSET, Scale,
};
pub use flow::{Base, Flow};
pub use layer::{CausalMask, Degrees, Layer, Padding, Shape};
pub use made::Made;
pub use net::{Net, Role, SpecError, TensorSpec};
pub use reach::{Reach, reach};
pub use transform::{Direction, Factors, Transform, check_autoregressive, ranks};
pub use velocity::{Continuous, MAX_EXACT, Solver, Trace, TraceNoise, Velocity};

/// Largest bound of an element's map.
const MAX_BOUND: f64 = 1e6;
