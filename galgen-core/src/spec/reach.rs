//! Which inputs the outputs of a net can depend on: what makes a net autoregressive, whatever its weights.

use super::{Degrees, Layer, Net, Shape};
use alloc::vec::Vec;

/// The last input, in a given order, that a value depends on; `None` depends on the context at most.
pub type Reach = Option<u32>;

/// For each output of `net` the largest rank of an input that it can depend on, where input i has rank `ranks[i]`;
/// `None` if the net has layers of maps. The net is a checked one on a vector.
pub fn reach(net: &Net, ranks: &[u32]) -> Option<Vec<Reach>> {
    let start: Vec<Reach> = ranks.iter().map(|&r| Some(r)).collect();
    sequence(&net.layers, start, net.context)
}

fn sequence(layers: &[Layer], start: Vec<Reach>, context: usize) -> Option<Vec<Reach>> {
    let step = |values: Vec<Reach>, l: &Layer| layer(l, values, context);
    layers.iter().try_fold(start, step)
}

fn layer(layer: &Layer, values: Vec<Reach>, context: usize) -> Option<Vec<Reach>> {
    let widest = |values: &[Reach]| values.iter().copied().max().unwrap_or(None);
    Some(match layer {
        Layer::Linear { outputs, degrees } => match degrees {
            Some(degrees) => masked(&values, degrees),
            None => alloc::vec![widest(&values); *outputs],
        },
        Layer::Activation(_)
        | Layer::Scale(_)
        | Layer::BipolarElu
        | Layer::Reshape(Shape::Vector(_)) => values,
        Layer::LayerNorm { .. } => alloc::vec![widest(&values); values.len()],
        Layer::GroupNorm { groups, .. } => {
            let size = values.len() / groups;
            let group = |g: &[Reach]| core::iter::repeat_n(widest(g), size);
            values.chunks(size).flat_map(group).collect()
        }
        Layer::Gate => {
            let (a, b) = values.split_at(values.len() / 2);
            a.iter().zip(b).map(|(a, b)| *a.max(b)).collect()
        }
        Layer::ConcatElu => [values.clone(), values].concat(),
        Layer::AppendOnes => {
            let mut values = values;
            values.push(None);
            values
        }
        Layer::AppendContext => {
            let mut values = values;
            values.extend(core::iter::repeat_n(None, context));
            values
        }
        Layer::Slice { start, len } => values[*start..start + len].to_vec(),
        Layer::Sum(branches) => {
            let mut total = Vec::new();
            for branch in branches {
                let term = sequence(branch, values.clone(), context)?;
                total.resize(term.len(), None);
                for (total, term) in total.iter_mut().zip(term) {
                    *total = term.max(*total);
                }
            }
            total
        }
        Layer::Concat(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(sequence(branch, values.clone(), context)?);
            }
            all
        }
        Layer::Conv2d { .. }
        | Layer::ConvTranspose2d { .. }
        | Layer::DepthwiseConv2d { .. }
        | Layer::Shift { .. }
        | Layer::UpsampleNearest { .. }
        | Layer::Reshape(Shape::Map { .. }) => {
            return None;
        }
    })
}

/// Output o sees the inputs of degree at most its own.
fn masked(values: &[Reach], degrees: &Degrees) -> Vec<Reach> {
    let mut inputs: Vec<(u32, Reach)> = degrees
        .input
        .iter()
        .copied()
        .zip(values.iter().copied())
        .collect();
    inputs.sort_unstable();
    let mut widest = None;
    for (_, reach) in &mut inputs {
        widest = widest.max(*reach);
        *reach = widest;
    }
    let seen = |&degree: &u32| {
        let count = inputs.partition_point(|(d, _)| *d <= degree);
        count.checked_sub(1).and_then(|last| inputs[last].1)
    };
    degrees.output.iter().map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_made_sees_the_past_only_and_a_dense_layer_everything() {
        let degrees = |input: &[u32], output: &[u32]| Degrees {
            input: input.to_vec(),
            output: output.to_vec(),
        };
        let masked = |d: Degrees| Layer::Linear {
            outputs: d.output.len(),
            degrees: Some(d),
        };
        let mut net = Net {
            input: Shape::Vector(3),
            context: 1,
            layers: vec![
                Layer::AppendContext,
                masked(degrees(&[1, 2, 3, 0], &[1, 2, 1, 2])),
                masked(degrees(&[1, 2, 1, 2], &[0, 1, 2])),
            ],
        };
        assert_eq!(reach(&net, &[0, 1, 2]), Some(vec![None, Some(0), Some(1)]));
        assert_eq!(reach(&net, &[2, 1, 0]), Some(vec![None, Some(2), Some(2)]));
        net.layers[2] = Layer::linear(3);
        assert_eq!(reach(&net, &[0, 1, 2]), Some(vec![Some(1); 3]));
        net.layers[2] = Layer::Reshape(Shape::square(1, 2));
        assert_eq!(reach(&net, &[0, 1, 2]), None);
    }
}
