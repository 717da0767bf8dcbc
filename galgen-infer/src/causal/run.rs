//! Drawing with a [`CausalPlan`].

use super::graph::Piece;
use super::{CausalPlan, Node, Op, State};
use crate::kernels::gather::{Run, gather};
use crate::kernels::pointwise;
use crate::kernels::view::View;

impl CausalPlan {
    /// Fills `image` in reading order: pixel i becomes what `pixel(i, parameters)` returns. Nothing is allocated.
    ///
    /// # Panics
    /// If `image` or `context` do not have the lengths of the net.
    pub fn draw(
        &self,
        context: &[f32],
        state: &mut State,
        image: &mut [f32],
        mut pixel: impl FnMut(usize, &[f32]) -> f32,
    ) {
        let [height, width] = self.side;
        assert_eq!(image.len(), height * width, "pixels of the image");
        assert_eq!(context.len(), self.context, "length of the context");
        self.start(context, state);
        for r in self.first_row..height as isize {
            for p in self.steps[0]..=self.steps[1] {
                if r >= 0 && (0..width as isize).contains(&p) {
                    let i = r as usize * width + p as usize;
                    self.read_output(r, p, state);
                    image[i] = pixel(i, &state.parameters);
                    let at = self.address(0, r, p);
                    state.arena[at] = image[i];
                }
                for &n in &self.pixels {
                    let node = &self.nodes[n];
                    let (y, x) = (r - node.rows, p - node.columns);
                    if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                        self.compute(n, y, x, 1, state);
                    }
                }
            }
            for &n in &self.rows {
                let y = r - self.nodes[n].rows;
                if (0..height as isize).contains(&y) {
                    self.compute(n, y, 0, width, state);
                }
            }
        }
    }

    /// Clears the frames and fills the constant nodes.
    fn start(&self, context: &[f32], state: &mut State) {
        state.arena.fill(0.0);
        for (n, node) in self.nodes.iter().enumerate() {
            let values = match node.op {
                Op::Context => context,
                Op::Ones => &[1.0],
                _ => continue,
            };
            let to = self.view(whole(n, node), 0, 0, self.side[1]);
            pointwise::broadcast(values, &mut state.arena, to);
        }
    }

    fn read_output(&self, y: isize, x: isize, state: &mut State) {
        let mut done = 0;
        for piece in &self.output {
            let at = self.address(piece.node, y, x) + piece.start;
            let values = &state.arena[at..at + piece.len];
            state.parameters[done..done + piece.len].copy_from_slice(values);
            done += piece.len;
        }
    }

    /// Where the features of a node at a pixel begin; of a pixel above or below the map in the row of zeros.
    fn address(&self, n: usize, y: isize, x: isize) -> usize {
        let node = &self.nodes[n];
        let row = if !(0..self.side[0] as isize).contains(&y) {
            self.zeros
        } else if node.constant {
            node.start
        } else {
            node.start + y as usize % node.kept * node.row_len
        };
        row + (node.left as isize + x) as usize * node.features
    }

    /// `count` pixels of a piece.
    fn view(&self, piece: Piece, y: isize, x: isize, count: usize) -> View {
        let node = &self.nodes[piece.node];
        View {
            offset: self.address(piece.node, y, x) + piece.start,
            channels: piece.len,
            height: 1,
            width: count,
            channel: 1,
            row: node.row_len,
            pixel: node.features,
        }
    }

    /// Computes `count` pixels of node `n`.
    fn compute(&self, n: usize, y: isize, x: isize, count: usize, state: &mut State) {
        let node = &self.nodes[n];
        let (simd, arena) = (self.simd, &mut state.arena[..]);
        let to = self.view(whole(n, node), y, x, count);
        let from = |piece: &Piece| self.view(*piece, y, x, count);
        match &node.op {
            Op::Conv { conv, runs } => {
                state.runs.clear();
                state.runs.extend(runs.iter().map(|read| Run {
                    offset: self.address(read.node, y + read.rows, x + read.columns) + read.feature,
                    pixel: self.nodes[read.node].features,
                    len: read.len,
                }));
                gather(simd, arena, &state.runs, conv, to.offset, to.pixel, count);
            }
            Op::Map(piece, functions) => pointwise::map(simd, arena, from(piece), functions, to),
            Op::Add(a, b) => pointwise::add(simd, arena, from(a), from(b), to),
            Op::Gate(a, b) => pointwise::gated(simd, arena, from(a), from(b), to),
            Op::Shift(piece, [down, right]) => {
                let (y, x) = (y - *down as isize, x - *right as isize);
                let from = self.view(*piece, y, x, count);
                pointwise::copy_within(arena, from, to);
            }
            Op::Image | Op::Context | Op::Ones => unreachable!("not computed"),
        }
    }
}

fn whole(n: usize, node: &Node) -> Piece {
    Piece {
        node: n,
        start: 0,
        len: node.features,
    }
}
