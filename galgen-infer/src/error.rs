//! What can be wrong with a model file.

use alloc::string::String;
use alloc::vec::Vec;
use galgen_core::card::{CardError, METADATA_KEY};
use galgen_core::spec::SpecError;

/// Why a model could not be loaded. Every message names the thing, what was found and expected, and
/// what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {path}: {cause}")]
    Io {
        /// As given by the caller.
        path: String,
        /// The operating system's words.
        cause: String,
    },
    /// The bytes end before what the header announces.
    #[error(
        "model file is truncated: found {found} bytes, its header needs at least {expected}; \
         copy or download the file again"
    )]
    Truncated {
        /// Length of the file.
        found: u64,
        /// Least length that the header allows.
        expected: u64,
    },
    /// The header is not that of a safetensors file, or contradicts itself or the file.
    #[error("not a valid safetensors file: {0}; copy or export the file again")]
    Header(String),
    /// A tensor of the specification is not in the file.
    #[error(
        "tensor {tensor} is missing (expected shape {expected:?}); \
         the weights do not belong to this card, export the model again"
    )]
    MissingTensor {
        /// Its name.
        tensor: String,
        /// The shape that the specification gives it.
        expected: Vec<usize>,
    },
    /// A tensor of the file is not in the specification.
    #[error(
        "tensor {tensor} is not part of the model; \
         the weights do not belong to this card, export the model again"
    )]
    ExtraTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape than the specification gives it.
    #[error(
        "tensor {tensor} has shape {found:?}, expected {expected:?}; \
         the weights do not belong to this card, export the model again"
    )]
    TensorShape {
        /// Its name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the specification.
        expected: Vec<usize>,
    },
    /// A tensor is stored as a type that the engine does not read.
    #[error(
        "tensor {tensor} is stored as {found}, expected F32, F16 or BF16; export it as one of these"
    )]
    TensorType {
        /// Its name.
        tensor: String,
        /// Name of the type in the file.
        found: String,
    },
    /// A tensor holds an infinity or not-a-number.
    #[error(
        "tensor {tensor} holds {value} at element {index}, expected finite numbers; \
         the training diverged or the file is damaged"
    )]
    NonFinite {
        /// Its name.
        tensor: String,
        /// First such element, in row-major order.
        index: usize,
        /// What stands there.
        value: f32,
    },
    /// A tensor has values that its meaning excludes.
    #[error("tensor {tensor}: {problem}; export the model again")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// The file has no card.
    #[error(
        "no model card under the metadata key {METADATA_KEY}; it is no model of galgen (FORMAT.md says what one holds)"
    )]
    MissingCard,
    /// The card is of a newer galgen, damaged, or contradicts itself.
    #[error("{0}")]
    Card(#[from] CardError),
    /// The specification contradicts itself.
    #[error("model specification is invalid: {0}; export the model again")]
    Spec(#[from] SpecError),
}
