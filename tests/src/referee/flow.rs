//! The referee of flows: the definition of every transform, with inverses by other means than the engine's
//! (bisection, elimination, one pass for every element, many equal steps).

use super::Referee;
use super::element::{affine, bisect, element, solve};
use crate::compare::Trace;
use crate::scalar;
use galgen_core::rng::{Philox, Stream};
use galgen_core::spec::{
    self, Continuous, Direction, ElementMap, Factors, Flow, Net, Shape, TraceNoise, Transform,
    Velocity,
};

/// Equal steps of the classical Runge-Kutta rule.
const TIME_STEPS: usize = 128;
/// Step of the differences that give a trace.
const STEP: f64 = 1e-5;

/// Channels, height and width; a vector is one pixel.
type Extents = [usize; 3];

fn extents(shape: Shape) -> Extents {
    match shape {
        Shape::Vector(n) => [n, 1, 1],
        Shape::Map {
            channels,
            height,
            width,
        } => [channels, height, width],
    }
}

/// What is active after a transform.
fn after(transform: &Transform, [c, h, w]: Extents) -> Extents {
    match transform {
        Transform::Squeeze => [4 * c, h / 2, w / 2],
        Transform::Split { keep } => [*keep, h, w],
        _ => [c, h, w],
    }
}

impl Referee {
    /// `flow` in either direction: (values, ln |det| of the map that was applied).
    pub fn flow(
        &self,
        flow: &Flow,
        prefix: &str,
        direction: Direction,
        values: &[f64],
        context: &[f64],
    ) -> (Vec<f64>, f64) {
        let trace = self.flow_trace(flow, prefix, direction, values, context);
        let log_det = trace.iter().map(|(_, v)| v[flow.dim()]).sum();
        match trace.last() {
            Some((_, v)) => (v[..flow.dim()].to_vec(), log_det),
            None => (values.to_vec(), 0.0),
        }
    }

    /// Of a vector's way from data to noise through continuous transforms alone: the integrals over the time of the
    /// squared velocity and of the squares of its Jacobian's elements, or of the Jacobian times the signs.
    pub fn regularisers(&self, flow: &Flow, prefix: &str, x: &[f64], context: &[f64]) -> [f64; 2] {
        let (mut x, mut sums) = (x.to_vec(), [0.0; 2]);
        for (i, transform) in flow.transforms.iter().enumerate() {
            let Transform::Continuous(continuous) = transform else {
                panic!("{transform:?}, expected a continuous transform");
            };
            let one = One {
                referee: self,
                index: i,
                path: format!("{prefix}.{i}"),
                direction: Direction::Normalise,
                extents: extents(flow.shape),
                context,
            };
            let [_, energy, squares] = one.continuous(continuous, &mut x);
            sums[0] += energy;
            sums[1] += squares;
        }
        sums
    }

    /// After every transform, in the order of application, by its index: the `dim` values, then
    /// ln |det| of that transform.
    pub fn flow_trace(
        &self,
        flow: &Flow,
        prefix: &str,
        direction: Direction,
        values: &[f64],
        context: &[f64],
    ) -> Trace {
        assert_eq!((values.len(), context.len()), (flow.dim(), flow.context));
        let mut active = vec![extents(flow.shape)];
        for transform in &flow.transforms {
            active.push(after(transform, active[active.len() - 1]));
        }
        let mut order: Vec<usize> = (0..flow.transforms.len()).collect();
        if direction == Direction::Generate {
            order.reverse();
        }
        let mut values = values.to_vec();
        let mut trace = Trace::new();
        for i in order {
            let len = active[i].iter().product::<usize>();
            let one = One {
                referee: self,
                index: i,
                path: format!("{prefix}.{i}"),
                direction,
                extents: active[i],
                context,
            };
            let log_det = one.apply(&flow.transforms[i], &mut values[..len]);
            trace.push((i.to_string(), [&values[..], &[log_det]].concat()));
        }
        trace
    }
}

/// The i-th unit vector of n.
fn unit(i: usize, n: usize) -> Vec<f64> {
    (0..n).map(|j| f64::from(u8::from(i == j))).collect()
}

