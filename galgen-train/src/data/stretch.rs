//! Display stretches of colour pictures, and their undoing.
//!
//! Composites that keep colour (Lupton et al. 2004, PASP 116, 133) map the mean intensity of a pixel's
//! channels, I = (R + G + B) / 3, to a displayed one and scale all channels by the same factor. Undone, a
//! channel c of displayed mean m is linear(m) c / m. What comes out is linear in the flux up to an unknown
//! factor and the sky level, as far as the stretch is known.

use std::fmt;
use std::str::FromStr;

/// Softening of the SDSS sky server's composites as a slope in asinh: displayed = asinh(beta I) / k with
/// displayed 1 at full scale and k = [`SKY_SERVER_ASINH`].
pub const SKY_SERVER_ASINH: f64 = 4.472;
/// STIFF's default display gamma (Bertin 2012, ASP Conf. 461, 263), used for the EFIGI composites.
pub const STIFF_GAMMA: f64 = 2.2;

/// How a picture's displayed intensity depends on the light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stretch {
    /// Displayed = light.
    Linear,
    /// Displayed = asinh(c * light) / k: undone as sinh(k * displayed).
    Asinh {
        /// Softening k: 0 is linear, 10 nearly logarithmic.
        k: f64,
    },
    /// Displayed = light^(1/gamma): undone as displayed^gamma.
    Power {
        /// The display's gamma.
        gamma: f64,
    },
}

impl Stretch {
    /// Light of a displayed intensity in `0..=1`, in arbitrary units (1 at full scale).
    pub fn undo(&self, displayed: f64) -> f64 {
        match *self {
            Self::Linear => displayed,
            Self::Asinh { k } => (k * displayed).sinh() / k.sinh(),
            Self::Power { gamma } => displayed.max(0.0).powf(gamma),
        }
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Linear => write!(f, "none (linear)"),
            Self::Asinh { k } => write!(
                f,
                "asinh on the mean of the channels, undone per pixel as channel / mean * sinh({k} mean) / sinh({k})"
            ),
            Self::Power { gamma } => write!(
                f,
                "power law on the mean of the channels, undone per pixel as channel / mean * mean^{gamma}"
            ),
        }
    }
}

impl FromStr for Stretch {
    type Err = String;

    /// `linear`, `sky-server`, `stiff`, `asinh:K` with K in (0, 20], `power:GAMMA` with GAMMA in [0.2, 5].
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |value: &str, lo: f64, hi: f64| match value.parse::<f64>() {
            Ok(v) if v > lo && v <= hi => Ok(v),
            _ => Err(format!(
                "stretch '{text}': expected a number above {lo} and up to {hi} after the colon"
            )),
        };
        match text.split_once(':') {
            None if text == "linear" => Ok(Self::Linear),
            None if text == "sky-server" => Ok(Self::Asinh {
                k: SKY_SERVER_ASINH,
            }),
            None if text == "stiff" => Ok(Self::Power { gamma: STIFF_GAMMA }),
            Some(("asinh", value)) => Ok(Self::Asinh {
                k: number(value, 0.0, 20.0)?,
            }),
            Some(("power", value)) => Ok(Self::Power {
                gamma: number(value, 0.2, 5.0)?,
            }),
            _ => Err(format!(
                "unknown stretch '{text}': expected linear, sky-server, stiff, asinh:K or power:GAMMA"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoing_inverts_the_display() {
        for i in 0..=20 {
            let light = f64::from(i) / 20.0;
            let asinh = (light * 4.0f64.sinh()).asinh() / 4.0;
            assert!((Stretch::Asinh { k: 4.0 }.undo(asinh) - light).abs() < 1e-12);
            assert!(
                (Stretch::Power { gamma: 2.2 }.undo(light.powf(1.0 / 2.2)) - light).abs() < 1e-12
            );
            assert_eq!(Stretch::Linear.undo(light), light);
        }
    }

    #[test]
    fn names_parse_and_nonsense_is_named() {
        assert_eq!("stiff".parse(), Ok(Stretch::Power { gamma: STIFF_GAMMA }));
        assert_eq!("asinh:4.5".parse(), Ok(Stretch::Asinh { k: 4.5 }));
        for bad in ["", "log", "asinh:", "asinh:-1", "power:99", "asinh:nan"] {
            assert!(bad.parse::<Stretch>().is_err(), "{bad}");
        }
    }
}
