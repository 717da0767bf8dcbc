//! Range and ticks of an axis.

/// Ticks aimed at on a linear axis.
const TICKS: f64 = 6.0;

/// An axis from `low` to `high`, both finite, `low < high`, positive if logarithmic.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    log: bool,
    /// Values within the range, with their text.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis that shows all values with a little room; 0 to 1 (1 to 10) if there are none.
    pub fn new(log: bool, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if log {
            Self::logarithmic(low, high)
        } else {
            Self::linear(low, high)
        }
    }

    fn linear(low: f64, high: f64) -> Self {
        let (low, high) = match (low, high) {
            (l, h) if l > h => (0.0, 1.0),
            // A constant is shown in the middle.
            (l, h) if h - l <= 1e-12 * l.abs().max(h.abs()).max(1e-300) => {
                let room = if l == 0.0 { 1.0 } else { 0.5 * l.abs() };
                (l - room, l + room)
            }
            // An axis that begins at zero begins there exactly.
            (l, h) => {
                let room = 0.03 * (h - l);
                (if l == 0.0 { l } else { l - room }, h + room)
            }
        };
        let step = nice_step((high - low) / TICKS);
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let ticks = (first..=last)
            .map(|i| i as f64 * step)
            .map(|v| (v, number(v, decimals)))
            .collect();
        Self {
            low,
            high,
            log: false,
            ticks,
        }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let (low, high) = if low > high {
            (1.0, 10.0)
        } else {
            (low / 1.1, high * 1.1)
        };
        let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let span = (high / low).log10();
        let digits: &[f64] = match span {
            s if s < 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            s if s < 3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = ((span / TICKS).ceil() as i32).max(1);
        let ticks = decades
            .filter(|d| d.rem_euclid(every) == 0)
            .flat_map(|d| digits.iter().map(move |m| m * 10f64.powi(d)))
            .filter(|v| (low..=high).contains(v))
            .map(|v| (v, number(v, (1.0 - v.log10().floor()).max(0.0) as usize)))
            .collect();
        Self {
            low,
            high,
            log: true,
            ticks,
        }
    }

    /// Where a value falls: 0 at `low`, 1 at `high`.
    pub fn share(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.ln() } else { v };
        (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|d| d * power >= rough * 0.999)
        .unwrap_or(10.0);
    digit * power
}

/// Text of a tick: plain from 10^-4 to 10^6, else with an exponent.
fn number(value: f64, decimals: usize) -> String {
    let size = value.abs();
    let text = if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trimmed(digits));
    } else {
        format!("{value:.decimals$}")
    };
    // Rounding can leave `-0`.
    if text.parse() == Ok(0.0) {
        "0".into()
    } else {
        trimmed(&text).into()
    }
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}
