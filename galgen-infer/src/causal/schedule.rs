//! When each node is computed, and where its rows lie.

use super::graph::{Graph, Piece, Source, Vertex};
use super::{CausalPlan, Node, Op, Read};
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::gather::Gather;
use crate::weights::Weights;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Offset, Padding, SpecError};

/// Numbers of memory that drawing may take: 512 MB.
const MOST_MEMORY: usize = 1 << 27;
/// Visits of layers, whether they have something to do or not, that an image may take.
const MOST_VISITS: u64 = 1 << 30;

/// The reads of a node: pieces of other nodes, relative to its own pixel.
fn reads(vertex: &Vertex) -> Vec<(Piece, Offset)> {
    match &vertex.source {
        Source::Image | Source::Context | Source::Ones => Vec::new(),
        Source::Map(piece, _) => vec![(*piece, Offset::HERE)],
        Source::Add(a, b) | Source::Gate(a, b) => {
            vec![(*a, Offset::HERE), (*b, Offset::HERE)]
        }
        Source::Shift(piece, [down, right]) => {
            let by = Offset {
                rows: -(*down as isize),
                columns: -(*right as isize),
            };
            vec![(*piece, by)]
        }
        Source::Conv {
            inputs,
            taps,
            padding,
            ..
        } => {
            let at = |(y, x)| displacement(y, x, padding);
            let taps = taps.iter().map(|tap| at((tap.y, tap.x)));
            taps.flat_map(|at| inputs.iter().map(move |&piece| (piece, at)))
                .collect()
        }
    }
}

fn displacement(y: usize, x: usize, padding: &Padding) -> Offset {
    Offset {
        rows: y as isize - padding.top as isize,
        columns: x as isize - padding.left as isize,
    }
}

/// Whether a node is the same at all pixels.
fn is_constant(source: &Source) -> bool {
    matches!(source, Source::Context | Source::Ones)
}

/// Moments of the nodes.
struct Times {
    /// Last pixel that the node depends on; row -1 for constants.
    last: Vec<Offset>,
    /// Whether a pixel of the same row waits for it.
    urgent: Vec<bool>,
}

impl Times {
    fn of(graph: &Graph, reads: &[Vec<(Piece, Offset)>]) -> Result<Times, String> {
        let constant = Offset {
            rows: -1,
            columns: 0,
        };
        let mut last: Vec<Offset> = Vec::with_capacity(graph.nodes.len());
        for (vertex, reads) in graph.nodes.iter().zip(reads) {
            let seen = reads.iter().map(|(piece, at)| last[piece.node].then(*at));
            last.push(match vertex.source {
                Source::Image => Offset::HERE,
                _ => seen.max().unwrap_or(constant),
            });
        }
        let mut urgent = vec![false; last.len()];
        for piece in &graph.output {
            let seen = last[piece.node];
            if seen >= Offset::HERE {
                // The check of causality leaves constants out.
                return Err("a convolution of constant planes looks at rows below, expected kernels that end at their pixel".to_string());
            }
            urgent[piece.node] = seen.rows == 0;
        }
        for n in (0..last.len()).rev().filter(|&n| n > 0) {
            if urgent[n] {
                for (piece, at) in &reads[n] {
                    let source = &graph.nodes[piece.node].source;
                    let same_row = last[piece.node].rows + at.rows == last[n].rows;
                    urgent[piece.node] |= same_row && !is_constant(source);
                }
            }
        }
        // Its pixels come one by one.
        urgent[0] = true;
        Ok(Times { last, urgent })
    }

    /// Rows of node `from` that exist while node `to` reads it `rows` below its own row, the lowest of its reads.
    fn kept(&self, from: usize, to: usize, rows: isize) -> isize {
        // Whole rows come after the pixels of the same row.
        let late = !self.urgent[from] & self.urgent[to];
        self.last[to].rows - self.last[from].rows - isize::from(late) - rows + 1
    }
}

/// Memory of a node.
#[derive(Clone, Copy)]
struct Frame {
    kept: usize,
    left: usize,
    right: usize,
}

