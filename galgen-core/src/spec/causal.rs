//! Which pixels of its input a net looks at, from the spec alone: autoregressive models are refused
//! here if they look ahead.

use super::{Layer, Net, Shape, SpecError};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// The place of a pixel relative to another, ordered as images are read: row by row from the top, each from
/// the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset {
    /// Rows below; negative: above.
    pub rows: isize,
    /// Columns to the right; negative: to the left.
    pub columns: isize,
}

impl Offset {
    /// The pixel itself.
    pub const HERE: Offset = Offset {
        rows: 0,
        columns: 0,
    };

    /// One after the other. The order of offsets is not changed by adding the same one to both, so the
    /// last pixel seen through two layers is the sum of the last ones seen by each.
    pub fn then(self, next: Offset) -> Offset {
        Offset {
            rows: self.rows + next.rows,
            columns: self.columns + next.columns,
        }
    }
}

/// Of a convolution's taps the last in the order of [`Offset`] that its mask keeps; `None` if it keeps none.
fn last_tap(layer: &Layer) -> Option<Offset> {
    let Layer::Conv2d {
        kernel,
        padding,
        mask,
        ..
    } = layer
    else {
        return None;
    };
    let taps = (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x)));
    let mut kept = taps.filter(|&(y, x)| mask.is_none_or(|m| m.keeps(*kernel, y, x)));
    let (y, x) = kept.next_back()?;
    Some(Offset {
        rows: y as isize - padding.top as isize,
        columns: x as isize - padding.left as isize,
    })
}

impl Net {
    /// For every feature of the output the last pixel, in the order of [`Offset`], of the input map that it
    /// depends on; `None` if it depends on no pixel. Exact but for borders and weights that are 0.
    ///
    /// # Errors
    /// If a layer mixes all pixels, or does not keep the rows and columns of the map.
    pub fn last_pixels(&self) -> Result<Vec<Option<Offset>>, SpecError> {
        let Shape::Map { channels, .. } = self.input else {
            let problem = format!("{:?}, expected a map of pixels", self.input);
            return Err(SpecError::new("input", problem));
        };
        self.output()?;
        let input = Value {
            last: vec![Some(Offset::HERE); channels],
            shape: self.input,
        };
        Ok(sequence(&self.layers, input, self.context, "")?.last)
    }
}

/// The last pixels of every feature, and the shape.
#[derive(Clone)]
struct Value {
    last: Vec<Option<Offset>>,
    shape: Shape,
}

fn sequence(
    layers: &[Layer],
    mut value: Value,
    context: usize,
    prefix: &str,
) -> Result<Value, SpecError> {
    for (i, layer) in layers.iter().enumerate() {
        value = step(layer, value, context, &format!("{prefix}{i}"))?;
    }
    Ok(value)
}

