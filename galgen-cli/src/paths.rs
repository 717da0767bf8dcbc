//! Files that a command reads and writes are different ones.

use crate::args::StampArgs;
use crate::failure::Failure;
use galgen_io::fits::file_of;
use std::path::{Path, PathBuf};

/// Two roles for one file would destroy one of them. Files that are not named are left out.
pub fn distinct<'a>(
    inputs: impl IntoIterator<Item = Option<&'a PathBuf>>,
    outputs: impl IntoIterator<Item = Option<&'a PathBuf>>,
) -> Result<(), Failure> {
    let mut seen: Vec<PathBuf> = inputs.into_iter().flatten().map(|p| real(p)).collect();
    for output in outputs.into_iter().flatten() {
        let place = real(output);
        if seen.contains(&place) {
            let name = output.display();
            return Err(Failure::Usage(format!(
                "{name} is named twice: choose another output file"
            )));
        }
        seen.push(place);
    }
    Ok(())
}

/// The same for work on stamps, with the inputs that all such commands have and `more`.
pub fn distinct_stamps<'a>(
    args: &'a StampArgs,
    more: Option<&'a PathBuf>,
    outputs: impl IntoIterator<Item = Option<&'a PathBuf>>,
) -> Result<(), Failure> {
    let own = [args.model.as_ref(), args.labels.as_ref(), args.psf.as_ref()];
    distinct(own.into_iter().chain([Some(&args.stamps), more]), outputs)
}

/// The same for every way to write a path, whether the file is there or not.
fn real(path: &Path) -> PathBuf {
    let path = &file_of(path);
    let beside = || {
        let folder = match path.parent()? {
            folder if folder.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    let there = path.canonicalize().ok();
    there.or_else(beside).unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_under_two_names_is_found() {
        let [a, same, b] =
            ["not-there.fits[2]", "./not-there.fits", "other.fits"].map(PathBuf::from);
        assert!(distinct([Some(&a), None], [Some(&b)]).is_ok());
        for (inputs, outputs) in [
            ([Some(&a)], [Some(&same), None]),
            ([None], [Some(&a), Some(&same)]),
        ] {
            let problem = distinct(inputs, outputs).unwrap_err().to_string();
            assert!(
                problem.contains("./not-there.fits is named twice"),
                "{problem}"
            );
        }
    }
}
