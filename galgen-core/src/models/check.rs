//! Checks that several families make.

use crate::spec::{Net, Shape, SpecError, TensorSpec};
use alloc::format;
use alloc::vec::Vec;

/// Most latent dimensions.
const MAX_LATENT: usize = 4096;
/// Smallest and largest positive number of a configuration: their squares neither vanish nor overflow
/// in the f32 of the networks.
const NUMBERS: core::ops::RangeInclusive<f64> = 1e-12..=1e12;

/// The number of latent dimensions.
pub fn latent(found: usize) -> Result<(), SpecError> {
    if (1..=MAX_LATENT).contains(&found) {
        return Ok(());
    }
    let problem = format!("{found} dimensions, expected 1 to {MAX_LATENT}");
    Err(SpecError::new("latent", problem))
}

/// A positive number of the configuration, or 0 where that has a meaning.
pub fn number(name: &str, found: f64, may_be_0: bool) -> Result<(), SpecError> {
    if NUMBERS.contains(&found) || may_be_0 && found == 0.0 {
        return Ok(());
    }
    let problem = format!("{found}, expected a number in {NUMBERS:?}");
    Err(SpecError::new(name, problem))
}

/// The width of the context of a part.
pub fn context(part: &str, found: usize, expected: usize) -> Result<(), SpecError> {
    if found == expected {
        return Ok(());
    }
    let problem = format!("context of {found}, expected {expected}, the width of the conditions");
    Err(SpecError::new(part, problem))
}

/// The ends of a net, and its layers; lists its tensors under `part`.
pub fn net(
    part: &str,
    net: &Net,
    input: Shape,
    output: Shape,
    width: usize,
) -> Result<Vec<TensorSpec>, SpecError> {
    let expect = |what: &str, found: Shape, expected: Shape| {
        if found == expected {
            return Ok(());
        }
        let problem = format!("{what} is {found:?}, expected {expected:?}");
        Err(SpecError::new(part, problem))
    };
    context(part, net.context, width)?;
    expect("input", net.input, input)?;
    let found = net.output().map_err(|e| SpecError {
        layer: format!("{part}.{}", e.layer),
        ..e
    })?;
    expect("output", found, output)?;
    net.tensors(part)
}
