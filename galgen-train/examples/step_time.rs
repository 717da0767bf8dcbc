//! Seconds for one training step (forward and backward) of a convolutional VAE on 64 x 64 stamps, batch 64, with candle's own
//! operations and with `galgen_train::ops`.
//!
//! `GALGEN_THREADS=1 RAYON_NUM_THREADS=1 cargo run --release -p galgen-train --example step_time`
//!
//! The two losses are compared before anything is timed.

use std::time::Instant;

use candle_core::{Device, Result, Tensor, Var};
use galgen_train::ops::{self, Padding};

const CHANNELS: [usize; 5] = [16, 32, 64, 128, 256];
const LATENT: usize = 32;

/// Weights and biases in the order of the layers.
struct Net {
    first: (Var, Var),
    down: Vec<(Var, Var)>,
    latent: (Var, Var),
    lift: (Var, Var),
    up: Vec<(Var, Var)>,
    last: (Var, Var),
}

fn layer(shape: &[usize], out: usize) -> Result<(Var, Var)> {
    let fan: usize = shape[1..].iter().product();
    let w = Var::randn_f64(
        0.0,
        (2.0 / fan as f64).sqrt(),
        shape,
        candle_core::DType::F32,
        &Device::Cpu,
    )?;
    Ok((w, Var::zeros(out, candle_core::DType::F32, &Device::Cpu)?))
}

fn conv_layer(o: usize, c: usize) -> Result<(Var, Var)> {
    layer(&[o, c, 3, 3], o)
}

impl Net {
    fn new() -> Result<Self> {
        let c = CHANNELS;
        Ok(Self {
            first: conv_layer(c[0], 1)?,
            down: (0..4)
                .map(|i| conv_layer(c[i + 1], c[i]))
                .collect::<Result<_>>()?,
            latent: layer(&[LATENT, c[4] * 16], LATENT)?,
            lift: layer(&[c[4] * 16, LATENT], c[4] * 16)?,
            up: (0..4)
                .rev()
                .map(|i| conv_layer(c[i], c[i + 1]))
                .collect::<Result<_>>()?,
            last: conv_layer(1, c[0])?,
        })
    }

    fn candle(&self, x: &Tensor) -> Result<Tensor> {
        let conv = |x: &Tensor, l: &(Var, Var), s| {
            x.conv2d(&l.0, 1, s, 1, 1)?
                .broadcast_add(&l.1.reshape((1, (), 1, 1))?)
        };
        let b = x.dim(0)?;
        let mut h = conv(x, &self.first, 1)?.silu()?;
        for l in &self.down {
            h = conv(&h, l, 2)?.silu()?;
        }
        let z = h
            .reshape((b, ()))?
            .matmul(&self.latent.0.t()?)?
            .broadcast_add(&self.latent.1)?;
        h = z
            .matmul(&self.lift.0.t()?)?
            .broadcast_add(&self.lift.1)?
            .reshape((b, CHANNELS[4], 4, 4))?;
        for l in &self.up {
            let (_, _, n, _) = h.dims4()?;
            h = conv(&h.upsample_nearest2d(2 * n, 2 * n)?, l, 1)?.silu()?;
        }
        conv(&h, &self.last, 1)?.sub(x)?.sqr()?.mean_all()
    }

    fn ours(&self, x: &Tensor) -> Result<Tensor> {
        let conv = |x: &Tensor, l: &(Var, Var), s| ops::conv2d(x, &l.0, s, Padding::all(1));
        let b = x.dim(0)?;
        let mut h = ops::bias_silu(&conv(x, &self.first, 1)?, &self.first.1)?;
        for l in &self.down {
            h = ops::bias_silu(&conv(&h, l, 2)?, &l.1)?;
        }
        let z = h
            .reshape((b, ()))?
            .matmul(&self.latent.0.t()?)?
            .broadcast_add(&self.latent.1)?;
        h = z
            .matmul(&self.lift.0.t()?)?
            .broadcast_add(&self.lift.1)?
            .reshape((b, CHANNELS[4], 4, 4))?;
        for l in &self.up {
            h = ops::bias_silu(&ops::upsample2x_conv3x3(&h, &l.0)?, &l.1)?;
        }
        ops::bias_add(&conv(&h, &self.last, 1)?, &self.last.1)?
            .sub(x)?
            .sqr()?
            .mean_all()
    }
}

/// Nanoseconds that this process's first thread has spent on a processor, where the system tells (Linux).
fn busy() -> Option<f64> {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// Least seconds of `n` calls: by the clock, and on the processor (this thread's; free of what else the machine does).
fn best(n: usize, mut f: impl FnMut() -> Result<()>) -> Result<String> {
    let (mut clock, mut cpu) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..n {
        let (t, b) = (Instant::now(), busy());
        f()?;
        clock = clock.min(t.elapsed().as_secs_f64());
        if let (Some(a), Some(b)) = (b, busy()) {
            cpu = cpu.min((b - a) * 1e-9);
        }
    }
    Ok(format!(
        "{clock:.3} s by the clock, {cpu:.3} s on the processor"
    ))
}

fn main() -> Result<()> {
    let net = Net::new()?;
    let x = Tensor::randn(0f32, 1.0, (64, 1, 64, 64), &Device::Cpu)?;
    let (a, b) = (
        net.candle(&x)?.to_scalar::<f32>()?,
        net.ours(&x)?.to_scalar::<f32>()?,
    );
    assert!(
        (a - b).abs() < 1e-4 * a.abs(),
        "losses differ: candle {a}, ours {b}"
    );
    println!("threads {}, loss {a} (candle) {b} (ours)", ops::threads());
    let step = |f: &dyn Fn(&Tensor) -> Result<Tensor>| f(&x)?.backward().map(drop);
    println!(
        "ours, forward            {}",
        best(8, || net.ours(&x).map(drop))?
    );
    println!(
        "ours, forward, backward  {}",
        best(12, || step(&|x| net.ours(x)))?
    );
    println!(
        "candle, forward          {}",
        best(2, || net.candle(&x).map(drop))?
    );
    println!(
        "candle, forward, backward {}",
        best(2, || step(&|x| net.candle(x)))?
    );
    Ok(())
}
