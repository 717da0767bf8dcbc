//! A net as a graph of nodes, each with one last pixel that it depends on.

use crate::kernels::conv::Tap;
use crate::kernels::elementary::Pointwise;
use crate::lower::{ConvSpec, concat_elu, functions};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Layer, Net, Padding};

/// Some features of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub node: usize,
    pub start: usize,
    pub len: usize,
}

impl Piece {
    fn part(self, start: usize, len: usize) -> Piece {
        Piece {
            start: self.start + start,
            len,
            ..self
        }
    }
}

/// What a node computes, inputs before it in the list.
pub(super) enum Source {
    Image,
    Context,
    Ones,
    Conv {
        inputs: Vec<Piece>,
        taps: Vec<Tap>,
        padding: Padding,
        /// The tensors of weights and bias.
        tensors: [String; 2],
        /// Numbers of an output in the tensor, and where those of the taps stand.
        row_len: usize,
        columns: Vec<usize>,
        functions: Vec<Pointwise>,
    },
    Map(Piece, Vec<Pointwise>),
    Add(Piece, Piece),
    Gate(Piece, Piece),
    Shift(Piece, [usize; 2]),
}

pub(super) struct Vertex {
    pub source: Source,
    pub features: usize,
}

/// The nodes in an order in which they can be computed.
pub(super) struct Graph<'a> {
    pub nodes: Vec<Vertex>,
    /// The net's output.
    pub output: Vec<Piece>,
    prefix: &'a str,
    context: usize,
    /// Whether there are too many nodes or pieces; the graph is then not complete.
    overflow: bool,
}

/// Most nodes, and most pieces of a value: a small file could ask for billions.
const MOST_NODES: usize = 1 << 16;
const MOST_PIECES: usize = 1 << 10;

impl<'a> Graph<'a> {
    /// The graph of a net of layers that keep the grid of pixels.
    pub fn new(net: &Net, prefix: &'a str) -> Result<Self, String> {
        let mut graph = Graph {
            nodes: Vec::new(),
            output: Vec::new(),
            prefix,
            context: net.context,
            overflow: false,
        };
        let image = graph.node(Source::Image, net.input.features());
        graph.output = graph.sequence(&net.layers, vec![image], "");
        if graph.overflow {
            return Err(format!(
                "falls into more than {MOST_NODES} parts, or a value into more than {MOST_PIECES}: join \
                 concatenated features by a convolution"
            ));
        }
        Ok(graph)
    }

    fn node(&mut self, source: Source, features: usize) -> Piece {
        self.nodes.push(Vertex { source, features });
        Piece {
            node: self.nodes.len() - 1,
            start: 0,
            len: features,
        }
    }

