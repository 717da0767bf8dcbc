//! Activations, each by its exact formula.

use serde::{Deserialize, Serialize};

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// max(x, 0)
    Relu,
    /// x for x > 0, else slope x
    LeakyRelu {
        /// The slope below zero.
        slope: f32,
    },
    /// x for x > 0, else e^x - 1
    Elu,
    /// x / (1 + e^-x), also called swish
    Silu,
    /// tanh(x)
    Tanh,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// ln(1 + e^x)
    Softplus,
    /// asinh(x) = sign(x) ln(|x| + sqrt(x^2 + 1))
    Asinh,
}

impl Act {
    /// The value at `x`, in f64: the definition that every faster version is tested against.
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Act::Relu => x.max(0.0),
            Act::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
            Act::Elu => {
                if x > 0.0 {
                    x
                } else {
                    libm::expm1(x)
                }
            }
            Act::Silu => x * sigmoid(x),
            Act::Tanh => libm::tanh(x),
            Act::Sigmoid => sigmoid(x),
            Act::Softplus => softplus(x),
            Act::Asinh => libm::asinh(x),
        }
    }

    /// The derivative at `x`; at 0 that from the left.
    pub fn derivative(self, x: f64) -> f64 {
        match self {
            Act::Relu => f64::from(u8::from(x > 0.0)),
            Act::LeakyRelu { slope } => {
                if x > 0.0 {
                    1.0
                } else {
                    f64::from(slope)
                }
            }
            Act::Elu => libm::exp(x.min(0.0)),
            Act::Silu => {
                let s = sigmoid(x);
                // x s (1 - s) is 0 at both infinities.
                let bounded = x.clamp(-1e4, 1e4);
                s + bounded * s * sigmoid(-x)
            }
            Act::Tanh => {
                let t = libm::tanh(x);
                1.0 - t * t
            }
            Act::Sigmoid => sigmoid(x) * sigmoid(-x),
            Act::Softplus => sigmoid(x),
            Act::Asinh => 1.0 / libm::hypot(x, 1.0),
        }
    }
}

/// 1 / (1 + e^-x) without overflow.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

/// ln(1 + e^x) without overflow or cancellation.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_numeric_ones() {
        let leaky = Act::LeakyRelu { slope: 0.25 };
        let (h, all) = (
            1e-6,
            [
                Act::Relu,
                leaky,
                Act::Elu,
                Act::Silu,
                Act::Tanh,
                Act::Sigmoid,
            ],
        );
        for act in all.into_iter().chain([Act::Softplus, Act::Asinh]) {
            for x in [-8.3, -1.1, -0.2, 0.3, 2.0, 7.7] {
                let numeric = (act.eval(x + h) - act.eval(x - h)) / (2.0 * h);
                assert!((act.derivative(x) - numeric).abs() < 1e-8, "{act:?} at {x}");
            }
            assert!(act.derivative(1e300).is_finite() && act.derivative(-1e300).is_finite());
        }
    }

    #[test]
    fn large_arguments_stay_finite_and_exact() {
        assert_eq!(sigmoid(1e4), 1.0);
        assert_eq!(sigmoid(-1e4), 0.0);
        assert_eq!(softplus(1e4), 1e4);
        assert_eq!(softplus(-1e4), 0.0);
        assert!((softplus(0.0) - core::f64::consts::LN_2).abs() < 1e-16);
        assert_eq!(Act::Silu.eval(-1e4), 0.0);
        assert!((Act::Asinh.eval(-3.0) + Act::Asinh.eval(3.0)).abs() < 1e-15);
    }
}
