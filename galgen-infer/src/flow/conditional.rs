//! Couplings: some elements stay, and give the parameters of the others' maps.

use super::States;
use super::element::element;
use super::layers::Layers;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::{Cost, Plan};
use crate::weights::Weights;
use alloc::boxed::Box;
use alloc::format;
use galgen_core::spec::{Direction, ElementMap, MAX_PARAMETERS, Net};

/// Which elements stay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// The first features.
    Features(usize),
    /// Pixels whose row + column is even or odd.
    Pixels {
        odd: bool,
        /// Columns of the map.
        width: usize,
    },
}

/// A coupling of vectors (of one pixel) or maps.
#[derive(Clone, Debug)]
pub(super) struct Coupling {
    net: Conditioner,
    kept: Kept,
    map: ElementMap,
    /// Pixels of a feature.
    plane: usize,
}

#[derive(Clone, Debug)]
enum Conditioner {
    /// Of several items at once.
    Layers(Layers),
    Plan(Box<Plan>),
}

impl Coupling {
    /// Lowers the net, whose tensors are under `path`.
    pub fn new(
        net: &Net,
        map: &ElementMap,
        kept: Kept,
        plane: usize,
        path: &str,
        weights: &Weights,
        simd: Simd,
    ) -> Result<Self, LoadError> {
        let prefix = format!("{path}.net");
        let layers = Layers::new(net, &prefix, weights, simd).filter(|_| plane == 1);
        let net = match layers {
            Some(layers) => Conditioner::Layers(layers),
            None => Conditioner::Plan(Box::new(Plan::new(net, &prefix, weights, simd)?)),
        };
        Ok(Coupling {
            net,
            kept,
            map: *map,
            plane,
        })
    }

    /// What an item costs.
    pub fn cost(&self) -> Cost {
        match &self.net {
            Conditioner::Layers(layers) => layers.cost(),
            Conditioner::Plan(plan) => plan.cost(),
        }
    }

    /// Whether several items are computed at once.
    pub fn shares_weights(&self) -> bool {
        matches!(self.net, Conditioner::Layers(_))
    }

    /// f32 numbers of scratch for so many items.
    pub fn scratch_len(&self, items: usize) -> usize {
        match &self.net {
            Conditioner::Layers(layers) => layers.scratch_len(items),
            Conditioner::Plan(plan) => plan.input_len() + plan.output().len() + plan.scratch_len(),
        }
    }

    /// Applies the transform to all items.
    pub fn apply(&self, direction: Direction, states: &mut States, scratch: &mut [f32]) {
        let items = states.len();
        match &self.net {
            Conditioner::Layers(net) => {
                for item in 0..items {
                    self.fill(states.item(item).0, net.input(scratch, item));
                }
                net.run(states.contexts, items, scratch);
                for item in 0..items {
                    let raw = net.output(scratch, items, item);
                    let log_det = self.map_elements(direction, states.item(item).0, raw);
                    states.add(item, log_det);
                }
            }
            Conditioner::Plan(plan) => {
                let (input, rest) = scratch.split_at_mut(plan.input_len());
                let (raw, rest) = rest.split_at_mut(plan.output().len());
                for item in 0..items {
                    let (x, context) = states.item(item);
                    self.fill(x, input);
                    plan.run(input, context, raw, rest);
                    let log_det = self.map_elements(direction, x, raw);
                    states.add(item, log_det);
                }
            }
        }
    }

    /// What the net sees of `x`.
    fn fill(&self, x: &[f64], input: &mut [f32]) {
        for (i, (input, &x)) in input.iter_mut().zip(x).enumerate() {
            *input = if self.stays(i) { x as f32 } else { 0.0 };
        }
    }

    /// Maps the elements that do not stay; returns ln |det|.
    fn map_elements(&self, direction: Direction, x: &mut [f64], raw: &[f32]) -> f64 {
        let first = match self.kept {
            Kept::Features(keep) => keep * self.plane,
            Kept::Pixels { .. } => 0,
        };
        let mut log_det = 0.0;
        for (i, x) in x[first..].iter_mut().enumerate() {
            if matches!(self.kept, Kept::Pixels { .. }) && self.stays(i) {
                continue;
            }
            let mapped = element(
                direction,
                &self.map,
                *x,
                self.parameters(raw, i, &mut [0.0; MAX_PARAMETERS]),
            );
            *x = mapped.value;
            log_det += mapped.log_det;
        }
        log_det
    }

    /// Whether element `i` of the active part stays.
    fn stays(&self, i: usize) -> bool {
        match self.kept {
            Kept::Features(keep) => i < keep * self.plane,
            Kept::Pixels { odd, width } => {
                let pixel = i % self.plane;
                ((pixel / width + pixel % width) % 2 == 1) == odd
            }
        }
    }

    /// The parameters of the `i`-th mapped element: neighbours of a vector, in planes of their own of a map.
    fn parameters<'a>(
        &self,
        raw: &'a [f32],
        i: usize,
        gathered: &'a mut [f32; MAX_PARAMETERS],
    ) -> &'a [f32] {
        let count = self.map.parameters();
        if self.plane == 1 {
            return &raw[i * count..(i + 1) * count];
        }
        let (feature, pixel) = (i / self.plane, i % self.plane);
        let own = &mut gathered[..count];
        for (p, value) in own.iter_mut().enumerate() {
            *value = raw[(feature * count + p) * self.plane + pixel];
        }
        own
    }
}
