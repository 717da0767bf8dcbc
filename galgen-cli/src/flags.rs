//! Flags in words.

use galgen_core::condition::{Condition, Conditions, Flags};

/// Every bit that objects of a model can have, with its meaning.
pub fn meanings(conditions: &Conditions) -> Vec<(u32, String)> {
    let mut all: Vec<(u32, String)> = conditions
        .list
        .iter()
        .enumerate()
        .map(|(i, c)| (i as u32, format!("{} outside {}", c.name, range(c))))
        .collect();
    if !conditions.is_empty() {
        let text = "combination of conditions outside the trained ones";
        all.push((Flags::JOINT_EXTRAPOLATION.trailing_zeros(), text.into()));
    }
    all.push((
        Flags::ROUND.trailing_zeros(),
        "too round to have a position angle".into(),
    ));
    all
}

/// The trained range of a condition, to five digits.
pub fn range(condition: &Condition) -> String {
    let [low, high] = condition.range.map(five_digits);
    format!("{low} to {high}")
}

/// The nearest number of five decimal digits.
pub fn five_digits(value: f64) -> f64 {
    format!("{value:.4e}")
        .parse()
        .expect("a number just formatted")
}

/// Whether an object lies outside what the model was trained on.
pub fn extrapolated(flags: Flags) -> bool {
    flags.0 & !Flags::ROUND != 0
}
