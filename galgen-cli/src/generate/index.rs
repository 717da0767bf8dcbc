//! The stamp file that is written: layout, index table, provenance.

use super::draw::{Galaxy, Output};
use crate::args::GenerateArgs;
use crate::flags;
use crate::model_file::ModelFile;
use galgen_core::condition::{Condition, Conditions};
use galgen_core::object::SizeDefinition;
use galgen_io::catalog::RowProblem;
use galgen_io::stamps::{CardValue, Cell, CellKind, Column, Provenance, StampLayout};

/// Value of GGFRAME for stamps that `score` can read.
pub const GALAXY_FRAME: &str = "galaxy";
/// Bytes of the column `problem`; longer text is cut.
pub const PROBLEM: usize = 120;

/// Sides and bands of the stamps, and the columns of the index.
pub fn layout(file: &ModelFile, output: &Output) -> StampLayout {
    let geometry = &file.model.card().geometry;
    let (height, width) = match output {
        Output::Sky | Output::Galaxy | Output::Image(_) => (geometry.side, geometry.side),
        Output::Rendered { renderer, .. } => (renderer.grid().height, renderer.grid().width),
    };
    let image = matches!(output, Output::Image(_));
    let mut columns = columns(&file.model.card().conditions, image);
    if geometry.is_columns() {
        let drawn = |name: &String| Column::new(name, CellKind::F32, "", "drawn");
        columns.extend(geometry.bands.iter().map(drawn));
    }
    StampLayout {
        bands: geometry.bands.len(),
        height,
        width,
        columns,
    }
}

/// Columns of the index; those of `galaxies` are left out for images.
fn columns(conditions: &Conditions, image: bool) -> Vec<Column> {
    use CellKind::{F64, I32, I64, Text, U64};
    let mut columns = vec![
        Column::new("id", U64, "", "key of the random numbers"),
        Column::new("row", I64, "", "row of the catalogue, from 0"),
        Column::new("status", I32, "", "0 drawn, 1 failed (blank stamp)"),
        Column::new("flags", I32, "", "bits: cards GGFLAGnn"),
    ];
    let galaxies = [
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
    if !image {
        columns.extend(galaxies);
    }
    columns.extend(conditions.list.iter().map(condition_column));
    columns.push(Column::new("problem", Text(PROBLEM), "", "why it failed"));
    columns
}

/// The column of a condition.
pub fn condition_column(condition: &Condition) -> Column {
    let longest = condition.classes.iter().map(String::len).max();
    let kind = longest.map_or(CellKind::F64, CellKind::Text);
    Column::new(&condition.name, kind, &condition.unit, "asked")
}

/// The cell of a condition: a number, or the name of the class.
pub fn condition_cell(condition: &Condition, value: f64) -> Cell {
    if condition.classes.is_empty() {
        return Cell::F64(value);
    }
    let position = (value >= 0.0).then_some(value as usize);
    let class = position.and_then(|p| condition.classes.get(p));
    Cell::Text(class.cloned().unwrap_or_default())
}

/// The index row of a galaxy, or of an image.
pub fn drawn_row(galaxy: &Galaxy, conditions: &Conditions, image: bool) -> Vec<Cell> {
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
    ];
    let light = [drawn.flux, drawn.fraction_inside, drawn.pixel_scale];
    let asked = [
        row.half_light_radius,
        row.position_angle,
        row.g1,
        row.g2,
        row.magnification,
    ];
    if !image {
        let numbers = light.into_iter().chain(*jacobian).chain(asked);
        cells.extend(numbers.map(Cell::F64));
    }
    let values = conditions.list.iter().zip(&row.conditions);
    cells.extend(values.map(|(c, &value)| condition_cell(c, value)));
    cells.push(Cell::Text(String::new()));
    cells
}

/// The index row of a failure: without light, the rest unknown. An id that could not be read is 0.
pub fn failed_row(problem: &RowProblem, conditions: &Conditions, image: bool) -> Vec<Cell> {
    let mut cells = vec![
        Cell::U64(problem.id.unwrap_or(0)),
        Cell::I64(problem.row as i64),
        Cell::I32(1),
        Cell::I32(0),
    ];
    if !image {
        cells.push(Cell::F64(0.0));
        cells.extend(std::iter::repeat_n(Cell::F64(f64::NAN), 11));
    }
    let unknown = |c: &Condition| condition_cell(c, f64::NAN);
    cells.extend(conditions.list.iter().map(unknown));
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
        Output::Image(_) => ("image", None),
    };
    let size = match size_definition {
        SizeDefinition::Circular => "circular",
        SizeDefinition::SemiMajor => "semi-major",
    };
    let mut extra = vec![
        (
            "GGFRAME".into(),
            text(frame),
            "sky, galaxy, rendered or image".into(),
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
        unit: (!matches!(output, Output::Image(_))).then(|| "flux".into()),
        pixel_scale,
        extra,
    }
}