fn step(layer: &Layer, value: Value, context: usize, path: &str) -> Result<Value, SpecError> {
    let shape = layer.output(value.shape, context, path)?;
    let Value {
        mut last,
        shape: from,
    } = value;
    let branch = |b: usize, layers: &[Layer], last: &[Option<Offset>]| {
        let input = Value {
            last: last.to_vec(),
            shape: from,
        };
        sequence(layers, input, context, &format!("{path}.{b}."))
    };
    let refuse = |what: &str| {
        Err(SpecError::new(
            path,
            format!(
                "{what}, expected layers that keep the grid of pixels and look only at those before it"
            ),
        ))
    };
    match layer {
        Layer::Conv2d { outputs, .. } => {
            if shape.with_features(1) != from.with_features(1) {
                return refuse("a convolution that changes the size of the map");
            }
            let seen = last.iter().flatten().max().copied();
            let seen = seen
                .zip(last_tap(layer))
                .map(|(pixel, tap)| pixel.then(tap));
            last = vec![seen; *outputs];
        }
        Layer::Activation(_) | Layer::Scale(_) => {}
        Layer::BipolarElu => return refuse("BipolarElu"),
        Layer::ConvTranspose2d { .. } => return refuse("ConvTranspose2d"),
        Layer::DepthwiseConv2d { .. } => return refuse("DepthwiseConv2d"),
        Layer::LayerNorm { .. } => return refuse("LayerNorm"),
        Layer::Gate => {
            let half = last.len() / 2;
            last = (0..half).map(|i| last[i].max(last[i + half])).collect();
        }
        Layer::ConcatElu => last.extend_from_within(..),
        Layer::AppendContext => last.resize(last.len() + context, None),
        Layer::AppendOnes => last.push(None),
        Layer::Shift { down, right } => {
            let by = Offset {
                rows: -(*down as isize),
                columns: -(*right as isize),
            };
            for pixel in last.iter_mut().flatten() {
                *pixel = pixel.then(by);
            }
        }
        Layer::Slice { start, len } => last = last[*start..start + len].to_vec(),
        Layer::Sum(branches) => {
            // One term at a time: a file may have thousands.
            let mut total = branch(0, &branches[0], &last)?.last;
            for (b, layers) in branches.iter().enumerate().skip(1) {
                let term = branch(b, layers, &last)?.last;
                for (total, pixel) in total.iter_mut().zip(term) {
                    *total = (*total).max(pixel);
                }
            }
            last = total;
        }
        Layer::Concat(branches) => {
            let mut parts = Vec::new();
            for (b, layers) in branches.iter().enumerate() {
                parts.extend(branch(b, layers, &last)?.last);
            }
            last = parts;
        }
        Layer::Linear { .. } => return refuse("Linear"),
        Layer::UpsampleNearest { .. } => return refuse("UpsampleNearest"),
        Layer::GroupNorm { .. } => return refuse("GroupNorm, which looks at all pixels"),
        Layer::Reshape(to) => {
            if *to != from {
                return refuse("Reshape");
            }
        }
    }
    Ok(Value { last, shape })
}

#[cfg(test)]
mod tests {
    use super::super::{CausalMask, Padding};
    use super::*;

    fn at(rows: isize, columns: isize) -> Option<Offset> {
        Some(Offset { rows, columns })
    }

    fn conv(kernel: [usize; 2], padding: [usize; 4], mask: Option<CausalMask>) -> Layer {
        let [top, bottom, left, right] = padding;
        Layer::Conv2d {
            outputs: 2,
            kernel,
            stride: 1,
            padding: Padding {
                top,
                bottom,
                left,
                right,
            },
            mask,
        }
    }

    fn last(layers: Vec<Layer>) -> Result<Vec<Option<Offset>>, SpecError> {
        let net = Net {
            input: Shape::square(1, 8),
            context: 2,
            layers,
        };
        net.last_pixels()
    }

    #[test]
    fn last_pixels_of_small_nets() {
        let a = conv([3, 3], [1; 4], Some(CausalMask::A));
        let b = conv([3, 3], [1; 4], Some(CausalMask::B));
        assert_eq!(last(vec![a.clone(), b.clone()]).unwrap(), [at(0, -1); 2]);
        assert_eq!(last(vec![b.clone(), b]).unwrap(), [at(0, 0); 2]);
        assert_eq!(
            last(vec![conv([3, 3], [1; 4], None)]).unwrap(),
            [at(1, 1); 2]
        );
        let shift = Layer::Shift { down: 1, right: 0 };
        let down = vec![conv([2, 3], [1, 0, 1, 1], None), shift];
        assert_eq!(last(down.clone()).unwrap(), [at(-1, 1); 2]);
        // Features keep their own dependence.
        let streams = vec![
            Layer::Concat(vec![down, vec![a]]),
            Layer::AppendContext,
            Layer::ConcatElu,
        ];
        let half = [at(-1, 1), at(-1, 1), at(0, -1), at(0, -1), None, None];
        assert_eq!(last(streams).unwrap(), [half, half].concat());
    }

    #[test]
    fn layers_that_mix_pixels_are_refused() {
        let norm = Layer::GroupNorm {
            groups: 1,
            epsilon: 1e-5,
        };
        for layer in [
            norm,
            Layer::Reshape(Shape::Vector(64)),
            conv([3, 3], [0; 4], None),
        ] {
            assert_eq!(last(vec![layer]).unwrap_err().layer, "0");
        }
    }
}