/// The signs of a transform, bit by bit.
fn signs(noise: TraceNoise, transform: usize, n: usize) -> Vec<f64> {
    let mut rng = Philox::new(noise.seed, noise.id, Stream::Trace);
    rng.skip_to(65_536 * transform as u32);
    let words: Vec<u32> = (0..n.div_ceil(32)).map(|_| rng.next_u32()).collect();
    (0..n)
        .map(|i| match words[i / 32] & (1 << (i % 32)) {
            0 => -1.0,
            _ => 1.0,
        })
        .collect()
}

/// One transform on its active part.
struct One<'a> {
    referee: &'a Referee,
    index: usize,
    path: String,
    direction: Direction,
    extents: Extents,
    context: &'a [f64],
}

impl One<'_> {
    fn tensor(&self, name: &str) -> &[f64] {
        self.referee.tensor(&format!("{}.{name}", self.path))
    }

    fn net(&self, net: &Net, input: &[f64], context: &[f64]) -> Vec<f64> {
        self.referee
            .run(net, &format!("{}.net", self.path), input, context)
    }

    fn apply(&self, transform: &Transform, v: &mut [f64]) -> f64 {
        let [features, height, width] = self.extents;
        let plane = height * width;
        match transform {
            Transform::Diagonal => {
                let (shift, log_scale) = (self.tensor("shift"), self.tensor("log_scale"));
                let one = |i: usize, v: &mut f64| {
                    affine(v, shift[i / plane], log_scale[i / plane], self.direction)
                };
                v.iter_mut().enumerate().map(|(i, v)| one(i, v)).sum()
            }
            Transform::Permutation(order) => {
                let old = v.to_vec();
                for (i, &from) in order.iter().enumerate() {
                    let (to, from) = match self.direction {
                        Direction::Normalise => (i, from as usize),
                        Direction::Generate => (from as usize, i),
                    };
                    v[to * plane..(to + 1) * plane]
                        .copy_from_slice(&old[from * plane..(from + 1) * plane]);
                }
                0.0
            }
            Transform::Coupling { keep, net, map } => {
                let raw = self.net(net, &v[..keep * plane], self.context);
                self.elements(map, &raw, &mut v[keep * plane..], |_| true)
            }
            Transform::Checkerboard { odd, net, map } => {
                let stays = |i: usize| {
                    let (y, x) = (i % plane / width, i % width);
                    (y + x) % 2 == usize::from(*odd)
                };
                let seen: Vec<f64> = v
                    .iter()
                    .enumerate()
                    .map(|(i, &v)| if stays(i) { v } else { 0.0 })
                    .collect();
                let raw = self.net(net, &seen, self.context);
                self.elements(map, &raw, v, |i| !stays(i))
            }
            Transform::Autoregressive {
                net,
                map,
                one_pass,
                order,
            } => self.autoregressive(net, map, *one_pass, order, v),
            Transform::Linear(factors) => self.linear(factors, v, features, plane),
            Transform::LeakyRelu => {
                let log_slope = self.tensor("log_slope");
                let one = |i: usize, v: &mut f64| {
                    let negative = if *v < 0.0 { log_slope[i / plane] } else { 0.0 };
                    affine(v, 0.0, -negative, self.direction)
                };
                v.iter_mut().enumerate().map(|(i, v)| one(i, v)).sum()
            }
            Transform::Logit { alpha } => {
                let width = 1.0 - 2.0 * alpha;
                let one = |v: &mut f64| match self.direction {
                    Direction::Normalise => {
                        let y = alpha + width * *v;
                        *v = (y / (1.0 - y)).ln();
                        (width / (y * (1.0 - y))).ln()
                    }
                    Direction::Generate => {
                        let y = scalar::logistic(*v);
                        *v = (y - alpha) / width;
                        (y * (1.0 - y) / width).ln()
                    }
                };
                v.iter_mut().map(one).sum()
            }
            Transform::Squeeze => {
                let old = v.to_vec();
                for (c, y, x) in (0..features)
                    .flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
                {
                    let wide = (c * height + y) * width + x;
                    let channel = 4 * c + 2 * (y % 2) + x % 2;
                    let narrow = (channel * (height / 2) + y / 2) * (width / 2) + x / 2;
                    match self.direction {
                        Direction::Normalise => v[narrow] = old[wide],
                        Direction::Generate => v[wide] = old[narrow],
                    }
                }
                0.0
            }
            Transform::Split { keep: _ } => 0.0,
            Transform::Planar => self.planar(v),
            Transform::Continuous(continuous) => self.continuous(continuous, v)[0],
        }
    }

    /// Maps the elements of `v` that are `wanted`; parameter p of feature f is feature f * P + p of `raw`.
    fn elements(
        &self,
        map: &ElementMap,
        raw: &[f64],
        v: &mut [f64],
        wanted: impl Fn(usize) -> bool,
    ) -> f64 {
        let plane = self.extents[1] * self.extents[2];
        let count = raw.len() / v.len();
        let mut log_det = 0.0;
        for i in (0..v.len()).filter(|&i| wanted(i)) {
            let own: Vec<f64> = (0..count)
                .map(|p| raw[((i / plane) * count + p) * plane + i % plane])
                .collect();
            log_det += element(map, &own, self.direction, &mut v[i]);
        }
        log_det
    }

    fn autoregressive(
        &self,
        net: &Net,
        map: &ElementMap,
        one_pass: Direction,
        order: &[u32],
        v: &mut [f64],
    ) -> f64 {
        let n = v.len();
        let start = v.to_vec();
        if self.direction == one_pass {
            let raw = self.net(net, &start, self.context);
            return self.elements(map, &raw, v, |_| true);
        }
        let natural: Vec<u32> = (0..n as u32).collect();
        let order = if order.is_empty() { &natural } else { order };
        // The net sees what is known, and zeros.
        let mut known = vec![0.0; n];
        let mut log_det = 0.0;
        for &i in order {
            let i = i as usize;
            let raw = self.net(net, &known, self.context);
            let count = raw.len() / n;
            log_det += element(
                map,
                &raw[i * count..(i + 1) * count],
                self.direction,
                &mut v[i],
            );
            known[i] = v[i];
        }
        log_det
    }

    fn linear(&self, factors: &Factors, v: &mut [f64], n: usize, plane: usize) -> f64 {
        let mut log_det = 0.0;
        for pixel in 0..plane {
            let x: Vec<f64> = (0..n).map(|c| v[c * plane + pixel]).collect();
            let (z, own) = match factors {
                Factors::Dense => self.dense(&x),
                Factors::Lu { order } => self.factors(order, &x),
            };
            log_det += own;
            z.iter()
                .enumerate()
                .for_each(|(c, &z)| v[c * plane + pixel] = z);
        }
        log_det
    }

    fn dense(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let n = x.len();
        let weight = self.tensor("weight");
        let (solution, log_det) = solve(weight, x);
        match self.direction {
            Direction::Generate => (solution, -log_det),
            Direction::Normalise => {
                let row = |i: usize| (0..n).map(|j| weight[i * n + j] * x[j]).sum();
                ((0..n).map(row).collect(), log_det)
            }
        }
    }

    /// P L (U + D), factor by factor.
    fn factors(&self, order: &[u32], x: &[f64]) -> (Vec<f64>, f64) {
        let n = x.len();
        let (lower, upper) = (self.tensor("lower"), self.tensor("upper"));
        let d = self.tensor("log_diagonal");
        let log_det = d.iter().sum::<f64>();
        let mut v = x.to_vec();
        match self.direction {
            Direction::Normalise => {
                for i in 0..n {
                    let right: f64 = (i + 1..n).map(|j| upper[i * n + j] * v[j]).sum();
                    v[i] = d[i].exp() * v[i] + right;
                }
                for i in (0..n).rev() {
                    v[i] += (0..i).map(|j| lower[i * n + j] * v[j]).sum::<f64>();
                }
                (
                    order.iter().map(|&from| v[from as usize]).collect(),
                    log_det,
                )
            }
            Direction::Generate => {
                let mut y = vec![0.0; n];
                order
                    .iter()
                    .zip(&v)
                    .for_each(|(&to, &v)| y[to as usize] = v);
                for i in 0..n {
                    y[i] -= (0..i).map(|j| lower[i * n + j] * y[j]).sum::<f64>();
                }
                for i in (0..n).rev() {
                    let right: f64 = (i + 1..n).map(|j| upper[i * n + j] * y[j]).sum();
                    y[i] = (y[i] - right) / d[i].exp();
                }
                (y, -log_det)
            }
        }
    }

    fn planar(&self, v: &mut [f64]) -> f64 {
        let (w, scale) = (self.tensor("weight"), self.tensor("scale"));
        let bias = self.tensor("bias")[0];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let along = dot(w, scale);
        let push = (scalar::softplus(along) - 1.0 - along) / dot(w, w);
        let u: Vec<f64> = w.iter().zip(scale).map(|(w, s)| s + push * w).collect();
        let wu = dot(w, &u);
        let c = dot(w, v) + bias;
        let (a, sign) = match self.direction {
            Direction::Normalise => (c, 1.0),
            Direction::Generate => (
                bisect(c - wu.abs(), c + wu.abs(), |a| a + wu * a.tanh() - c),
                -1.0,
            ),
        };
        v.iter_mut()
            .zip(&u)
            .for_each(|(v, u)| *v += sign * u * a.tanh());
        sign * (1.0 + (1.0 - a.tanh().powi(2)) * wu).ln()
    }

    /// ln |det|, and the integrals of the squared velocity and of the squares of its Jacobian's elements, or of the
    /// Jacobian times the signs.
    fn continuous(&self, continuous: &Continuous, v: &mut [f64]) -> [f64; 3] {
        let n = v.len();
        let signs = signs(self.referee.noise, self.index, n);
        let slope = |t: f64, x: &[f64]| -> Vec<f64> {
            let velocity = |x: &[f64]| self.velocity(continuous, t, x);
            let mut out = velocity(x);
            // How the velocity grows along a direction.
            let growth = |along: &[f64]| -> Vec<f64> {
                let moved = |step: f64| -> Vec<f64> {
                    x.iter().zip(along).map(|(x, e)| x + step * e).collect()
                };
                let (up, down) = (velocity(&moved(STEP)), velocity(&moved(-STEP)));
                let slope = |(up, down): (&f64, &f64)| (up - down) / (2.0 * STEP);
                up.iter().zip(&down).map(slope).collect()
            };
            let (mut trace, mut squares) = (0.0, 0.0);
            for along in match continuous.trace {
                spec::Trace::Exact => (0..n).map(|i| unit(i, n)).collect(),
                spec::Trace::Hutchinson => vec![signs.clone()],
            } {
                let growth = growth(&along);
                trace += growth.iter().zip(&along).map(|(g, e)| g * e).sum::<f64>();
                squares += growth.iter().map(|g| g * g).sum::<f64>();
            }
            let energy = out.iter().map(|v| v * v).sum();
            out.extend([trace, energy, squares]);
            out
        };
        let (mut t, h) = match self.direction {
            Direction::Normalise => (0.0, 1.0 / TIME_STEPS as f64),
            Direction::Generate => (1.0, -1.0 / TIME_STEPS as f64),
        };
        let mut state = v.to_vec();
        state.extend([0.0; 3]);
        for _ in 0..TIME_STEPS {
            let ahead =
                |k: &[f64], h: f64| -> Vec<f64> { (0..n).map(|i| state[i] + h * k[i]).collect() };
            let a = slope(t, &state[..n]);
            let b = slope(t + h / 2.0, &ahead(&a, h / 2.0));
            let c = slope(t + h / 2.0, &ahead(&b, h / 2.0));
            let d = slope(t + h, &ahead(&c, h));
            for i in 0..n + 3 {
                state[i] += h / 6.0 * (a[i] + 2.0 * b[i] + 2.0 * c[i] + d[i]);
            }
            t += h;
        }
        v.copy_from_slice(&state[..n]);
        [state[n], state[n + 1], state[n + 2]]
    }

    fn velocity(&self, continuous: &Continuous, t: f64, x: &[f64]) -> Vec<f64> {
        let turn = |k: usize| (k + 1) as f64 * std::f64::consts::PI * t;
        let frequencies = 0..continuous.frequencies;
        let time: Vec<f64> = match continuous.frequencies {
            0 => vec![t],
            _ => {
                let cosines = frequencies.clone().map(|k| turn(k).cos());
                cosines.chain(frequencies.map(|k| turn(k).sin())).collect()
            }
        };
        match &continuous.velocity {
            Velocity::Net(net) => self.net(net, x, &[&time, self.context].concat()),
            Velocity::Planar { width, net } => {
                let (k, n) = (*width, x.len());
                let raw = self.net(net, &time, self.context);
                let (w, u, b) = (&raw[..k * n], &raw[k * n..2 * k * n], &raw[2 * k * n..]);
                let mut out = vec![0.0; n];
                for j in 0..k {
                    let along: f64 = (0..n).map(|i| w[j * n + i] * x[i]).sum();
                    let h = (along + b[j]).tanh() / k as f64;
                    (0..n).for_each(|i| out[i] += h * u[j * n + i]);
                }
                out
            }
        }
    }
}
