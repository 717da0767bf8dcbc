//! The model that a command uses: a file, or the one within the program.

use crate::failure::Failure;
use galgen_infer::Model;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::sync::Arc;

static DEFAULT: &[u8] = include_bytes!("../../models/default.safetensors");
/// Larger files are not read: no model of any published family comes near.
const MAX_BYTES: u64 = 4 << 30;

/// A loaded model and the SHA-256 of its file in hexadecimal.
pub struct ModelFile {
    pub model: Arc<Model>,
    pub hash: String,
    pub bytes: usize,
}

impl ModelFile {
    /// Loads `path`, or the default model.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Self::load(DEFAULT, "the model within this program"),
            Some(path) => {
                let name = path.display().to_string();
                let bytes = read(path).map_err(|e| Failure::Failed(format!("{name}: {e}")))?;
                Self::load(&bytes, &name)
            }
        }
    }

    fn load(bytes: &[u8], name: &str) -> Result<Self, Failure> {
        let model =
            Model::from_bytes(bytes).map_err(|e| Failure::Failed(format!("{name}: {e}")))?;
        let hash = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Ok(Self {
            model,
            hash,
            bytes: bytes.len(),
        })
    }
}

/// A regular file of sensible size; a device would never end.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let meta = fs::metadata(path).map_err(|e| format!("cannot read: {e}"))?;
    if !meta.is_file() {
        return Err("not a regular file, expected a model (.safetensors)".into());
    }
    if meta.len() > MAX_BYTES {
        let found = meta.len();
        return Err(format!(
            "{found} bytes, expected a model of at most {MAX_BYTES}"
        ));
    }
    fs::read(path).map_err(|e| format!("cannot read: {e}"))
}
