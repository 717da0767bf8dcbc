//! Autoregressive transforms: one pass of the net in one direction, element after element in the other.
//!
//! In the slow direction the parameters of an element are known when the elements before it are. A net of masked
//! linear layers is then computed incrementally: each unit once, as soon as all that it sees is known, and
//! added to the sums of the next layer. All elements together cost one evaluation of the net with its masks ignored
//! (twice the work of the products that the masks leave). Any other net is run once for every element.

use super::element::element;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::elementary::Pointwise;
use crate::kernels::pointwise;
use crate::kernels::view::View;
use crate::lower::{Cost, Plan};
use crate::weights::Weights;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Direction, ElementMap, Layer, Net, Reach, ranks, reach};

#[derive(Clone, Debug)]
pub(super) struct Autoregressive {
    plan: Plan,
    incremental: Option<Incremental>,
    map: ElementMap,
    one_pass: Direction,
    /// The element that comes first, second, ...
    order: Vec<usize>,
}

impl Autoregressive {
    /// Lowers the net, whose tensors are under `path`.
    pub fn new(
        net: &Net,
        map: &ElementMap,
        one_pass: Direction,
        order: &[u32],
        path: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let n = net.input.len();
        let ranks = ranks(order, n);
        let mut inverse = vec![0; n];
        for (element, &rank) in ranks.iter().enumerate() {
            inverse[rank as usize] = element;
        }
        let prefix = format!("{path}.net");
        Ok(Autoregressive {
            plan: Plan::new(net, &prefix, weights, simd)?,
            incremental: Incremental::new(net, &ranks, &prefix, weights, simd),
            map: *map,
            one_pass,
            order: inverse,
        })
    }

    /// What both directions cost together.
    pub fn cost(&self) -> Cost {
        let runs = if self.incremental.is_some() {
            2
        } else {
            self.order.len()
        };
        self.plan.cost().repeated(runs as u64)
    }

    /// f32 numbers of scratch.
    pub fn scratch_len(&self) -> usize {
        let whole = self.order.len() + self.plan.output().len() + self.plan.scratch_len();
        whole.max(
            self.incremental
                .as_ref()
                .map_or(0, Incremental::scratch_len),
        )
    }

    /// Applies the transform; returns ln |det| of the direction taken.
    pub fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut [f32],
    ) -> f64 {
        let parameters = self.map.parameters();
        if let (true, Some(net)) = (direction != self.one_pass, &self.incremental) {
            let sums = &mut scratch[..net.scratch_len()];
            net.start(context, sums);
            let mut log_det = 0.0;
            for (rank, &i) in self.order.iter().enumerate() {
                let raw = &net.outputs(sums)[i * parameters..(i + 1) * parameters];
                let mapped = element(direction, &self.map, x[i], raw);
                x[i] = mapped.value;
                log_det += mapped.log_det;
                net.know(rank, i, mapped.value as f32, sums);
            }
            return log_det;
        }
        let (input, rest) = scratch.split_at_mut(x.len());
        let (raw, rest) = rest.split_at_mut(self.plan.output().len());
        if direction == self.one_pass {
            for (input, &x) in input.iter_mut().zip(&*x) {
                *input = x as f32;
            }
            self.plan.run(input, context, raw, rest);
        } else {
            input.fill(0.0);
        }
        let mut log_det = 0.0;
        for &i in &self.order {
            if direction != self.one_pass {
                self.plan.run(input, context, raw, rest);
            }
            let raw = &raw[i * parameters..(i + 1) * parameters];
            let mapped = element(direction, &self.map, x[i], raw);
            x[i] = mapped.value;
            log_det += mapped.log_det;
            if direction != self.one_pass {
                input[i] = mapped.value as f32;
            }
        }
        log_det
    }
}

/// A net of linear layers whose inputs become known one after the other. Hidden units stand in the order in which
/// they are ready.
#[derive(Clone, Debug)]
pub(crate) struct Incremental {
    layers: Vec<Layered>,
    simd: Simd,
}

#[derive(Clone, Debug)]
struct Layered {
    /// Where its sums start in the scratch.
    start: usize,
    bias: Vec<f32>,
    /// Weights of the outputs for one input after the other; those for the context at the end.
    columns: Vec<f32>,
    /// Inputs that are no context.
    inputs: usize,
    functions: Vec<Pointwise>,
    /// Units in the order in which they are ready: group 0 at the start, group r + 1 after rank r.
    units: Vec<usize>,
    /// Where each group ends in `units`.
    ends: Vec<usize>,
}

