//! Point-spread function and noise of the pictures, and how they are known.

use super::PrepareArgs;
use crate::data::catalogue::catalogue_noise;
use crate::data::galaxy::{Optics, blank_sky};
use crate::data::noise::{Measured, SkyNoise};
use crate::data::psf::{Psf, SEEING_BETA};
use crate::data::source::{Entry, Reader};
use std::sync::Arc;

/// Pictures on whose blank sky the noise is measured.
const SKY_PICTURES: usize = 200;

/// What lies between light and picture, with words for the set's description.
pub struct Known {
    /// For pictures without a point-spread function of their own.
    optics: Optics,
    /// Whether those with one keep it.
    own: bool,
    /// Where the point-spread functions come from.
    pub psf: String,
    /// Where the noise's autocorrelation comes from.
    pub noise: String,
}

impl Known {
    /// Optics of one picture.
    pub fn optics_of(&self, reader: &mut Reader, entry: &Entry) -> Result<Optics, String> {
        let own = if self.own { reader.psf(entry)? } else { None };
        Ok(Optics {
            psf: own.unwrap_or_else(|| self.optics.psf.clone()),
            ..self.optics.clone()
        })
    }
}

/// The point-spread function that the options describe, if they do.
pub fn given(args: &PrepareArgs) -> Option<Arc<Psf>> {
    let psf = || match args.psf_profile.as_str() {
        "gaussian" => Psf::gaussian(args.psf_fwhm),
        _ => Psf::moffat(args.psf_fwhm, SEEING_BETA),
    };
    (args.psf_fwhm > 0.0).then(|| Arc::new(psf()))
}

/// Puts together what options, source and pictures tell; `stars` were found in images of the sky.
pub fn known(
    args: &PrepareArgs,
    reader: &mut Reader,
    entries: &[Entry],
    stars: usize,
) -> Result<Known, String> {
    let given = given(args);
    let own = given.is_none() && entries.iter().any(|e| e.psf.is_some());
    let psf = match (&given, &args.psf_file) {
        (Some(_), _) if args.psf_profile == "gaussian" => {
            format!("Gaussian, FWHM {} source pixels", args.psf_fwhm)
        }
        (Some(_), _) => format!(
            "Moffat, exponent {SEEING_BETA}, FWHM {} source pixels",
            args.psf_fwhm
        ),
        (None, Some(_)) => "images that came with the pictures".into(),
        (None, None) if args.sky_images => {
            format!("median image of the stars of each image of the sky, {stars} in all")
        }
        (None, None) if own => "images of the catalogue, one for each galaxy".into(),
        (None, None) => "not known: the kernel of the resampling alone".into(),
    };
    let mut known = Known {
        optics: Optics {
            psf: given.unwrap_or_else(|| Arc::new(Psf::point())),
            noise: Arc::new(SkyNoise::white()),
            sigma: args.noise_sigma,
            gain: args.gain,
        },
        own,
        psf: [psf, args.psf_note.clone()]
            .join("; ")
            .trim_end_matches("; ")
            .into(),
        noise: "white in source pixels, then through each galaxy's map".into(),
    };
    if args.noise == "white" {
        return Ok(known);
    }
    if args.noise == "own"
        && !args.source.is_dir()
        && let Some((noise, name)) = catalogue_noise(&args.source)?
    {
        known.optics.noise = Arc::new(noise);
        known.noise = format!("the catalogue's {name}, through each galaxy's map");
        return Ok(known);
    }
    let mut measured = Measured::default();
    let step = entries.len().div_ceil(SKY_PICTURES).max(1);
    for entry in entries.iter().step_by(step) {
        let (picture, optics) = (reader.read(entry), known.optics_of(reader, entry));
        if let (Ok(picture), Ok(optics)) = (picture, optics)
            && let Ok((light, blank)) = blank_sky(&picture, &optics.psf)
        {
            measured.add(&light, &blank);
        }
    }
    if let Some(noise) = measured.noise() {
        known.optics.noise = Arc::new(noise);
        known.noise = format!(
            "mean autocorrelation of the blank sky of {} pictures, in source pixels, then through each galaxy's map",
            measured.pictures()
        );
    }
    Ok(known)
}
