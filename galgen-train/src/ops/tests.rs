mod by_candle;
mod candle_ops;

use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};

/// Deterministic numbers in [-1, 1].
pub(in crate::ops) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

pub(in crate::ops) fn var(shape: &[usize], seed: u64) -> Var {
    let t = Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap();
    Var::from_tensor(&t).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Compares the gradients of `sum(f(args) * r)` with central differences along random directions.
fn check(name: &str, shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let vars: Vec<Var> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| var(s, 11 + i as u64))
        .collect();
    let at = |v: &[Tensor]| f(v).unwrap();
    let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = at(&args);
    let r = Tensor::from_vec(numbers(y.elem_count(), 5), y.shape(), &Device::Cpu).unwrap();
    let loss = (&y * &r).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    for (i, v) in vars.iter().enumerate() {
        let g = flat(
            grads
                .get(v)
                .unwrap_or_else(|| panic!("{name}: no gradient of argument {i}")),
        );
        for dir in 0..3 {
            let d = numbers(g.len(), 77 + dir);
            let h = 1e-5;
            let moved = |sign: f64| {
                let x: Vec<f64> = flat(v)
                    .iter()
                    .zip(&d)
                    .map(|(x, d)| x + sign * h * d)
                    .collect();
                let mut a: Vec<Tensor> = args.iter().map(Tensor::detach).collect();
                a[i] = Tensor::from_vec(x, v.shape(), &Device::Cpu).unwrap();
                (at(&a) * &r)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f64>()
                    .unwrap()
            };
            let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * h);
            let exact: f64 = g.iter().zip(&d).map(|(g, d)| g * d).sum();
            let scale = g.iter().map(|g| g.abs()).sum::<f64>().max(1.0);
            assert!(
                (numeric - exact).abs() < 1e-8 * scale,
                "{name}: argument {i}: gradient {exact}, differences {numeric}"
            );
        }
    }
}

/// Plain loops.
fn slow_conv(x: &Tensor, w: &Tensor, s: usize, p: Padding) -> Tensor {
    let ((b, c, h, wd), (o, _, kh, kw)) = (x.dims4().unwrap(), w.dims4().unwrap());
    let (oh, ow) = (
        (h + p.top + p.bottom - kh) / s + 1,
        (wd + p.left + p.right - kw) / s + 1,
    );
    let (xv, wv) = (flat(x), flat(w));
    let mut y = Vec::new();
    for (bi, oi) in (0..b).flat_map(|b| (0..o).map(move |o| (b, o))) {
        for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
            let mut sum = 0.0;
            for ci in 0..c {
                for (u, v) in (0..kh).flat_map(|u| (0..kw).map(move |v| (u, v))) {
                    let (yy, xx) = (
                        (s * i + u).wrapping_sub(p.top),
                        (s * j + v).wrapping_sub(p.left),
                    );
                    if yy < h && xx < wd {
                        sum += wv[((oi * c + ci) * kh + u) * kw + v]
                            * xv[((bi * c + ci) * h + yy) * wd + xx];
                    }
                }
            }
            y.push(sum);
        }
    }
    Tensor::from_vec(y, (b, o, oh, ow), &Device::Cpu).unwrap()
}

pub(in crate::ops) fn close(a: &Tensor, b: &Tensor, tol: f64, name: &str) {
    assert_eq!(a.dims(), b.dims(), "{name}");
    let (a, b) = (flat(a), flat(b));
    let scale = b.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!(
            (a - b).abs() <= tol * scale,
            "{name}: element {i}: {a} against {b}"
        );
    }
}