    fn sequence(&mut self, layers: &[Layer], mut value: Vec<Piece>, prefix: &str) -> Vec<Piece> {
        let mut i = 0;
        while i < layers.len() {
            self.overflow |= self.nodes.len() > MOST_NODES || value.len() > MOST_PIECES;
            if self.overflow {
                return value;
            }
            let path = format!("{prefix}{i}");
            let mut next = i + 1;
            value = match &layers[i] {
                Layer::Conv2d {
                    outputs,
                    kernel,
                    stride,
                    padding,
                    mask,
                } => {
                    let functions = functions(&layers[i + 1..]);
                    next += functions.len();
                    let spec = ConvSpec {
                        kernel: *kernel,
                        stride: *stride,
                        padding: *padding,
                        mask,
                    };
                    let inputs = features(&value);
                    let tensor = |name: &str| format!("{}.{path}.{name}", self.prefix);
                    let taps = spec.taps();
                    let source = Source::Conv {
                        padding: *padding,
                        tensors: ["weight", "bias"].map(tensor),
                        row_len: spec.row_len(inputs),
                        columns: spec.columns(&taps, inputs),
                        taps,
                        inputs: value,
                        functions,
                    };
                    vec![self.node(source, *outputs)]
                }
                Layer::Activation(_) | Layer::Scale(_) => {
                    let functions = functions(&layers[i..]);
                    next = i + functions.len();
                    self.each(&value, |piece| Source::Map(piece, functions.clone()))
                }
                Layer::ConcatElu => {
                    let mut both = Vec::new();
                    for functions in concat_elu() {
                        both.extend(
                            self.each(&value, |piece| Source::Map(piece, functions.clone())),
                        );
                    }
                    both
                }
                Layer::Gate => {
                    let half = features(&value) / 2;
                    let (a, b) = (cut(&value, 0, half), cut(&value, half, half));
                    self.pairs(&a, &b, Source::Gate)
                }
                Layer::AppendContext => {
                    value.push(self.node(Source::Context, self.context));
                    value
                }
                Layer::AppendOnes => {
                    value.push(self.node(Source::Ones, 1));
                    value
                }
                Layer::Shift { down, right } => {
                    self.each(&value, |piece| Source::Shift(piece, [*down, *right]))
                }
                Layer::Slice { start, len } => cut(&value, *start, *len),
                Layer::Sum(branches) => {
                    let mut total: Option<Vec<Piece>> = None;
                    for (b, layers) in branches.iter().enumerate() {
                        let term = self.sequence(layers, value.clone(), &format!("{path}.{b}."));
                        total = Some(match total {
                            None => term,
                            Some(total) => self.pairs(&total, &term, Source::Add),
                        });
                    }
                    total.unwrap_or(value)
                }
                Layer::Concat(branches) => {
                    let part = |(b, layers): (usize, &Vec<Layer>)| {
                        self.sequence(layers, value.clone(), &format!("{path}.{b}."))
                    };
                    branches.iter().enumerate().flat_map(part).collect()
                }
                // To the same shape.
                Layer::Reshape(_) => value,
                Layer::Linear { .. }
                | Layer::ConvTranspose2d { .. }
                | Layer::DepthwiseConv2d { .. }
                | Layer::UpsampleNearest { .. }
                | Layer::GroupNorm { .. }
                | Layer::LayerNorm { .. }
                | Layer::BipolarElu => {
                    unreachable!("refused by the check of causality")
                }
            };
            i = next;
        }
        self.overflow |= value.len() > MOST_PIECES;
        value
    }

    /// A node for each piece.
    fn each(&mut self, value: &[Piece], source: impl Fn(Piece) -> Source) -> Vec<Piece> {
        let make = |&piece: &Piece| self.node(source(piece), piece.len);
        value.iter().map(make).collect()
    }

    /// A node for each pair of pieces that lie at the same features.
    fn pairs(
        &mut self,
        a: &[Piece],
        b: &[Piece],
        source: impl Fn(Piece, Piece) -> Source,
    ) -> Vec<Piece> {
        let (mut made, mut at) = (Vec::new(), 0);
        // After an overflow the values do not fit each other.
        while at < features(a) && !self.overflow {
            let (first, second) = (rest(a, at), rest(b, at));
            let len = first.len.min(second.len);
            let (first, second) = (first.part(0, len), second.part(0, len));
            made.push(self.node(source(first, second), len));
            at += len;
        }
        made
    }
}

fn features(value: &[Piece]) -> usize {
    value.iter().map(|piece| piece.len).sum()
}

/// The piece at feature `at`, from there on.
fn rest(value: &[Piece], mut at: usize) -> Piece {
    for piece in value {
        if at < piece.len {
            return piece.part(at, piece.len - at);
        }
        at -= piece.len;
    }
    unreachable!("a feature of the value")
}

/// `len` features from `start`.
fn cut(value: &[Piece], start: usize, len: usize) -> Vec<Piece> {
    let (mut kept, mut at) = (Vec::new(), start);
    while at < start + len {
        let piece = rest(value, at);
        let len = piece.len.min(start + len - at);
        kept.push(piece.part(0, len));
        at += len;
    }
    kept
}
