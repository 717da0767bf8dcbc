//! Couplings: some elements stay, and give the parameters of the others' maps.

use super::element::element;
use crate::error::LoadError;
use crate::kernels::Simd;
use crate::lower::Plan;
use crate::weights::Weights;
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
    plan: Plan,
    kept: Kept,
    map: ElementMap,
    /// Pixels of a feature.
    plane: usize,
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
        let plan = Plan::new(net, &format!("{path}.net"), weights, simd)?;
        Ok(Coupling {
            plan,
            kept,
            map: *map,
            plane,
        })
    }

    /// Its net.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// f32 numbers of scratch.
    pub fn scratch_len(&self) -> usize {
        self.plan.input_len() + self.plan.output().len() + self.plan.scratch_len()
    }

    /// Applies the transform; returns ln |det| of the direction taken.
    pub fn apply(
        &self,
        direction: Direction,
        x: &mut [f64],
        context: &[f32],
        scratch: &mut [f32],
    ) -> f64 {
        let (input, rest) = scratch.split_at_mut(self.plan.input_len());
        let (raw, rest) = rest.split_at_mut(self.plan.output().len());
        for (i, (input, &x)) in input.iter_mut().zip(&*x).enumerate() {
            *input = if self.stays(i) { x as f32 } else { 0.0 };
        }
        self.plan.run(input, context, raw, rest);
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
