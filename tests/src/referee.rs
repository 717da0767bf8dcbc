//! The referee: a plain-loop interpreter of a [`Net`] or a flow in f64, with no fusion, no layout
//! and no kernel, only the definition of each layer.

mod element;
mod flow;

use crate::compare::Trace;
use crate::scalar::{activation, logistic};
use crate::tensors::Tensors;
use galgen_core::spec::{CausalMask, Degrees, Layer, Net, Padding, Shape, TraceNoise};

/// A set of tensors and the meaning of every layer.
pub struct Referee {
    tensors: Tensors,
    noise: TraceNoise,
}

/// A value on its way through a net: features first, `pixels` (height, width) for a map.
#[derive(Clone)]
struct Item {
    data: Vec<f64>,
    features: usize,
    pixels: Option<(usize, usize)>,
}

impl Item {
    fn new(shape: Shape, data: Vec<f64>) -> Self {
        let (features, pixels) = match shape {
            Shape::Vector(n) => (n, None),
            Shape::Map {
                channels,
                height,
                width,
            } => (channels, Some((height, width))),
        };
        let item = Item {
            data,
            features,
            pixels,
        };
        assert_eq!(
            item.data.len(),
            features * item.plane(),
            "elements of {shape:?}"
        );
        item
    }

    /// Elements per feature.
    fn plane(&self) -> usize {
        self.pixels.map_or(1, |(h, w)| h * w)
    }

    fn with(&self, features: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), features * self.plane());
        Item {
            data,
            features,
            pixels: self.pixels,
        }
    }

    /// Element of a map, 0 outside its border.
    fn pixel(&self, channel: usize, y: isize, x: isize) -> f64 {
        let (h, w) = self.pixels.expect("a map");
        if y < 0 || x < 0 || y >= h as isize || x >= w as isize {
            return 0.0;
        }
        self.data[(channel * h + y as usize) * w + x as usize]
    }
}

impl Referee {
    /// A referee that takes weights from `tensors`.
    pub fn new(tensors: Tensors) -> Self {
        Referee {
            tensors,
            noise: TraceNoise::default(),
        }
    }

    /// The same, whose estimated traces have the signs of `noise`.
    pub fn with_noise(self, noise: TraceNoise) -> Self {
        Referee { noise, ..self }
    }

    /// The output of `net` whose tensors stand under `prefix`. Panics if the spec, the tensors and
    /// the lengths of `input` and `context` do not fit each other.
    pub fn run(&self, net: &Net, prefix: &str, input: &[f64], context: &[f64]) -> Vec<f64> {
        self.net(net, prefix, input, context, &mut Trace::new())
    }

    /// The value after every layer by its path (without `prefix`), nested layers before the layer
    /// that holds them.
    pub fn trace(&self, net: &Net, prefix: &str, input: &[f64], context: &[f64]) -> Trace {
        let mut trace = Trace::new();
        self.net(net, prefix, input, context, &mut trace);
        trace
    }

    fn net(
        &self,
        net: &Net,
        prefix: &str,
        input: &[f64],
        context: &[f64],
        t: &mut Trace,
    ) -> Vec<f64> {
        assert_eq!(context.len(), net.context, "length of the context");
        let item = Item::new(net.input, input.to_vec());
        self.sequence(&net.layers, prefix, "", item, context, t)
            .data
    }

    fn sequence(
        &self,
        layers: &[Layer],
        prefix: &str,
        stem: &str,
        mut item: Item,
        context: &[f64],
        trace: &mut Trace,
    ) -> Item {
        for (i, layer) in layers.iter().enumerate() {
            let path = format!("{stem}{i}");
            item = self.layer(layer, prefix, &path, item, context, trace);
            trace.push((path, item.data.clone()));
        }
        item
    }

