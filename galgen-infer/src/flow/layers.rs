//! Nets of linear layers with functions between them, of several items at a time, all at once or as their inputs become
//! known one after the other.
//!
//! Units of a masked net stand in the order in which they can be evaluated: inputs by rank, hidden units when the
//! last input that they see is known, outputs by the rank of their element; the context stands before them. Sums are
//! accumulated in that order both ways, so both give the same bits, and an item has the same bits alone and in a batch.

use crate::error::LoadError;
use crate::kernels::Simd;
use crate::kernels::dense::{Dense, accumulate};
use crate::kernels::elementary::Pointwise;
use crate::kernels::pointwise;
use crate::kernels::view::View;
use crate::lower::Cost;
use crate::weights::Weights;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;
use galgen_core::spec::{Layer, Net, Reach, reach};

/// A net with packed weights.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    layers: Vec<Layered>,
    /// Numbers of context.
    context: usize,
    simd: Simd,
}

/// One layer. Its values, context first, and after it its sums lie item by item.
#[derive(Clone, Debug)]
struct Layered {
    dense: Dense,
    /// Numbers of context before its inputs.
    appended: usize,
    /// Numbers from the values of one item to those of the next.
    width: usize,
    functions: Vec<Pointwise>,
    /// Where each group of hidden units ends: group 0 can be evaluated at the start, group r + 1 after rank r.
    ends: Vec<usize>,
}

/// A linear layer as the spec has it.
struct Found<'a> {
    index: usize,
    outputs: usize,
    sees: &'a Layer,
    appended: bool,
    functions: Vec<Pointwise>,
}

