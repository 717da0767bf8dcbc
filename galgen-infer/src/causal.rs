//! Drawing an image pixel by pixel from an autoregressive net at the cost of one evaluation.
//!
//! The net is taken apart into *nodes*, features of a map that are computed together, so that slices and
//! concatenations cost nothing. The spec tells the last pixel of the image that a node depends on
//! (see [`Offset`](galgen_core::spec::Offset)), hence the moment from which on it can be computed. Nodes that no later pixel of the
//! same row waits for, such as the vertical stack of a gated PixelCNN, are computed a whole row at a time;
//! the others at one pixel, as soon as the pixels that they see are drawn. Of every node only the rows that are still
//! read are kept. So each node is computed once at each pixel: the work of one network evaluation for an image.
//!
//! The arithmetic is that of [`Plan`](crate::lower::Plan) in the same order, so the bits are those of a full
//! evaluation for every pixel.

mod graph;
mod run;
mod schedule;

use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::elementary::Pointwise;
use crate::kernels::gather::{Gather, Run};
use crate::weights::Weights;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Net, Shape, SpecError};
use graph::Piece;

/// A net ready to draw from. Immutable.
pub(crate) struct CausalPlan {
    simd: Simd,
    side: [usize; 2],
    context: usize,
    nodes: Vec<Node>,
    /// Nodes of whole rows and of single pixels, each in the order of computation.
    rows: Vec<usize>,
    pixels: Vec<usize>,
    /// Range of the steps of a row, and the first row of the image with work to do.
    steps: [isize; 2],
    first_row: isize,
    /// Parameters of a pixel.
    output: Vec<Piece>,
    /// Where a row of zeros begins in the arena, and its length.
    zeros: usize,
    arena: usize,
    most_runs: usize,
    multiply_adds: u64,
}

/// Features computed together, and where their rows lie.
struct Node {
    op: Op,
    features: usize,
    /// At step (r, p) the node is computed at row r - rows, column p - columns.
    rows: isize,
    columns: isize,
    /// Where its rows begin in the arena; of one row, number of rows kept, zeros left of the row in pixels.
    start: usize,
    row_len: usize,
    kept: usize,
    left: usize,
    /// Every row is the same.
    constant: bool,
}

/// How a node is computed.
enum Op {
    Image,
    Context,
    Ones,
    Conv { conv: Gather, runs: Vec<Read> },
    Map(Piece, Vec<Pointwise>),
    Add(Piece, Piece),
    Gate(Piece, Piece),
    Shift(Piece, [usize; 2]),
}

/// Contiguous inputs of a convolution: features of a node from a pixel `rows` below and `columns` to the right of this
/// one on.
#[derive(Clone, Copy)]
struct Read {
    node: usize,
    rows: isize,
    columns: isize,
    feature: usize,
    len: usize,
}

/// Everything that drawing writes to.
pub(crate) struct State {
    arena: Vec<f32>,
    runs: Vec<Run>,
    parameters: Vec<f32>,
}

/// Lengths of a [`State`].
pub(crate) struct Sizes {
    arena: usize,
    runs: usize,
    parameters: usize,
}

impl Sizes {
    /// Bytes that [`State::new`] allocates.
    pub fn bytes(&self) -> usize {
        4 * (self.arena + self.parameters) + self.runs * size_of::<Run>()
    }
}

impl State {
    pub fn new(sizes: &Sizes) -> Self {
        State {
            arena: vec![0.0; sizes.arena],
            runs: Vec::with_capacity(sizes.runs),
            parameters: vec![0.0; sizes.parameters],
        }
    }
}

impl CausalPlan {
    /// Takes `net` apart, which has been checked to look at no later pixel.
    pub fn new(
        net: &Net,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<CausalPlan, LoadError> {
        let Shape::Map { height, width, .. } = net.input else {
            return Err(SpecError::new(prefix, "not a map of pixels").into());
        };
        let graph = graph::Graph::new(net, prefix)
            .map_err(|problem| LoadError::from(SpecError::new(prefix, problem)))?;
        let side = [height, width];
        schedule::schedule(graph, side, net.context, prefix, weights, simd)
    }

    /// Lengths of the memory to draw with.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            arena: self.arena,
            runs: self.most_runs,
            parameters: self.output.iter().map(|piece| piece.len).sum(),
        }
    }

    /// Multiply-adds of the convolutions of one image.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }
}
