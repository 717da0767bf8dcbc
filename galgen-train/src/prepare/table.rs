//! What `prepare` made, as a training set.

use super::PrepareArgs;
use super::optics::Known;
use crate::data::galaxy::{Galaxy, correlation_side};
use crate::data::reason::Reason;
use crate::data::set::{COLUMNS, Description, FORMAT_VERSION, TrainingSet};
use crate::data::source::Entry;
use std::collections::BTreeMap;

/// The accepted galaxies as a training set.
pub fn set(
    args: &PrepareArgs,
    known: Known,
    accepted: Vec<(Entry, Galaxy)>,
    rejected: &BTreeMap<Reason, Vec<Entry>>,
) -> TrainingSet {
    let name = args
        .source
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let description = Description {
        format_version: FORMAT_VERSION,
        side: args.side,
        hlr_px: args.hlr_px,
        band: args.band.clone(),
        source: args.name.clone().unwrap_or(name),
        credit: args.credit.clone(),
        stretch: [args.stretch.to_string(), args.stretch_note.clone()]
            .join("; ")
            .trim_end_matches("; ")
            .into(),
        psf: known.psf,
        noise: [known.noise, known.light_noise]
            .join("; ")
            .trim_end_matches("; ")
            .into(),
        pixel_scale_arcsec: args.pixel_scale,
        accepted: accepted.len(),
        rejected: Reason::ALL
            .iter()
            .map(|r| (r.name().to_string(), rejected.get(r).map_or(0, Vec::len)))
            .collect(),
        options: format!("{:?}", super::limits(args)),
    };
    let scale = args.pixel_scale.map_or(f32::NAN, |s| s as f32);
    let value = |column: &str, entry: &Entry, galaxy: &Galaxy| match column {
        "sky_sigma" => galaxy.sky_sigma,
        "axis_ratio" => galaxy.axis_ratio,
        "concentration" => galaxy.concentration,
        "asymmetry" => galaxy.asymmetry,
        "half_light_radius_px" => galaxy.half_light_radius_px,
        "psf_fwhm_px" => galaxy.psf_fwhm_px,
        "source_half_light_radius_px" => galaxy.source_half_light_radius_px,
        "source_half_light_radius_arcsec" => galaxy.source_half_light_radius_px * scale,
        "source_scale" => galaxy.source_scale,
        "source_x_px" => galaxy.source_centre.0,
        "source_y_px" => galaxy.source_centre.1,
        "source_flux" => galaxy.source_flux,
        "source_position_angle_deg" => galaxy.source_position_angle_deg,
        "signal_to_noise" => galaxy.signal_to_noise,
        "missing_light" => galaxy.missing_light,
        "ra_deg" => entry.position.map_or(f32::NAN, |p| p.0 as f32),
        "dec_deg" => entry.position.map_or(f32::NAN, |p| p.1 as f32),
        _ => unreachable!("COLUMNS names no other quantity"),
    };
    let columns = COLUMNS
        .iter()
        .map(|c| accepted.iter().map(|(e, g)| value(c, e, g)).collect())
        .collect();
    let gather = |part: fn(&Galaxy) -> &[f32]| {
        accepted
            .iter()
            .flat_map(|(_, g)| part(g).iter().copied())
            .collect()
    };
    let variance: Vec<f32> = accepted
        .iter()
        .flat_map(|(_, g)| g.variance.iter().flatten().copied())
        .collect();
    let variance = Some(variance).filter(|v| !v.is_empty());
    TrainingSet {
        description,
        columns,
        id: accepted.iter().map(|(e, _)| e.id()).collect(),
        stamps: gather(|g| &g.stamp),
        psf_side: super::side_of_psf(args),
        psf: gather(|g| &g.psf),
        acf_side: correlation_side(args.side),
        noise_acf: gather(|g| &g.noise_acf),
        variance,
        observed: accepted
            .iter()
            .flat_map(|(_, g)| g.observed.iter().copied())
            .collect(),
    }
}