impl Layers {
    /// The net, if it is a sequence of linear layers with functions after them, and the context appended to the
    /// inputs of any of them.
    pub fn new(
        net: &Net,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Option<Self>, LoadError> {
        Self::ordered(net, None, 1, prefix, weights, simd)
    }

    /// The same, whose inputs become known one after the other: `ranks` says when. Each has so many `parameters` among
    /// the outputs.
    pub fn masked(
        net: &Net,
        ranks: &[u32],
        parameters: usize,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Option<Self>, LoadError> {
        Self::ordered(net, Some(ranks), parameters, prefix, weights, simd)
    }

    fn ordered(
        net: &Net,
        ranks: Option<&[u32]>,
        parameters: usize,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Option<Self>, LoadError> {
        let Some(found) = linear_layers(net) else {
            return Ok(None);
        };
        let last = found.len() - 1;
        // units[place] is the input, or unit, that stands there.
        let inputs = net.input.len();
        let mut units = match ranks {
            Some(ranks) => in_order(inputs, &|u| Some(ranks[u])),
            None => (0..inputs).collect(),
        };
        let mut layers = Vec::new();
        for (l, layer) in found.into_iter().enumerate() {
            let inputs = units.len();
            let appended = if layer.appended { net.context } else { 0 };
            let mut own: Vec<usize> = (0..layer.outputs).collect();
            let mut ends = Vec::new();
            match ranks {
                Some(ranks) if l == last => {
                    own = in_order(layer.outputs, &|o| Some(ranks[o / parameters]));
                }
                Some(ranks) => {
                    let part = Net {
                        layers: net.layers[..=layer.index].to_vec(),
                        ..net.clone()
                    };
                    let Some(ready) = reach(&part, ranks) else {
                        return Ok(None);
                    };
                    own = in_order(layer.outputs, &|u| ready[u]);
                    // In the order of what they reach.
                    let count = |last: Reach| own.partition_point(|&u| ready[u] <= last);
                    ends.push(count(None));
                    ends.extend((0..ranks.len() as u32).map(|r| count(Some(r))));
                }
                None => {}
            }
            let tensor = |name: &str| format!("{prefix}.{}.{name}", layer.index);
            let Layer::Linear { degrees, .. } = layer.sees else {
                return Ok(None);
            };
            // The context stands last in the file.
            let context = inputs..inputs + appended;
            let columns: Vec<usize> = context.chain(units.iter().copied()).collect();
            let mut places = alloc::vec![0; own.len()];
            for (place, &output) in own.iter().enumerate() {
                places[output] = place;
            }
            let bias = weights.get(&tensor("bias"))?;
            let bias = own.iter().map(|&o| bias[o]).collect();
            let dense = Dense::new(bias, columns.len(), |dense| {
                weights.rows(&tensor("weight"), columns.len(), &mut |mut rows| {
                    if let Some(degrees) = degrees {
                        rows.each(|output, row| degrees.mask(output, row));
                    }
                    let places = places[rows.first..].iter().copied();
                    dense.set(places, rows.values, &columns);
                })
            })?;
            let before = layers.last().map_or(inputs, |l: &Layered| l.dense.width());
            layers.push(Layered {
                dense,
                appended,
                width: appended + before,
                functions: layer.functions,
                ends,
            });
            units = own;
        }
        Ok(Some(Layers {
            layers,
            context: net.context,
            simd,
        }))
    }

    /// f32 numbers of scratch for so many items.
    pub fn scratch_len(&self, items: usize) -> usize {
        let values: usize = self.layers.iter().map(|l| l.width).sum();
        items * (values + self.output_width())
    }

    /// Numbers from the outputs of one item to those of the next.
    pub fn output_width(&self) -> usize {
        self.layers.last().map_or(0, |l| l.dense.width())
    }

    /// What one evaluation of an item costs.
    pub fn cost(&self) -> Cost {
        let parameters = |l: &Layered| l.dense.multiply_adds() + l.dense.outputs();
        let parameters = self.layers.iter().map(parameters).sum::<usize>() as u64;
        Cost {
            scratch: self.scratch_len(1) as u64,
            work: 2 * parameters,
            parameters,
        }
    }

    /// The inputs of an item, in the order of their ranks.
    pub fn input<'a>(&self, scratch: &'a mut [f32], item: usize) -> &'a mut [f32] {
        let first = &self.layers[0];
        &mut scratch[item * first.width + first.appended..(item + 1) * first.width]
    }

    /// The outputs of these of so many items; of a masked net by the rank of the element, and right once all before it
    /// are known.
    pub fn output<'a>(&self, scratch: &'a [f32], items: usize, of: Range<usize>) -> &'a [f32] {
        let (at, width) = (self.place(self.layers.len(), items), self.output_width());
        &scratch[at + of.start * width..at + of.end * width]
    }

    /// Evaluates the net on the inputs of so many items, with the contexts of each one after the other.
    pub fn run(&self, contexts: &[f32], items: usize, scratch: &mut [f32]) {
        self.append(contexts, items, scratch);
        for l in 0..self.layers.len() {
            let layer = &self.layers[l];
            self.add(l, 0..layer.dense.inputs(), items, scratch, true);
            self.apply(l, 0..layer.dense.outputs(), items, scratch);
        }
    }

    /// Nothing but the contexts is known.
    pub fn start(&self, contexts: &[f32], items: usize, scratch: &mut [f32]) {
        self.append(contexts, items, scratch);
        for l in 0..self.layers.len() {
            self.add(l, 0..self.layers[l].appended, items, scratch, true);
        }
        self.ready(0, items, scratch);
    }

    /// The input of this rank is known, of all items. Afterwards the outputs of the next rank are right.
    pub fn know(&self, rank: usize, items: usize, scratch: &mut [f32]) {
        let place = self.layers[0].appended + rank;
        self.add(0, place..place + 1, items, scratch, false);
        self.ready(rank + 1, items, scratch);
    }

    /// Functions of the last layer on the outputs of one rank, which have `parameters` each.
    pub fn finish(&self, rank: usize, parameters: usize, items: usize, scratch: &mut [f32]) {
        let outputs = rank * parameters..(rank + 1) * parameters;
        self.apply(self.layers.len() - 1, outputs, items, scratch);
    }

    /// Hands on the hidden units of this group, whose sums are complete.
    fn ready(&self, group: usize, items: usize, scratch: &mut [f32]) {
        for l in 0..self.layers.len() - 1 {
            let ends = &self.layers[l].ends;
            let units = group.checked_sub(1).map_or(0, |g| ends[g])..ends[group];
            if units.is_empty() {
                continue;
            }
            let appended = self.layers[l + 1].appended;
            self.apply(l, units.clone(), items, scratch);
            let inputs = units.start + appended..units.end + appended;
            self.add(l + 1, inputs, items, scratch, false);
        }
    }

    /// Where the values of layer `l`, or after the last one the outputs, start.
    fn place(&self, l: usize, items: usize) -> usize {
        let before: usize = self.layers[..l].iter().map(|l| l.width).sum();
        items * before
    }

    /// (offset, stride) of the sums of layer `l`: what the next layer reads, after its context.
    fn sums(&self, l: usize, items: usize) -> (usize, usize) {
        let place = self.place(l + 1, items);
        match self.layers.get(l + 1) {
            Some(next) => (place + next.appended, next.width),
            None => (place, self.output_width()),
        }
    }

    fn append(&self, contexts: &[f32], items: usize, scratch: &mut [f32]) {
        for (l, layer) in self.layers.iter().enumerate() {
            if layer.appended > 0 {
                let values = scratch[self.place(l, items)..].chunks_mut(layer.width);
                for (values, context) in values.zip(contexts.chunks(self.context)).take(items) {
                    values[..layer.appended].copy_from_slice(context);
                }
            }
        }
    }

    /// Adds these inputs of layer `l` to its sums, which start at the bias if they are `new`.
    fn add(&self, l: usize, inputs: Range<usize>, items: usize, scratch: &mut [f32], new: bool) {
        let layer = &self.layers[l];
        let (at, stride) = self.sums(l, items);
        let (values, sums) = scratch.split_at_mut(self.place(l + 1, items));
        let values = &values[self.place(l, items)..];
        let sums = &mut sums[at - self.place(l + 1, items)..];
        if new {
            layer.dense.start(sums, stride, items);
        }
        let (values, sums) = ((values, layer.width), (sums, stride));
        accumulate(self.simd, &layer.dense, inputs, values, sums, items);
    }

    /// The functions of layer `l` on these outputs.
    fn apply(&self, l: usize, outputs: Range<usize>, items: usize, scratch: &mut [f32]) {
        let functions = &self.layers[l].functions;
        if functions.is_empty() || outputs.is_empty() {
            return;
        }
        let (at, stride) = self.sums(l, items);
        let view = View {
            offset: at + outputs.start,
            pixel: stride,
            row: items * stride,
            ..View::pixels(outputs.len(), 1, items)
        };
        pointwise::map(self.simd, scratch, view, functions, view);
    }
}

