//! File names with an HDU in brackets, as CFITSIO writes them: `cat.fits[2]`, `cat.fits[GALAXIES]`.

use super::HduSelect;
use std::path::{Path, PathBuf};

/// The file of a name, and the HDU in brackets after it: a number, from 0, or an EXTNAME. A name under which a file exists is
/// taken as it is.
pub fn split_name(name: &Path) -> (PathBuf, Option<HduSelect>) {
    let whole = || (name.to_path_buf(), None);
    let parts = name.to_str().and_then(|text| {
        let (file, hdu) = text.strip_suffix(']')?.rsplit_once('[')?;
        (!file.is_empty() && !hdu.trim().is_empty()).then_some((file, hdu.trim()))
    });
    match parts {
        Some((file, hdu)) if !name.exists() => {
            let select = match hdu.parse() {
                Ok(index) => HduSelect::Index(index),
                Err(_) => HduSelect::Name(hdu.into()),
            };
            (file.into(), Some(select))
        }
        _ => whole(),
    }
}

/// The file of a name, without the HDU in brackets.
pub fn file_of(name: &Path) -> PathBuf {
    split_name(name).0
}