    fn layer(
        &self,
        layer: &Layer,
        prefix: &str,
        path: &str,
        item: Item,
        context: &[f64],
        trace: &mut Trace,
    ) -> Item {
        let tensor = |name: &str| self.tensor(&format!("{prefix}.{path}.{name}"));
        let mut branches = |branches: &[Vec<Layer>]| -> Vec<Item> {
            let mut outputs = Vec::new();
            for (i, branch) in branches.iter().enumerate() {
                let stem = format!("{path}.{i}.");
                outputs.push(self.sequence(branch, prefix, &stem, item.clone(), context, trace));
            }
            outputs
        };
        match layer {
            Layer::Linear { outputs, degrees } => linear(
                &item,
                *outputs,
                degrees.as_ref(),
                tensor("weight"),
                tensor("bias"),
            ),
            Layer::Conv2d {
                outputs,
                kernel,
                stride,
                padding,
                mask,
            } => {
                let geometry = Geometry {
                    kernel: *kernel,
                    stride: *stride,
                    padding,
                    mask: *mask,
                };
                geometry.convolve(&item, *outputs, tensor("weight"), tensor("bias"))
            }
            Layer::ConvTranspose2d {
                outputs,
                kernel,
                stride,
                padding,
            } => {
                let geometry = Geometry {
                    kernel: *kernel,
                    stride: *stride,
                    padding,
                    mask: None,
                };
                geometry.scatter(&item, *outputs, tensor("weight"), tensor("bias"))
            }
            Layer::DepthwiseConv2d {
                kernel,
                stride,
                padding,
            } => {
                let geometry = Geometry {
                    kernel: *kernel,
                    stride: *stride,
                    padding,
                    mask: None,
                };
                let (n, taps) = (item.plane(), kernel[0] * kernel[1]);
                let mut whole: Option<Item> = None;
                for c in 0..item.features {
                    let one = item.with(1, item.data[c * n..(c + 1) * n].to_vec());
                    let weight = &tensor("weight")[c * taps..(c + 1) * taps];
                    let map = geometry.convolve(&one, 1, weight, &tensor("bias")[c..=c]);
                    match &mut whole {
                        None => whole = Some(map),
                        Some(whole) => {
                            whole.data.extend(map.data);
                            whole.features += 1;
                        }
                    }
                }
                whole.expect("a channel")
            }
            Layer::UpsampleNearest { factor } => upsample(&item, *factor),
            Layer::Activation(act) => item.with(
                item.features,
                item.data.iter().map(|&v| activation(*act, v)).collect(),
            ),
            Layer::Scale(factor) => {
                let factor = f64::from(*factor);
                item.with(
                    item.features,
                    item.data.iter().map(|v| v * factor).collect(),
                )
            }
            Layer::GroupNorm { groups, epsilon } => {
                let epsilon = f64::from(*epsilon);
                group_norm(&item, *groups, epsilon, tensor("weight"), tensor("bias"))
            }
            Layer::LayerNorm { epsilon } => {
                let (n, count) = (item.plane(), item.features as f64);
                let (weight, bias) = (tensor("weight"), tensor("bias"));
                let mut data = item.data.clone();
                for pixel in 0..n {
                    let values = || item.data[pixel..].iter().step_by(n);
                    let mean = values().sum::<f64>() / count;
                    let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                    let deviation = (variance + f64::from(*epsilon)).sqrt();
                    for (c, v) in values().enumerate() {
                        data[c * n + pixel] = (v - mean) / deviation * weight[c] + bias[c];
                    }
                }
                item.with(item.features, data)
            }
            Layer::Gate => {
                let (a, b) = item.data.split_at(item.data.len() / 2);
                let gated = a.iter().zip(b).map(|(a, b)| a * logistic(*b)).collect();
                item.with(item.features / 2, gated)
            }
            Layer::Reshape(shape) => Item::new(*shape, item.data),
            Layer::AppendContext => {
                let mut data = item.data.clone();
                for &value in context {
                    data.extend(std::iter::repeat_n(value, item.plane()));
                }
                item.with(item.features + context.len(), data)
            }
            Layer::ConcatElu => {
                let positive = item.data.iter().copied();
                let both = positive.clone().chain(positive.map(|v| -v));
                let elu = both.map(|v| if v > 0.0 { v } else { v.exp_m1() }).collect();
                item.with(2 * item.features, elu)
            }
            Layer::BipolarElu => {
                let elu = |v: f64| if v > 0.0 { v } else { v.exp_m1() };
                let n = item.plane();
                let bipolar = item.data.iter().enumerate().map(|(at, &v)| {
                    if (at / n).is_multiple_of(2) {
                        elu(v)
                    } else {
                        -elu(-v)
                    }
                });
                item.with(item.features, bipolar.collect())
            }
            Layer::AppendOnes => {
                let mut data = item.data.clone();
                data.resize(data.len() + item.plane(), 1.0);
                item.with(item.features + 1, data)
            }
            Layer::Shift { down, right } => {
                let (h, w) = item.pixels.expect("a map");
                let mut data = Vec::new();
                for c in 0..item.features {
                    for y in 0..h as isize {
                        for x in 0..w as isize {
                            let (y, x) = (y - *down as isize, x - *right as isize);
                            data.push(item.pixel(c, y, x));
                        }
                    }
                }
                item.with(item.features, data)
            }
            Layer::Slice { start, len } => {
                let n = item.plane();
                item.with(*len, item.data[start * n..(start + len) * n].to_vec())
            }
            Layer::Sum(b) => {
                let outputs = branches(b);
                let mut sum = vec![0.0; outputs[0].data.len()];
                for output in &outputs {
                    assert_eq!(
                        output.data.len(),
                        sum.len(),
                        "layer {path}: branches of a sum"
                    );
                    for (s, v) in sum.iter_mut().zip(&output.data) {
                        *s += v;
                    }
                }
                outputs[0].with(outputs[0].features, sum)
            }
            Layer::Concat(b) => {
                let outputs = branches(b);
                let features = outputs.iter().map(|o| o.features).sum();
                let data = outputs
                    .iter()
                    .flat_map(|o| o.data.iter().copied())
                    .collect();
                outputs[0].with(features, data)
            }
        }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        match self.tensors.get(name) {
            Some((_, values)) => values,
            None => panic!("no tensor {name}"),
        }
    }
}

