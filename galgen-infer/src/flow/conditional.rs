//! Couplings: some elements stay, and give the parameters of the others' maps.

use super::States;
use super::element::{SIDE, all_elements, elements};
use super::layers::Layers;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::{Cost, Plan};
use crate::weights::Weights;
use alloc::boxed::Box;
use alloc::format;
use galgen_core::spec::{Direction, ElementMap, Net};

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
    simd: Simd,
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
        let layers = match plane {
            1 => Layers::new(net, &prefix, weights, simd)?,
            _ => None,
        };
        let net = match layers {
            Some(layers) => Conditioner::Layers(layers),
            None => Conditioner::Plan(Box::new(Plan::new(net, &prefix, weights, simd)?)),
        };
        Ok(Coupling {
            net,
            kept,
            map: *map,
            plane,
            simd,
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
                    let raw = net.output(scratch, items, item..item + 1);
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

    /// Maps the elements that do not stay; returns ln |det|. Parameters of an element are neighbours of a vector, in
    /// planes of their own of a map.
    fn map_elements(&self, direction: Direction, x: &mut [f64], raw: &[f32]) -> f64 {
        let (simd, map) = (self.simd, &self.map);
        let (plane, count) = (self.plane, map.parameters());
        match self.kept {
            Kept::Features(keep) if plane == 1 => {
                let parameters = (raw, |i| i * count, 1);
                all_elements(simd, direction, map, &mut x[keep..], parameters)
            }
            Kept::Features(keep) => {
                let features = x[keep * plane..].chunks_exact_mut(plane);
                let one = |(x, raw): (&mut [f64], &[f32])| {
                    all_elements(simd, direction, map, x, (raw, |pixel| pixel, plane))
                };
                features.zip(raw.chunks_exact(count * plane)).map(one).sum()
            }
            Kept::Pixels { .. } => {
                let mut log_det = 0.0;
                let mut moving = (0..x.len()).filter(|&i| !self.stays(i));
                loop {
                    let (mut places, mut values, mut n) = ([0; SIDE], [0.0; SIDE], 0);
                    for i in moving.by_ref().take(SIDE) {
                        (places[n], values[n]) = (i, x[i]);
                        n += 1;
                    }
                    if n == 0 {
                        return log_det;
                    }
                    let at = |k: usize| places[k] / plane * count * plane + places[k] % plane;
                    let parameters = (raw, at, plane);
                    let own = elements(simd, direction, map, &mut values[..n], parameters);
                    for (k, &i) in places[..n].iter().enumerate() {
                        x[i] = values[k];
                        log_det += own[k];
                    }
                }
            }
        }
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
}
