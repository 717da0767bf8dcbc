//! Activations against their f64 formulas, over all exponents of f32.

mod common;

use common::run;
use galgen_core::math::act::Act;
use galgen_core::spec::{Layer, Net, Shape};
use galgen_infer::kernels::Simd;
use galgen_infer::kernels::elementary::{MAX_ULP, SMALL};
use galgen_infer::weights::Weights;

const ACTS: [Act; 8] = [
    Act::Relu,
    Act::LeakyRelu { slope: 0.2 },
    Act::Elu,
    Act::Silu,
    Act::Tanh,
    Act::Sigmoid,
    Act::Softplus,
    Act::Asinh,
];

fn eval(act: Act, simd: Simd, x: &[f32]) -> Vec<f32> {
    let net = Net {
        input: Shape::Vector(x.len()),
        context: 0,
        layers: vec![Layer::Activation(act)],
    };
    run(&net, &Weights::from_values([]), simd, x, &[])
}

/// Spacing of f32 numbers at the size of `x`.
fn ulp(x: f64) -> f64 {
    let exponent = (x.abs().max(f64::from(f32::MIN_POSITIVE)).to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent - 23)
}

/// Finite numbers a prime apart in bits: 750,000 in all, 1,471 of every sign and exponent.
fn sweep() -> Vec<f32> {
    (0..=u32::MAX / 5701)
        .map(|i| f32::from_bits(i * 5701))
        .filter(|x| x.is_finite())
        .collect()
}

#[test]
fn error_stays_below_the_documented_bound() {
    let x = sweep();
    for act in ACTS {
        let y = eval(act, Simd::detect(), &x);
        let (mut worst, mut at) = (0.0, 0.0);
        for (&x, &y) in x.iter().zip(&y) {
            let want = act.eval(f64::from(x));
            let error = (f64::from(y) - want).abs();
            if error > SMALL && error / ulp(want) > worst {
                (worst, at) = (error / ulp(want), x);
            }
        }
        println!("{act:?}: {worst:.2} ulp at {at:e}");
        assert!(worst <= MAX_ULP, "{act:?} is {worst} ulp off at {at:e}");
    }
}

#[test]
fn levels_agree_to_the_bit() {
    let x: Vec<f32> = sweep().into_iter().step_by(7).collect();
    for act in ACTS {
        let scalar = eval(act, Simd::Scalar, &x);
        for simd in Simd::available() {
            for ((x, a), b) in x.iter().zip(&scalar).zip(eval(act, simd, &x)) {
                assert_eq!(
                    a.to_bits(),
                    b.to_bits(),
                    "{act:?}({x:e}) on {}",
                    simd.name()
                );
            }
        }
    }
}

#[test]
fn limits_and_not_a_number() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0];
    for act in ACTS {
        for simd in Simd::available() {
            let y = eval(act, simd, &x);
            for (x, y) in x.iter().zip(&y) {
                let want = match act {
                    // The formula is -inf * 0; its limit is 0.
                    Act::Silu if *x == f32::NEG_INFINITY => 0.0,
                    _ => act.eval(f64::from(*x)) as f32,
                };
                let same = if x.is_nan() {
                    y.is_nan()
                } else {
                    (*y - want).abs() < 1e-7 || *y == want
                };
                assert!(
                    same,
                    "{act:?}({x}) = {y} on {}, expected {want}",
                    simd.name()
                );
            }
        }
    }
}