/// Lays the graph out for images of `height` x `width`.
pub(super) fn schedule(
    graph: Graph,
    [height, width]: [usize; 2],
    context: usize,
    prefix: &str,
    weights: &Weights,
    simd: Simd,
) -> Result<CausalPlan, LoadError> {
    let refused = |problem| LoadError::from(SpecError::new(prefix, problem));
    let reads: Vec<_> = graph.nodes.iter().map(reads).collect();
    let times = Times::of(&graph, &reads).map_err(refused)?;
    let mut frames = vec![
        Frame {
            kept: 1,
            left: 0,
            right: 0,
        };
        graph.nodes.len()
    ];
    for (n, reads) in reads.iter().enumerate() {
        for (piece, at) in reads {
            let frame = &mut frames[piece.node];
            let kept = times.kept(piece.node, n, at.rows).clamp(1, height as isize);
            frame.kept = frame.kept.max(kept as usize);
            frame.left = frame.left.max((-at.columns).max(0) as usize);
            frame.right = frame.right.max(at.columns.max(0) as usize);
        }
    }
    for piece in &graph.output {
        let late = isize::from(!times.urgent[piece.node]);
        let kept = (1 - times.last[piece.node].rows - late).clamp(1, height as isize);
        frames[piece.node].kept = frames[piece.node].kept.max(kept as usize);
    }

    let (mut nodes, mut arena, mut longest) = (Vec::new(), 0usize, 0);
    for (n, vertex) in graph.nodes.iter().enumerate() {
        let frame = frames[n];
        let row_len = (frame.left + width + frame.right) * vertex.features;
        let constant = is_constant(&vertex.source);
        let kept = if constant { 1 } else { frame.kept };
        nodes.push(Node {
            op: Op::Image,
            features: vertex.features,
            rows: times.last[n].rows,
            columns: times.last[n].columns,
            start: arena,
            row_len,
            kept,
            left: frame.left,
            constant,
        });
        longest = longest.max(row_len);
        arena = arena.saturating_add(row_len.saturating_mul(kept));
        if arena > MOST_MEMORY {
            return Err(refused(alloc::format!(
                "needs more than {MOST_MEMORY} numbers of memory to draw pixel by pixel"
            )));
        }
    }
    let zeros = arena;
    arena += longest;

    let (mut most_runs, mut multiply_adds) = (0, 0);
    for (n, vertex) in graph.nodes.into_iter().enumerate() {
        let pixels = if times.urgent[n] { 1 } else { width };
        nodes[n].op = match vertex.source {
            Source::Image => Op::Image,
            Source::Context => Op::Context,
            Source::Ones => Op::Ones,
            Source::Map(piece, functions) => Op::Map(piece, functions),
            Source::Add(a, b) => Op::Add(a, b),
            Source::Gate(a, b) => Op::Gate(a, b),
            Source::Shift(piece, by) => Op::Shift(piece, by),
            Source::Conv {
                tensors: [weight, bias],
                row_len,
                columns,
                functions,
                ..
            } => {
                let runs = merged(&reads[n], &nodes);
                most_runs = most_runs.max(runs.len());
                let bias = weights.get(&bias)?;
                let mut conv = Gather::new(simd, columns.len(), &bias, functions, pixels);
                weights.rows(&weight, row_len, &mut |rows| {
                    conv.packed
                        .set(rows.first.., rows.values, row_len, &columns);
                })?;
                multiply_adds += (conv.multiply_adds() * height * width) as u64;
                Op::Conv { conv, runs }
            }
        };
    }
    let of = |urgent: bool| {
        let fits = |&n: &usize| n > 0 && times.urgent[n] == urgent && !nodes[n].constant;
        (0..nodes.len()).filter(fits).collect::<Vec<_>>()
    };
    let (rows, pixels) = (of(false), of(true));
    let columns = || pixels.iter().map(|&n| nodes[n].columns);
    let first_column = columns().fold(-1, isize::min);
    let last_column = columns().fold(0, isize::max);
    let first_row = (0..nodes.len()).map(|n| nodes[n].rows).fold(-1, isize::min);
    let visits = (height as u64 + first_row.unsigned_abs() as u64)
        .saturating_mul(
            width as u64 + last_column.unsigned_abs() as u64 + first_column.unsigned_abs() as u64,
        )
        .saturating_mul(nodes.len() as u64);
    if visits > MOST_VISITS {
        return Err(refused(alloc::format!(
            "needs {visits} visits of its layers to draw pixel by pixel, expected at most {MOST_VISITS}"
        )));
    }
    Ok(CausalPlan {
        simd,
        side: [height, width],
        context,
        rows,
        pixels,
        steps: [first_column, width as isize - 1 + last_column],
        first_row,
        output: graph.output,
        zeros,
        arena,
        most_runs,
        multiply_adds,
        nodes,
    })
}

/// Reads that follow each other in memory as one.
fn merged(reads: &[(Piece, Offset)], nodes: &[Node]) -> Vec<Read> {
    let mut runs: Vec<Read> = Vec::new();
    for (piece, at) in reads {
        let features = nodes[piece.node].features as isize;
        // Position along the row, in numbers.
        let place = |columns: isize, feature: usize| columns * features + feature as isize;
        if let Some(run) = runs.last_mut()
            && run.node == piece.node
            && run.rows == at.rows
            && place(run.columns, run.feature) + run.len as isize == place(at.columns, piece.start)
        {
            run.len += piece.len;
            continue;
        }
        runs.push(Read {
            node: piece.node,
            rows: at.rows,
            columns: at.columns,
            feature: piece.start,
            len: piece.len,
        });
    }
    runs
}