/// So many units by their keys, equal ones as they stood.
fn in_order(units: usize, key: &dyn Fn(usize) -> Reach) -> Vec<usize> {
    let mut order: Vec<usize> = (0..units).collect();
    order.sort_by_key(|&u| key(u));
    order
}

/// The linear layers of a net that has nothing else but functions and contexts appended.
fn linear_layers(net: &Net) -> Option<Vec<Found<'_>>> {
    let (mut found, mut appended, mut index) = (Vec::new(), false, 0);
    while let Some(layer) = net.layers.get(index) {
        match layer {
            Layer::AppendContext if !appended => {
                appended = true;
                index += 1;
            }
            Layer::Linear { outputs, .. } => {
                let rest = &net.layers[index + 1..];
                let functions: Vec<Pointwise> = rest.iter().map_while(function).collect();
                let next = index + 1 + functions.len();
                found.push(Found {
                    index,
                    outputs: *outputs,
                    sees: layer,
                    appended,
                    functions,
                });
                (appended, index) = (false, next);
            }
            _ => return None,
        }
    }
    (!found.is_empty() && !appended).then_some(found)
}

fn function(layer: &Layer) -> Option<Pointwise> {
    match layer {
        Layer::Activation(act) => Some(Pointwise::Act(*act)),
        Layer::Scale(factor) => Some(Pointwise::Scale(*factor)),
        _ => None,
    }
}
