//! The evaluation in a model file's card.

use galgen_core::card::{Card, METADATA_KEY};
use galgen_infer::Model;
use galgen_io::atomic::write_atomic;
use serde_json::Value;
use std::path::Path;

/// Bytes of the header length at the start of a safetensors file.
const PREFIX: usize = 8;
/// The header is padded with spaces to a multiple of this, so that the tensors are aligned.
const ALIGNMENT: usize = 8;

/// Replaces the card's `evaluation` in the model file at `path`, keeping what stands under the keys `kept` if the new
/// one does not have them. The file is replaced whole or not at all; the bytes of its tensors stay as they are.
pub fn write(path: &Path, evaluation: &Value, kept: &[&str]) -> Result<(), String> {
    let fail = |problem: String| format!("{}: {problem}", path.display());
    let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let changed = with_evaluation(&bytes, evaluation, kept).map_err(fail)?;
    write_atomic(path, &changed).map_err(|e| e.to_string())
}

/// The file with another evaluation in its card. Refused unless the engine reads the result.
pub fn with_evaluation(bytes: &[u8], evaluation: &Value, kept: &[&str]) -> Result<Vec<u8>, String> {
    let (mut header, tensors) = split(bytes)?;
    let text = header["__metadata__"][METADATA_KEY]
        .as_str()
        .ok_or_else(|| format!("its metadata has no `{METADATA_KEY}`: not a galgen model"))?;
    let (mut card, _) = Card::parse(text).map_err(|e| e.to_string())?;
    let mut evaluation = evaluation.clone();
    for key in kept {
        let old = card.evaluation.get(key).cloned();
        if let (Some(old), Value::Object(new)) = (old, &mut evaluation) {
            new.entry(*key).or_insert(old);
        }
    }
    card.evaluation = evaluation;
    header["__metadata__"][METADATA_KEY] = Value::String(card.to_json());

    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let length = (header.len() as u64).to_le_bytes();
    let changed = [&length[..], &header, tensors].concat();
    Model::from_bytes(&changed).map_err(|e| format!("the engine refuses the changed card: {e}"))?;
    Ok(changed)
}

/// Header and tensors of a safetensors file.
fn split(bytes: &[u8]) -> Result<(Value, &[u8]), String> {
    let bad = || "not a safetensors file".to_string();
    let (length, rest) = bytes.split_first_chunk::<PREFIX>().ok_or_else(bad)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| bad())?;
    let (header, tensors) = rest.split_at_checked(length).ok_or_else(bad)?;
    let header = serde_json::from_slice(header).map_err(|e| format!("{} ({e})", bad()))?;
    Ok((header, tensors))
}
