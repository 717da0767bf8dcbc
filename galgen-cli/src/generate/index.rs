//! The stamp file that is written: layout, index table, provenance.

use super::draw::{Galaxy, Output};
use crate::args::GenerateArgs;
use crate::flags;
use crate::model_file::ModelFile;
use galgen_core::condition::Conditions;
use galgen_core::object::SizeDefinition;
use galgen_io::catalog::RowProblem;
use galgen_io::stamps::{CardValue, Cell, CellKind, Column, Provenance, StampLayout};

/// Value of GGFRAME for stamps that `score` can read.
pub const GALAXY_FRAME: &str = "galaxy";
/// Bytes of the column `problem`; longer text is cut.
const PROBLEM: usize = 120;

/// Sides and bands of the stamps, and the columns of the index.
pub fn layout(file: &ModelFile, output: &Output) -> StampLayout {
    let geometry = &file.model.card().geometry;
    let (height, width) = match output {
        Output::Sky | Output::Galaxy => (geometry.side, geometry.side),
        Output::Rendered { renderer, .. } => (renderer.grid().height, renderer.grid().width),
    };
    let columns = columns(&file.model.card().conditions);
    StampLayout {
        bands: geometry.bands.len(),
        height,
        width,
        columns,
    }
}

fn columns(conditions: &Conditions) -> Vec<Column> {
    use CellKind::{F64, I32, I64, Text, U64};
    let mut columns = vec![
        Column::new("id", U64, "", "key of the random numbers"),
        Column::new("row", I64, "", "row of the catalogue, from 0"),
        Column::new("status", I32, "", "0 drawn, 1 failed (blank stamp)"),
        Column::new("flags", I32, "", "bits: cards GGFLAGnn"),
        Column::new("flux", F64, "", "lensed, the catalogue's unit"),
        Column::new("fraction_inside", F64, "", "share of flux in the stamp"),
        Column::new("pixel_scale", F64, "arcsec", "of the stored stamp"),
        Column::new("dudx", F64, "arcsec", "pixel x to sky x"),
        Column::new("dudy", F64, "arcsec", "pixel y to sky x"),
        Column::new("dvdx", F64, "arcsec", "pixel x to sky y"),
        Column::new("dvdy", F64, "arcsec", "pixel y to sky y"),
        Column::new("half_light_radius", F64, "arcsec", "asked, unlensed"),
        Column::new("position_angle", F64, "deg", "asked, from +x to +y"),
        Column::new("g1", F64, "", "asked"),
        Column::new("g2", F64, "", "asked"),
        Column::new("magnification", F64, "", "asked"),
    ];
    for c in &conditions.list {
        columns.push(Column::new(&c.name, F64, &c.unit, "asked"));
    }
    columns.push(Column::new("problem", Text(PROBLEM), "", "why it failed"));
    columns
}

/// The index row of a galaxy.
pub fn drawn_row(galaxy: &Galaxy) -> Vec<Cell> {
    let Galaxy {
        row,
        drawn,
        jacobian,
    } = galaxy;
    let mut cells = vec![
        Cell::U64(row.id),
        Cell::I64(row.row as i64),
        Cell::I32(0),
        Cell::I32(drawn.flags.0 as i32),
        Cell::F64(drawn.flux),
        Cell::F64(drawn.fraction_inside),
        Cell::F64(drawn.pixel_scale),
    ];
    cells.extend(jacobian.map(Cell::F64));
    let asked = [
        row.half_light_radius,
        row.position_angle,
        row.g1,
        row.g2,
        row.magnification,
    ];
    cells.extend(asked.map(Cell::F64));
    cells.extend(row.conditions.iter().map(|&c| Cell::F64(c)));
    cells.push(Cell::Text(String::new()));
    cells
}

/// The index row of a failure: without light, the rest unknown. An id that could not be read is 0.
pub fn failed_row(problem: &RowProblem, conditions: usize) -> Vec<Cell> {
    let mut cells = vec![
        Cell::U64(problem.id.unwrap_or(0)),
        Cell::I64(problem.row as i64),
        Cell::I32(1),
        Cell::I32(0),
        Cell::F64(0.0),
    ];
    cells.extend(std::iter::repeat_n(Cell::F64(f64::NAN), 11 + conditions));
    let RowProblem {
        column,
        value,
        reason,
        ..
    } = problem;
    cells.push(Cell::Text(format!("{column} = {value}: {reason}")));
    cells
}

/// Where the stamps come from. Nothing here depends on threads, time or machine.
pub fn provenance(
    args: &GenerateArgs,
    file: &ModelFile,
    output: &Output,
    size_definition: SizeDefinition,
) -> Provenance {
    let card = file.model.card();
    let text = |s: &str| CardValue::Text(s.into());
    let (frame, pixel_scale) = match output {
        Output::Sky => ("sky", None),
        Output::Galaxy => (GALAXY_FRAME, None),
        Output::Rendered { renderer, .. } => ("rendered", Some(renderer.grid().pixel_scale)),
    };
    let size = match size_definition {
        SizeDefinition::Circular => "circular",
        SizeDefinition::SemiMajor => "semi-major",
    };
    let mut extra = vec![
        (
            "GGFRAME".into(),
            text(frame),
            "sky, galaxy or rendered".into(),
        ),
        (
            "GGSIZE".into(),
            text(size),
            "definition of half_light_radius".into(),
        ),
        (
            "GGPSF".into(),
            text(&card.psf),
            "PSF within the model".into(),
        ),
    ];
    let mut add = |key: &str, value, comment: &str| extra.push((key.into(), value, comment.into()));
    if let Some(zero_point) = args.zero_point {
        add(
            "MAGZERO",
            CardValue::Real(zero_point),
            "AB magnitude of flux 1",
        );
    }
    if let Some(psf) = &args.psf {
        add(
            "GGADDPSF",
            text(&psf.to_string()),
            "PSF of the rendered stamps",
        );
    }
    for (key, value, comment) in [
        (
            "GGNOISE",
            args.noise_sigma,
            "Gaussian noise, flux per pixel",
        ),
        ("GAIN", args.gain, "electrons per unit of flux"),
        ("GGSKYLEV", args.sky_level, "sky in the photon noise"),
    ] {
        if let Some(value) = value {
            add(key, CardValue::Real(value), comment);
        }
    }
    for (bit, meaning) in flags::meanings(&card.conditions) {
        add(&format!("GGFLAG{bit:02}"), text(&meaning), "");
    }
    Provenance {
        origin: format!("galgen {}", env!("CARGO_PKG_VERSION")),
        model: card.name.clone(),
        model_hash: file.hash.clone(),
        seed: Some(args.seed),
        shard: args
            .job
            .zip(args.njobs)
            .map(|(job, njobs)| format!("{job}/{njobs}")),
        numeric_path: None,
        unit: Some("flux".into()),
        pixel_scale,
        extra,
    }
}
