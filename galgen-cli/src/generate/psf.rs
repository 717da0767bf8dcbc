//! The point-spread function of the command line: a profile, or an image file.

use crate::failure::Failure;
use galgen_infer::render::{Psf, PsfCentre};
use galgen_io::fits::read_named_image;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What `--psf` asks for. Lengths in arcsec.
#[derive(Clone, Debug, PartialEq)]
pub enum PsfArg {
    Gaussian {
        fwhm: f64,
    },
    Moffat {
        fwhm: f64,
        beta: f64,
    },
    /// Without a scale, that of the header's PIXSCALE.
    Image {
        path: PathBuf,
        pixel_scale: Option<f64>,
    },
}

impl FromStr for PsfArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |s: &str| match s.trim().parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(format!("`{s}` is not a number")),
        };
        if let Some(fwhm) = text.strip_prefix("gaussian:") {
            return Ok(Self::Gaussian {
                fwhm: number(fwhm)?,
            });
        }
        if let Some(both) = text.strip_prefix("moffat:") {
            let (fwhm, beta) = both.split_once(',').ok_or("expected moffat:FWHM,BETA")?;
            return Ok(Self::Moffat {
                fwhm: number(fwhm)?,
                beta: number(beta)?,
            });
        }
        if text.is_empty() || ["gaussian", "moffat"].contains(&text) {
            return Err("expected gaussian:FWHM, moffat:FWHM,BETA or FILE.fits[,SCALE]".into());
        }
        // A comma may also belong to the name of the file.
        let parts = text
            .rsplit_once(',')
            .and_then(|(path, s)| Some((path, number(s).ok()?)));
        let (path, pixel_scale) = parts.map_or((text, None), |(path, scale)| (path, Some(scale)));
        Ok(Self::Image {
            path: path.into(),
            pixel_scale,
        })
    }
}

impl fmt::Display for PsfArg {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gaussian { fwhm } => write!(f, "gaussian:{fwhm}"),
            Self::Moffat { fwhm, beta } => write!(f, "moffat:{fwhm},{beta}"),
            Self::Image { path, pixel_scale } => {
                write!(f, "{}", path.display())?;
                pixel_scale.map_or(Ok(()), |scale| write!(f, ",{scale}"))
            }
        }
    }
}

impl PsfArg {
    /// The profile, or the image read from its file.
    pub fn load(&self) -> Result<Psf, Failure> {
        match self {
            Self::Gaussian { fwhm } => Ok(Psf::gaussian(*fwhm)?),
            Self::Moffat { fwhm, beta } => Ok(Psf::moffat(*fwhm, *beta)?),
            Self::Image { path, pixel_scale } => {
                image(path, *pixel_scale).map_err(|e| Failure::Failed(format!("PSF {e}")))
            }
        }
    }
}

/// The first image of a FITS file, or that in brackets; errors name the file.
fn image(path: &Path, pixel_scale: Option<f64>) -> Result<Psf, String> {
    let name = path.display();
    let image = read_named_image(path).map_err(|e| e.to_string())?;
    if image.planes != 1 {
        return Err(format!(
            "{name}: {} planes, expected one image",
            image.planes
        ));
    }
    let scale = pixel_scale.or_else(|| image.header.f64("PIXSCALE")).ok_or_else(|| {
        format!("{name}: no PIXSCALE in the header: give the scale as `--psf {name},ARCSEC_PER_PIXEL`")
    })?;
    Psf::image(
        &image.data,
        image.width,
        image.height,
        scale,
        PsfCentre::Geometric,
    )
    .map_err(|e| format!("{name}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let image = |path: &str, pixel_scale| PsfArg::Image {
            path: path.into(),
            pixel_scale,
        };
        for (text, expected) in [
            ("gaussian:0.7", PsfArg::Gaussian { fwhm: 0.7 }),
            (
                "moffat:0.7,3.5",
                PsfArg::Moffat {
                    fwhm: 0.7,
                    beta: 3.5,
                },
            ),
            ("psf.fits", image("psf.fits", None)),
            ("psf.fits,0.05", image("psf.fits", Some(0.05))),
            ("a,b.fits", image("a,b.fits", None)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["gaussian:x", "gaussian:nan", "moffat:1", "moffat", ""] {
            assert!(text.parse::<PsfArg>().is_err(), "{text}");
        }
    }
}
