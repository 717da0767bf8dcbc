//! Autoregressive transforms: one pass of the net in one direction, element after element in the other.
//!
//! In the slow direction the parameters of an element are known when the elements before it are. A net of masked
//! linear layers is then computed incrementally ([`Layers`]): each unit once, as soon as all that it sees is known.
//! All elements together cost one evaluation of the net. Any other net is run once for every element.

use super::States;
use super::element::{SIDE, elements};
use super::layers::Layers;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::{Cost, Plan};
use crate::weights::Weights;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use galgen_core::spec::{Direction, ElementMap, Net, ranks};

#[derive(Clone, Debug)]
pub(super) struct Autoregressive {
    net: Masked,
    map: ElementMap,
    one_pass: Direction,
    /// The element that comes first, second, ...
    order: Vec<usize>,
    simd: Simd,
}

/// A net whose outputs for an element see the elements before it.
#[derive(Clone, Debug)]
pub(crate) enum Masked {
    /// Of several items at once, and as elements become known.
    Layers(Layers),
    /// Any other net.
    Plan(Box<Plan>),
}

impl Masked {
    /// Lowers the net, whose tensors are under `prefix`; `ranks` says when each element becomes known, and each has
    /// so many `parameters`.
    pub fn new(
        net: &Net,
        ranks: &[u32],
        parameters: usize,
        prefix: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        match Layers::masked(net, ranks, parameters, prefix, weights, simd)? {
            Some(layers) => Ok(Masked::Layers(layers)),
            None => Ok(Masked::Plan(Box::new(Plan::new(
                net, prefix, weights, simd,
            )?))),
        }
    }
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
            net: Masked::new(net, &ranks, map.parameters(), &prefix, weights, simd)?,
            map: *map,
            one_pass,
            order: inverse,
            simd,
        })
    }

    /// What both directions cost together.
    pub fn cost(&self) -> Cost {
        match &self.net {
            Masked::Layers(layers) => layers.cost().repeated(2),
            Masked::Plan(plan) => plan.cost().repeated(1 + self.order.len() as u64),
        }
    }

    /// Whether several items are computed at once.
    pub fn shares_weights(&self) -> bool {
        matches!(self.net, Masked::Layers(_))
    }

    /// f32 numbers of scratch for so many items.
    pub fn scratch_len(&self, items: usize) -> usize {
        match &self.net {
            Masked::Layers(layers) => layers.scratch_len(items),
            Masked::Plan(plan) => self.order.len() + plan.output().len() + plan.scratch_len(),
        }
    }

    /// Applies the transform to all items.
    pub fn apply(&self, direction: Direction, states: &mut States, scratch: &mut [f32]) {
        match (&self.net, direction == self.one_pass) {
            (Masked::Layers(net), true) => self.at_once(net, direction, states, scratch),
            (Masked::Layers(net), false) => self.one_by_one(net, direction, states, scratch),
            (Masked::Plan(plan), _) => {
                for item in 0..states.len() {
                    let (x, context) = states.item(item);
                    let log_det = self.run_plan(plan, direction, x, context, scratch);
                    states.add(item, log_det);
                }
            }
        }
    }

    fn at_once(
        &self,
        net: &Layers,
        direction: Direction,
        states: &mut States,
        scratch: &mut [f32],
    ) {
        let items = states.len();
        for item in 0..items {
            let (x, _) = states.item(item);
            for (input, &i) in net.input(scratch, item).iter_mut().zip(&self.order) {
                *input = x[i] as f32;
            }
        }
        net.run(states.contexts, items, scratch);
        for item in 0..items {
            let (x, _) = states.item(item);
            let raw = net.output(scratch, items, item..item + 1);
            let mut log_det = 0.0;
            for (start, order) in (0..).step_by(SIDE).zip(self.order.chunks(SIDE)) {
                let mut values = [0.0; SIDE];
                let values = &mut values[..order.len()];
                for (value, &i) in values.iter_mut().zip(order) {
                    *value = x[i];
                }
                let parameters = (raw, |k| (start + k) * self.map.parameters(), 1);
                let own = elements(self.simd, direction, &self.map, values, parameters);
                for ((&i, &value), own) in order.iter().zip(&*values).zip(own) {
                    x[i] = value;
                    log_det += own;
                }
            }
            states.add(item, log_det);
        }
    }

    fn one_by_one(
        &self,
        net: &Layers,
        direction: Direction,
        states: &mut States,
        scratch: &mut [f32],
    ) {
        let (items, parameters) = (states.len(), self.map.parameters());
        net.start(states.contexts, items, scratch);
        for (rank, &i) in self.order.iter().enumerate() {
            net.finish(rank, parameters, items, scratch);
            for first in (0..items).step_by(SIDE) {
                let n = (items - first).min(SIDE);
                let mut values = [0.0; SIDE];
                for (k, value) in values[..n].iter_mut().enumerate() {
                    *value = states.item(first + k).0[i];
                }
                let raw = net.output(scratch, items, first..first + n);
                let at = |k| k * net.output_width() + rank * parameters;
                let parameters = (raw, at, 1);
                let own = elements(
                    self.simd,
                    direction,
                    &self.map,
                    &mut values[..n],
                    parameters,
                );
                for (k, &value) in values[..n].iter().enumerate() {
                    let item = first + k;
                    states.item(item).0[i] = value;
                    net.input(scratch, item)[rank] = value as f32;
                    states.add(item, own[k]);
                }
            }
            net.know(rank, items, scratch);
        }
    }

    /// One item, with a net that is no sequence of layers; returns ln |det|.
    fn run_plan(
        &self,
        plan: &Plan,
        direction: Direction,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut [f32],
    ) -> f64 {
        let parameters = self.map.parameters();
        let (input, rest) = scratch.split_at_mut(x.len());
        let (raw, rest) = rest.split_at_mut(plan.output().len());
        if direction == self.one_pass {
            for (input, &x) in input.iter_mut().zip(&*x) {
                *input = x as f32;
            }
            plan.run(input, context, raw, rest);
        } else {
            input.fill(0.0);
        }
        let mut log_det = 0.0;
        for &i in &self.order {
            if direction != self.one_pass {
                plan.run(input, context, raw, rest);
            }
            let x = core::slice::from_mut(&mut x[i]);
            let parameters = (&*raw, |_| i * parameters, 1);
            let own = elements(self.simd, direction, &self.map, x, parameters);
            log_det += own[0];
            if direction != self.one_pass {
                input[i] = x[0] as f32;
            }
        }
        log_det
    }
}
