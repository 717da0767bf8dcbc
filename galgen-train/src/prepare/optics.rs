//! Point-spread function and noise of the pictures, and how they are known.

use super::PrepareArgs;
use crate::data::catalogue::catalogue_noise;
use crate::data::galaxy::{Optics, Picture, blank_sky};
use crate::data::light_noise::{self, LightNoise, Linear};
use crate::data::noise::{Measured, SkyNoise};
use crate::data::plane::Plane;
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
    /// How the noise of the light itself is known; empty if it is not.
    pub light_noise: String,
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
            light_noise: args
                .gain
                .map(|gain| (LightNoise::photons(gain), Linear::Photons)),
        },
        own,
        psf: [psf, args.psf_note.clone()]
            .join("; ")
            .trim_end_matches("; ")
            .into(),
        noise: "white in source pixels, then through each galaxy's map".into(),
        light_noise: String::new(),
    };
    if let Some(gain) = args.gain {
        known.light_noise = format!("photons, {gain} for a unit of light");
    }
    let linear = match args.noise_of_light.as_str() {
        "photons" => Some(Linear::Photons),
        "display" => Some(Linear::Display),
        _ => None,
    };
    if let Some(linear) = linear {
        let psf = known.optics.psf.fwhm();
        let mut measured = light_noise::Measured::new(psf);
        let step = measured.step();
        sample(reader, entries, &known, |picture, light, sigma, blank| {
            measured.add(picture, light, sigma, blank);
        });
        let growth = measured.growth(linear).ok_or(
            "--noise-of-light: no noise that grows with the light was found, or too little blank sky; expected pictures of galaxies on a sky, brighter than its noise; leave the option out if their noise does not grow",
        )?;
        known.light_noise = format!(
            "scatter of fourth differences over {step} source pixels against light: variance grows by {:.3e} I ({}) + {:.3e} I^2",
            growth.linear, args.noise_of_light, growth.square
        );
        known.optics.light_noise = Some((growth, linear));
    }
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
    sample(reader, entries, &known, |_, light, _, blank| {
        measured.add(light, blank)
    });
    if let Some(noise) = measured.noise() {
        known.optics.noise = Arc::new(noise);
        known.noise = format!(
            "mean autocorrelation of the blank sky of {} pictures, in source pixels, then through each galaxy's map",
            measured.pictures()
        );
    }
    Ok(known)
}

/// Hands up to [`SKY_PICTURES`] pictures to `add`: picture, light above the sky, noise of the sky, blank pixels.
fn sample(
    reader: &mut Reader,
    entries: &[Entry],
    known: &Known,
    mut add: impl FnMut(&Picture, &Plane, f64, &[bool]),
) {
    let step = entries.len().div_ceil(SKY_PICTURES).max(1);
    for entry in entries.iter().step_by(step) {
        let (picture, optics) = (reader.read(entry), known.optics_of(reader, entry));
        if let (Ok(picture), Ok(optics)) = (picture, optics)
            && let Ok((light, sigma, blank)) = blank_sky(&picture, &optics.psf)
        {
            add(&picture, &light, sigma, &blank);
        }
    }
}