type Case = (&'static str, [usize; 4], [usize; 4], usize, Padding);

fn cases() -> Vec<Case> {
    let odd = Padding {
        top: 2,
        bottom: 1,
        left: 0,
        right: 3,
    };
    let down = Padding {
        top: 0,
        bottom: 1,
        left: 0,
        right: 1,
    };
    let same = Padding::all(1);
    vec![
        ("3x3", [3, 4, 6, 5], [9, 4, 3, 3], 1, same),
        (
            "rows of whole vectors",
            [2, 3, 5, 32],
            [5, 3, 3, 3],
            1,
            same,
        ),
        (
            "rows of whole vectors, stride 2",
            [3, 3, 6, 64],
            [5, 3, 3, 3],
            2,
            same,
        ),
        ("stride 2, even", [3, 2, 8, 8], [3, 2, 3, 3], 2, same),
        ("stride 2, odd", [2, 2, 7, 9], [3, 2, 3, 3], 2, same),
        (
            "stride 2, left-over row",
            [2, 2, 7, 8],
            [1, 2, 3, 3],
            2,
            Padding::all(0),
        ),
        (
            "stride 2, padded below and right",
            [2, 2, 8, 16],
            [4, 2, 3, 3],
            2,
            down,
        ),
        ("asymmetric", [2, 3, 5, 6], [2, 3, 3, 2], 1, odd),
        ("asymmetric, stride 3", [2, 3, 9, 6], [2, 3, 4, 3], 3, odd),
        ("1x1", [2, 5, 4, 4], [3, 5, 1, 1], 1, Padding::all(0)),
        (
            "1x1, stride 2",
            [2, 5, 5, 4],
            [3, 5, 1, 1],
            2,
            Padding::all(0),
        ),
        ("5x5", [1, 1, 8, 8], [2, 1, 5, 5], 1, Padding::all(2)),
        (
            "causal",
            [2, 2, 4, 4],
            [2, 2, 2, 3],
            1,
            Padding {
                top: 1,
                bottom: 0,
                left: 1,
                right: 1,
            },
        ),
        ("one channel to one", [19, 1, 4, 4], [1, 1, 3, 3], 1, same),
    ]
}

#[test]
fn conv_equals_plain_loops() {
    for (name, xs, ws, s, p) in cases() {
        let (x, w) = (var(&xs, 1), var(&ws, 2));
        let slow = slow_conv(&x, &w, s, p);
        close(&conv2d(&x, &w, s, p).unwrap(), &slow, 1e-14, name);
        let (x, w) = (
            x.to_dtype(DType::F32).unwrap(),
            w.to_dtype(DType::F32).unwrap(),
        );
        close(&conv2d(&x, &w, s, p).unwrap(), &slow, 1e-6, name);
    }
}

#[test]
fn conv_gradients_in_f32_equal_those_in_f64() {
    for (name, xs, ws, s, p) in cases() {
        let grads = |t: DType| {
            let x = Var::from_tensor(&var(&xs, 1).to_dtype(t).unwrap()).unwrap();
            let w = Var::from_tensor(&var(&ws, 2).to_dtype(t).unwrap()).unwrap();
            let g = conv2d(&x, &w, s, p)
                .unwrap()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap();
            (g.get(&x).unwrap().clone(), g.get(&w).unwrap().clone())
        };
        let ((x, w), (x64, w64)) = (grads(DType::F32), grads(DType::F64));
        close(&x, &x64, 1e-5, name);
        close(&w, &w64, 1e-5, name);
    }
}

#[test]
fn conv_gradients() {
    for (name, xs, ws, s, p) in cases() {
        check(name, &[&xs, &ws], |a| conv2d(&a[0], &a[1], s, p));
    }
}

#[test]
fn conv_transpose_gradients() {
    for (k, s, p) in [(4, 2, 1), (5, 2, 2), (3, 1, 1), (2, 3, 0)] {
        let name = format!("transposed, kernel {k}, stride {s}");
        check(&name, &[&[2, 3, 4, 5], &[3, 2, k, k]], |a| {
            conv_transpose2d(&a[0], &a[1], s, Padding::all(p))
        });
    }
}

#[test]
fn conv_transpose_equals_candle() {
    for (k, s, p) in [(4, 2, 1), (5, 2, 2), (3, 1, 1)] {
        let (x, w) = (var(&[2, 3, 4, 16], 1), var(&[3, 2, k, k], 2));
        let ours = conv_transpose2d(&x, &w, s, Padding::all(p)).unwrap();
        close(
            &ours,
            &x.conv_transpose2d(&w, p, 0, s, 1).unwrap(),
            1e-13,
            "transposed",
        );
    }
}

#[test]
fn upsampling_convolution_is_upsampling_then_convolution() {
    for (b, h, w) in [(2, 4, 4), (3, 3, 5), (1, 8, 16)] {
        let (x, k) = (var(&[b, 3, h, w], 1), var(&[2, 3, 3, 3], 2));
        let two = conv2d(&upsample_nearest2x(&x).unwrap(), &k, 1, Padding::all(1)).unwrap();
        close(&upsample2x_conv3x3(&x, &k).unwrap(), &two, 1e-14, "fused");
    }
    check("upsampling", &[&[2, 3, 3, 4]], |a| {
        upsample_nearest2x(&a[0])?.sqr()
    });
    check("fused", &[&[2, 3, 3, 4], &[2, 3, 3, 3]], |a| {
        upsample2x_conv3x3(&a[0], &a[1])
    });
}

#[test]
fn activations_and_their_derivatives() {
    use Activation::*;
    for act in [Identity, Silu, Softplus, Sigmoid, Tanh, LeakyRelu(0.2), Elu] {
        check(&format!("{act:?}"), &[&[2, 3, 3, 5], &[3]], |a| {
            bias_activate(&a[0], &a[1], act)
        });
        // f32 over the whole range against f64.
        let x: Vec<f64> = (-4000..4000).map(|i| f64::from(i as f32 / 40.0)).collect();
        let x = Tensor::from_vec(x, 8000, &Device::Cpu).unwrap();
        let single = flat(&activate(&x.to_dtype(DType::F32).unwrap(), act).unwrap());
        for ((a, b), x) in single
            .iter()
            .zip(flat(&activate(&x, act).unwrap()))
            .zip(flat(&x))
        {
            // Results below the least normal number of f32 come out as about that number.
            assert!(
                (a - b).abs() <= 4e-7 * b.abs() + 2e-36,
                "{act:?}({x}): {a} against {b}"
            );
        }
    }
}

#[test]
fn channel_sums() {
    check("channel sum", &[&[2, 3, 7, 5]], |a| channel_sum(&a[0]));
    let x = Tensor::full(0.1f32, (64, 1, 512, 512), &Device::Cpu).unwrap();
    let n = 64.0 * 512.0 * 512.0 * f64::from(0.1f32);
    assert!((flat(&channel_sum(&x).unwrap())[0] / n - 1.0).abs() < 1e-6);
}

#[test]
fn group_norm_gradients_and_values() {
    for groups in [1, 2, 4] {
        check("group norm", &[&[2, 4, 3, 5], &[4], &[4]], |a| {
            group_norm(&a[0], groups, &a[1], &a[2], 1e-5)
        });
        let (x, w, b) = (var(&[2, 4, 7, 5], 1), var(&[4], 2), var(&[4], 3));
        let theirs = candle_nn::GroupNorm::new(
            w.as_tensor().clone(),
            b.as_tensor().clone(),
            4,
            groups,
            1e-5,
        )
        .unwrap();
        let theirs = candle_nn::Module::forward(&theirs, &x).unwrap();
        close(
            &group_norm(&x, groups, &w, &b, 1e-5).unwrap(),
            &theirs,
            1e-12,
            "group norm",
        );
    }
}

#[test]
fn adam_follows_its_recurrence() {
    let settings = Adam {
        lr: 0.01,
        weight_decay: 0.1,
        ..Adam::default()
    };
    let p = var(&[7], 1);
    let (m, v) = (
        Var::zeros(7, DType::F64, &Device::Cpu).unwrap(),
        Var::zeros(7, DType::F64, &Device::Cpu).unwrap(),
    );
    let (mut pp, mut mm, mut vv) = (flat(&p), vec![0.0; 7], vec![0.0; 7]);
    for step in 1..=5u64 {
        let g = var(&[7], 50 + step);
        adam_step(&p, &g, &m, &v, step, &settings).unwrap();
        for (i, g) in flat(&g).into_iter().enumerate() {
            mm[i] = 0.9 * mm[i] + 0.1 * g;
            vv[i] = 0.999 * vv[i] + 0.001 * g * g;
            let (a, b) = (
                mm[i] / (1.0 - 0.9f64.powi(step as i32)),
                vv[i] / (1.0 - 0.999f64.powi(step as i32)),
            );
            pp[i] = pp[i] * (1.0 - 0.001) - 0.01 * a / (b.sqrt() + 1e-8);
        }
    }
    for (a, b) in flat(&p).iter().zip(&pp) {
        assert!((a - b).abs() < 1e-12, "{a} against {b}");
    }
    assert!(adam_step(&p, &m, &m, &v, 0, &settings).is_err());
}

#[test]
fn weight_gradient_is_differentiable() {
    for (name, xs, ws, s, p) in cases() {
        let y = conv2d(&var(&xs, 1), &var(&ws, 2), s, p).unwrap();
        check(name, &[&xs, y.dims()], |a| {
            conv2d_weight_grad(&a[0], &a[1], (ws[2], ws[3]), s, p)
        });
    }
}

/// Second derivatives: candle keeps the graph of gradients only if a variable is set when a thread starts, so the
/// test runs itself again in a process that has it.
#[test]
fn second_order_gradients() {
    const KEEP: &str = "CANDLE_GRAD_DO_NOT_DETACH";
    if std::env::var(KEEP).is_err() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ops::tests::second_order_gradients"])
            .env(KEEP, "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(
            status.success(),
            "second derivatives differ: run with {KEEP}=1 for the message"
        );
        return;
    }
    use Activation::*;
    for (name, xs, ws, s, p) in cases() {
        for act in [Silu, Softplus, Tanh, LeakyRelu(0.2)] {
            check(name, &[&xs, &ws, &[ws[0]]], |a| {
                let (x, w, b) = (Var::from_tensor(&a[0])?, &a[1], &a[2]);
                // The penalty of a critic: the input gradient, as a function of input and weights.
                let y = bias_activate(&conv2d(&x, w, s, p)?, b, act)?;
                let gx = y.sum_all()?.backward()?.remove(&x).expect("input gradient");
                gx.sqr()
            });
        }
    }
}