fn linear(item: &Item, outputs: usize, degrees: Option<&Degrees>, w: &[f64], b: &[f64]) -> Item {
    assert!(item.pixels.is_none(), "a linear layer on a map");
    let n = item.features;
    assert_eq!((w.len(), b.len()), (outputs * n, outputs));
    let mut data = b.to_vec();
    for o in 0..outputs {
        for i in 0..n {
            if degrees.is_none_or(|d| d.input[i] <= d.output[o]) {
                data[o] += w[o * n + i] * item.data[i];
            }
        }
    }
    Item::new(Shape::Vector(outputs), data)
}

struct Geometry<'a> {
    kernel: [usize; 2],
    stride: usize,
    padding: &'a Padding,
    mask: Option<CausalMask>,
}

impl Geometry<'_> {
    fn convolve(&self, item: &Item, outputs: usize, w: &[f64], b: &[f64]) -> Item {
        let (h, width) = item.pixels.expect("a convolution on a vector");
        let [kh, kw] = self.kernel;
        let p = self.padding;
        let rows = (h + p.top + p.bottom - kh) / self.stride + 1;
        let columns = (width + p.left + p.right - kw) / self.stride + 1;
        assert_eq!(
            (w.len(), b.len()),
            (outputs * item.features * kh * kw, outputs)
        );
        let mut data = Vec::new();
        for o in 0..outputs {
            for y in 0..rows {
                for x in 0..columns {
                    let mut sum = b[o];
                    for c in 0..item.features {
                        for ky in 0..kh {
                            for kx in 0..kw {
                                if !self.sees(ky, kx) {
                                    continue;
                                }
                                let row = (y * self.stride + ky) as isize - p.top as isize;
                                let column = (x * self.stride + kx) as isize - p.left as isize;
                                let weight = w[((o * item.features + c) * kh + ky) * kw + kx];
                                sum += weight * item.pixel(c, row, column);
                            }
                        }
                    }
                    data.push(sum);
                }
            }
        }
        Item {
            data,
            features: outputs,
            pixels: Some((rows, columns)),
        }
    }

    /// Transposed: every input pixel adds to the outputs under the kernel laid on it.
    fn scatter(&self, item: &Item, outputs: usize, w: &[f64], b: &[f64]) -> Item {
        let (h, width) = item.pixels.expect("a transposed convolution on a vector");
        let ([kh, kw], p) = (self.kernel, self.padding);
        let rows = (h - 1) * self.stride + kh - p.top - p.bottom;
        let columns = (width - 1) * self.stride + kw - p.left - p.right;
        let mut data: Vec<f64> = (0..outputs * rows * columns)
            .map(|at| b[at / (rows * columns)])
            .collect();
        for c in 0..item.features {
            for (at, value) in item.data[c * h * width..(c + 1) * h * width]
                .iter()
                .enumerate()
            {
                for o in 0..outputs {
                    for tap in 0..kh * kw {
                        let y = (at / width * self.stride + tap / kw).checked_sub(p.top);
                        let x = (at % width * self.stride + tap % kw).checked_sub(p.left);
                        if let (Some(y), Some(x)) = (y, x)
                            && y < rows
                            && x < columns
                        {
                            let weight = w[(c * outputs + o) * kh * kw + tap];
                            data[(o * rows + y) * columns + x] += weight * value;
                        }
                    }
                }
            }
        }
        Item {
            data,
            features: outputs,
            pixels: Some((rows, columns)),
        }
    }

    /// PixelCNN masks in raster order: before the centre, and for type B the centre itself.
    fn sees(&self, ky: usize, kx: usize) -> bool {
        let [kh, kw] = self.kernel;
        let (raster, centre) = (ky * kw + kx, (kh / 2) * kw + kw / 2);
        match self.mask {
            None => true,
            Some(CausalMask::A) => raster < centre,
            Some(CausalMask::B) => raster <= centre,
        }
    }
}

fn upsample(item: &Item, factor: usize) -> Item {
    let (h, w) = item.pixels.expect("upsampling a vector");
    let mut data = Vec::new();
    for c in 0..item.features {
        for y in 0..h * factor {
            for x in 0..w * factor {
                data.push(item.pixel(c, (y / factor) as isize, (x / factor) as isize));
            }
        }
    }
    Item {
        data,
        features: item.features,
        pixels: Some((h * factor, w * factor)),
    }
}

fn group_norm(item: &Item, groups: usize, epsilon: f64, w: &[f64], b: &[f64]) -> Item {
    let plane = item.plane();
    let members = item.features / groups * plane;
    let mut data = item.data.clone();
    for group in data.chunks_mut(members) {
        let mean = group.iter().sum::<f64>() / members as f64;
        let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / members as f64;
        for v in group.iter_mut() {
            *v = (*v - mean) / (variance + epsilon).sqrt();
        }
    }
    for (i, v) in data.iter_mut().enumerate() {
        *v = *v * w[i / plane] + b[i / plane];
    }
    item.with(item.features, data)
}
