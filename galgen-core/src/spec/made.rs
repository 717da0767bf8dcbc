//! Masked networks for autoregressive densities (Germain et al. 2015, "MADE").

use super::{Degrees, Layer, Net, Shape, ranks};
use crate::math::act::Act;
use alloc::vec::Vec;

/// Sizes of a masked network.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Number of elements n.
    pub elements: usize,
    /// Length of the context, which every unit may see.
    pub context: usize,
    /// Widths of the hidden layers.
    pub hidden: &'a [usize],
    /// After each hidden layer.
    pub activation: Act,
    /// Outputs for each element.
    pub parameters: usize,
    /// The element that comes first, second, ...; empty: as they stand.
    pub order: &'a [u32],
}

impl Made<'_> {
    /// A network from \[n\] and the context to \[n * parameters\], whose outputs for an element see the elements before
    /// it. The degrees of hidden units are spread evenly, and the context is appended to the inputs.
    pub fn net(&self) -> Net {
        let n = self.elements;
        let ranks = ranks(self.order, n);
        // Degree d sees the first d elements, and all see the context.
        let mut known: Vec<u32> = ranks.iter().map(|r| r + 1).collect();
        known.extend(core::iter::repeat_n(0, self.context));
        let mut layers = Vec::new();
        if self.context > 0 {
            layers.push(Layer::AppendContext);
        }
        // Without a context a unit of degree 0 is a constant.
        let lowest = usize::from(self.context == 0 && n > 1);
        for &width in self.hidden {
            let degree = |k: usize| (lowest + k * (n - lowest) / width.max(1)) as u32;
            let own: Vec<u32> = (0..width).map(degree).collect();
            layers.push(masked(&known, own.clone()));
            layers.push(Layer::Activation(self.activation));
            known = own;
        }
        let outputs = ranks
            .iter()
            .flat_map(|&r| core::iter::repeat_n(r, self.parameters));
        layers.push(masked(&known, outputs.collect()));
        Net {
            input: Shape::Vector(n),
            context: self.context,
            layers,
        }
    }
}

fn masked(input: &[u32], output: Vec<u32>) -> Layer {
    Layer::Linear {
        outputs: output.len(),
        degrees: Some(Degrees {
            input: input.to_vec(),
            output,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::reach;
    use alloc::vec;

    /// Every element sees all elements before it, and no other.
    #[test]
    fn an_output_sees_the_whole_past() {
        for context in [0, 2] {
            for (hidden, order) in [(vec![12, 12], vec![]), (vec![9], vec![2, 0, 3, 1])] {
                let made = Made {
                    elements: 4,
                    context,
                    hidden: &hidden,
                    activation: Act::Tanh,
                    parameters: 3,
                    order: &order,
                };
                let net = made.net();
                assert_eq!(net.output(), Ok(Shape::Vector(12)));
                let ranks = ranks(&order, 4);
                let reached = reach(&net, &ranks).unwrap();
                for (own, rank) in reached.chunks(3).zip(ranks) {
                    assert_eq!(own, [rank.checked_sub(1); 3]);
                }
            }
        }
    }
}