impl Incremental {
    /// The net, if it is a sequence of linear layers with functions after them, and the context appended to the
    /// inputs of any of them. `ranks` says when each input becomes known.
    pub fn new(
        net: &Net,
        ranks: &[u32],
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Option<Self> {
        let mut layers: Vec<Layered> = Vec::new();
        // Where the units of the layer before now stand; None: as they were.
        let mut moved: Option<Vec<usize>> = None;
        let (mut appended, mut start, mut i) = (false, 0, 0);
        let mut inputs = net.input.len();
        while i < net.layers.len() {
            let (outputs, degrees) = match &net.layers[i] {
                Layer::AppendContext if !appended => {
                    appended = true;
                    i += 1;
                    continue;
                }
                Layer::Linear { outputs, degrees } => (*outputs, degrees),
                _ => return None,
            };
            let functions: Vec<Pointwise> =
                net.layers[i + 1..].iter().map_while(function).collect();
            let next = i + 1 + functions.len();
            let part = Net {
                layers: net.layers[..=i].to_vec(),
                ..net.clone()
            };
            let ready = reach(&part, ranks)?;
            let units = by_readiness(&ready);
            let hidden = next < net.layers.len();
            let order: Vec<usize> = if hidden {
                units.clone()
            } else {
                (0..outputs).collect()
            };
            let width = inputs + if appended { net.context } else { 0 };
            let tensor = |name: &str| weights.get(&format!("{prefix}.{i}.{name}"));
            let (matrix, bias) = (tensor("weight"), tensor("bias"));
            let sees =
                |o: usize, c: usize| degrees.as_ref().is_none_or(|d| d.input[c] <= d.output[o]);
            let mut columns = vec![0.0; outputs * width];
            for c in 0..width {
                let to = match &moved {
                    Some(moved) if c < inputs => moved[c],
                    _ => c,
                };
                let column = &mut columns[to * outputs..(to + 1) * outputs];
                for (to, &o) in column.iter_mut().zip(&order) {
                    if sees(o, c) {
                        *to = matrix[o * width + c];
                    }
                }
            }
            let count = |last: Reach| ready.iter().filter(|&&r| r <= last).count();
            let mut ends = vec![count(None)];
            ends.extend((0..ranks.len() as u32).map(|r| count(Some(r))));
            layers.push(Layered {
                start,
                bias: order.iter().map(|&o| bias[o]).collect(),
                columns,
                inputs,
                functions,
                units: if hidden {
                    (0..outputs).collect()
                } else {
                    units
                },
                ends,
            });
            let mut places = vec![0; outputs];
            order.iter().enumerate().for_each(|(to, &o)| places[o] = to);
            moved = Some(places);
            (start, inputs, appended, i) = (start + outputs, outputs, false, next);
        }
        (!layers.is_empty() && !appended).then_some(Incremental { layers, simd })
    }

    /// f32 numbers of scratch.
    pub fn scratch_len(&self) -> usize {
        self.layers.iter().map(|l| l.bias.len()).sum()
    }

    /// Nothing but the context is known.
    pub fn start(&self, context: &[f32], sums: &mut [f32]) {
        for layer in &self.layers {
            let own = &mut sums[layer.start..layer.start + layer.bias.len()];
            own.copy_from_slice(&layer.bias);
            let n = own.len();
            let columns = layer.columns[layer.inputs * n..].chunks_exact(n);
            for (&value, column) in context.iter().zip(columns) {
                add(own, column, value);
            }
        }
        self.ready(0, sums);
    }

    /// Input `i`, which has this rank, is known.
    pub fn know(&self, rank: usize, i: usize, value: f32, sums: &mut [f32]) {
        let layer = &self.layers[0];
        let n = layer.bias.len();
        add(&mut sums[..n], &layer.columns[i * n..(i + 1) * n], value);
        self.ready(rank + 1, sums);
    }

    /// The outputs; those of an element are right once all before it are known.
    pub fn outputs<'a>(&self, sums: &'a [f32]) -> &'a [f32] {
        &sums[self.layers.last().map_or(0, |l| l.start)..]
    }

    /// Hands on the units of this group, whose sums are complete.
    fn ready(&self, group: usize, sums: &mut [f32]) {
        let last = self.layers.len() - 1;
        for (l, layer) in self.layers.iter().enumerate() {
            let first = group.checked_sub(1).map_or(0, |g| layer.ends[g]);
            let units = first..layer.ends[group];
            if l == last {
                // Outputs stand as they were: those of one group are not neighbours.
                for &unit in &layer.units[units] {
                    self.activate(layer, layer.start + unit, 1, sums);
                }
                return;
            }
            self.activate(layer, layer.start + units.start, units.len(), sums);
            let next = &self.layers[l + 1];
            let n = next.bias.len();
            let (before, after) = sums.split_at_mut(next.start);
            for unit in units {
                let column = &next.columns[unit * n..(unit + 1) * n];
                add(&mut after[..n], column, before[layer.start + unit]);
            }
        }
    }

    fn activate(&self, layer: &Layered, start: usize, len: usize, sums: &mut [f32]) {
        if layer.functions.is_empty() || len == 0 {
            return;
        }
        let view = View {
            offset: start,
            ..View::pixels(len, 1, 1)
        };
        pointwise::map(self.simd, sums, view, &layer.functions, view);
    }
}

/// sums += column * value; a product and a sum, so the same bits on all instruction sets.
fn add(sums: &mut [f32], column: &[f32], value: f32) {
    for (sum, w) in sums.iter_mut().zip(column) {
        *sum += w * value;
    }
}

fn function(layer: &Layer) -> Option<Pointwise> {
    match layer {
        Layer::Activation(act) => Some(Pointwise::Act(*act)),
        Layer::Scale(factor) => Some(Pointwise::Scale(*factor)),
        _ => None,
    }
}

/// Units sorted by readiness, in their own order where that is the same.
fn by_readiness(ready: &[Reach]) -> Vec<usize> {
    let mut units: Vec<usize> = (0..ready.len()).collect();
    units.sort_by_key(|&u| ready[u]);
    units
}
