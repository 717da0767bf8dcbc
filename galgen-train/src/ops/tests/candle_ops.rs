//! The kernels in f64 against the same operations made of candle's own.

use super::{by_candle, cases, close, flat, numbers, var};
use crate::ops::{self, Activation, Adam, Padding, upsample};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Both ways sum the same terms in another order: a few hundred roundings of f64.
const TOLERANCE: f64 = 1e-12;
const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Silu,
    Activation::Softplus,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(0.0),
    Activation::Elu,
];

/// Value and gradients of `sum(f(args) * r)` with fixed random `r`.
fn value_and_gradients(
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let vars: Vec<Var> = (11..).zip(shapes).map(|(seed, s)| var(s, seed)).collect();
    let args: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&args)?;
    let r = Tensor::from_vec(numbers(y.elem_count(), 5), y.shape(), &Device::Cpu)?;
    let grads = (&y * r)?.sum_all()?.backward()?;
    let gradient = |v: &Var| grads.get(v).cloned().expect("a gradient");
    Ok([y].into_iter().chain(vars.iter().map(gradient)).collect())
}

/// Both functions must have the same value and the same gradients.
fn same(
    name: &str,
    shapes: &[&[usize]],
    theirs: impl Fn(&[Tensor]) -> Result<Tensor>,
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let theirs = value_and_gradients(shapes, theirs).unwrap();
    let ours = value_and_gradients(shapes, ours).unwrap();
    for (i, (a, b)) in theirs.iter().zip(&ours).enumerate() {
        close(
            a,
            b,
            TOLERANCE,
            &format!("{name}: {i} of value and gradients"),
        );
    }
}

#[test]
fn convolutions() {
    for (name, x, w, s, p) in cases() {
        same(
            name,
            &[&x, &w],
            |a| by_candle::conv2d(&a[0], &a[1], s, p),
            |a| ops::conv2d(&a[0], &a[1], s, p),
        );
        let kernel = (w[2], w[3]);
        let y = ops::conv2d(&var(&x, 1), &var(&w, 2), s, p).unwrap();
        same(
            &format!("{name}, weight gradient"),
            &[&x, y.dims()],
            |a| by_candle::conv2d_weight_grad(&a[0], &a[1], kernel, s, p),
            |a| ops::conv2d_weight_grad(&a[0], &a[1], kernel, s, p),
        );
    }
}

#[test]
fn transposed_convolutions() {
    let uneven = Padding {
        top: 2,
        bottom: 0,
        left: 1,
        right: 3,
    };
    for (k, s, p) in [
        (4, 2, Padding::all(1)),
        (5, 2, Padding::all(2)),
        (3, 1, Padding::all(1)),
        (2, 3, Padding::all(0)),
        (5, 2, uneven),
    ] {
        same(
            &format!("kernel {k}, stride {s}, {p:?}"),
            &[&[2, 3, 4, 5], &[3, 2, k, k]],
            |a| by_candle::conv_transpose2d(&a[0], &a[1], s, p),
            |a| ops::conv_transpose2d(&a[0], &a[1], s, p),
        );
    }
}

/// The map is used twice, which is where candle's own upsampling loses a gradient.
#[test]
fn upsampling_of_a_map_with_another_use() {
    let both = |x: &Tensor, y: Tensor| {
        let (_, _, h, w) = y.dims4()?;
        y.narrow(1, 0, 1)?
            .broadcast_mul(&x.sum((1, 2, 3))?.reshape((2, 1, 1, 1))?)?
            .narrow(2, 0, h)?
            .narrow(3, 0, w)
    };
    same(
        "upsample and convolve",
        &[&[2, 3, 3, 4], &[2, 3, 3, 3]],
        |a| {
            let kernel = upsample::transposed_kernel(&a[1])?;
            both(
                &a[0],
                by_candle::conv_transpose2d(&a[0], &kernel, 2, Padding::all(1))?,
            )
        },
        |a| {
            let large = ops::upsample_nearest2x(&a[0])?;
            both(&a[0], ops::conv2d(&large, &a[1], 1, Padding::all(1))?)
        },
    );
}

#[test]
fn activations() {
    for act in ACTIVATIONS {
        same(
            &format!("{act:?}"),
            &[&[2, 3, 3, 5], &[3]],
            |a| by_candle::bias_activate(&a[0], &a[1], act),
            |a| ops::bias_activate(&a[0], &a[1], act),
        );
    }
}

/// Values and slopes in f32 from -1e4 to 1e4 and at 0: right to a few last bits of max(1, |value|), softplus of its
/// value, and never NaN.
#[test]
fn activations_in_single_precision_far_out() {
    let mut points = vec![0.0, -1e4, 1e4];
    points.extend((-1000..1000).map(|i| f64::from(i as f32 / 10.0)));
    let run = |act, dtype, ours: bool| -> (Vec<f64>, Vec<f64>) {
        let shape = (1, 1, points.len(), 1);
        let x = Tensor::from_slice(&points, shape, &Device::Cpu).unwrap();
        let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
        let zero = Tensor::zeros(1, dtype, &Device::Cpu).unwrap();
        let y = if ours {
            ops::bias_activate(&x, &zero, act)
        } else {
            by_candle::bias_activate(&x, &zero, act)
        };
        let y = y.unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        (flat(&y), flat(grads.get(&x).unwrap()))
    };
    for act in ACTIVATIONS {
        let (value, slope) = run(act, DType::F32, false);
        let (value64, slope64) = run(act, DType::F64, true);
        for (i, x) in points.iter().enumerate() {
            let least = if act == Activation::Softplus {
                1e-30
            } else {
                1.0
            };
            let scale = value64[i].abs().max(least);
            let error = (value[i] - value64[i]).abs() / scale;
            assert!(
                error < 1e-6,
                "{act:?}({x}): {} against {}",
                value[i],
                value64[i]
            );
            let error = (slope[i] - slope64[i]).abs();
            assert!(
                error < 1e-6,
                "{act:?}'({x}): {} against {}",
                slope[i],
                slope64[i]
            );
        }
    }
}

#[test]
fn channel_sums() {
    same(
        "channel sum",
        &[&[2, 3, 7, 5]],
        |a| by_candle::channel_sum(&a[0]),
        |a| ops::channel_sum(&a[0]),
    );
}

#[test]
fn group_norms() {
    for groups in [1, 2, 4] {
        same(
            &format!("{groups} groups"),
            &[&[2, 4, 3, 5], &[4], &[4]],
            |a| by_candle::group_norm(&a[0], groups, &a[1], &a[2], 1e-5),
            |a| ops::group_norm(&a[0], groups, &a[1], &a[2], 1e-5),
        );
    }
}

#[test]
fn adam_steps() {
    let settings = Adam {
        lr: 0.01,
        weight_decay: 0.1,
        ..Adam::default()
    };
    let state = || [1, 2, 3].map(|_| Var::zeros((3, 4), DType::F64, &Device::Cpu).unwrap());
    let (theirs, ours) = (state(), state());
    for step in 1..=5 {
        let g = var(&[3, 4], 50 + step);
        by_candle::adam_step(&theirs[0], &g, &theirs[1], &theirs[2], step, &settings).unwrap();
        ops::adam_step(&ours[0], &g, &ours[1], &ours[2], step, &settings).unwrap();
    }
    for (a, b) in theirs.iter().zip(&ours) {
        close(a, b, TOLERANCE, "parameter or moment after five steps");
    }
    assert!(flat(&ours[0]).iter().all(|&p| p != 0.0));
}
