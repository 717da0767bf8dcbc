//! Tables that go with pictures: a GalSim `RealGalaxyCatalog`, and positions on the sky.

use super::noise::SkyNoise;
use super::source::{Entry, Place, PsfAt};
use galgen_io::fits::{HduSelect, read_image};
use galgen_io::table::{ColumnRef, Table, Value};
use std::collections::HashMap;
use std::path::Path;

/// Rows of a table read at a time.
const ROWS: usize = 4096;
/// Column of a RealGalaxyCatalog that names the file of a galaxy.
pub const FILE_COLUMN: &str = "GAL_FILENAME";

/// The noise correlation function that a `RealGalaxyCatalog` names in its first row, and the name; `None` for
/// any other source.
pub fn catalogue_noise(path: &Path) -> Result<Option<(SkyNoise, String)>, String> {
    const COLUMN: &str = "NOISE_FILENAME";
    let Ok(table) = Table::open(path) else {
        return Ok(None);
    };
    if !matches!(table.find_optional(COLUMN), Ok(Some(_))) {
        return Ok(None);
    }
    let mut name = None;
    each_row(path, &[COLUMN], |_, values| {
        if let (Value::Text(text), None) = (&values[0], &name) {
            name = Some(text.clone());
        }
        Ok(())
    })?;
    let Some(name) = name else {
        return Ok(None);
    };
    let file = path.parent().unwrap_or(Path::new(".")).join(&name);
    let image = read_image(&file, HduSelect::FirstImage).map_err(|e| e.to_string())?;
    if image.width != image.height {
        return Err(format!(
            "{}: {} x {} pixels, expected a square noise correlation function",
            file.display(),
            image.width,
            image.height
        ));
    }
    let noise = SkyNoise::image(image.width, image.plane(0))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Some((noise, name)))
}

/// The galaxies of a `RealGalaxyCatalog` (GalSim): a table of files and HDUs beside it.
pub fn real_galaxies(path: &Path) -> Result<Vec<Entry>, String> {
    let names = [
        "IDENT",
        FILE_COLUMN,
        "GAL_HDU",
        "RA",
        "DEC",
        "PSF_FILENAME",
        "PSF_HDU",
    ];
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut out = Vec::new();
    each_row(path, &names, |row, values| {
        let whole = |column: usize| {
            values[column].i64().filter(|v| *v >= 0).ok_or_else(|| {
                format!(
                    "{}: row {row}: {} is not a non-negative whole number",
                    path.display(),
                    names[column]
                )
            })
        };
        let text = |column: usize| match &values[column] {
            Value::Text(text) => Ok(text),
            _ => Err(format!(
                "{}: row {row}: {} is not a text",
                path.display(),
                names[column]
            )),
        };
        let (file, ident, hdu) = (text(1)?, whole(0)?, whole(2)?);
        out.push(Entry {
            name: format!("{file}[{hdu}]"),
            path: folder.join(file),
            place: Place::Plane {
                hdu: hdu as usize,
                plane: 0,
            },
            ident: Some(ident),
            position: values[3].f64().zip(values[4].f64()),
            psf: Some(PsfAt::Plane {
                path: folder.join(text(5)?),
                hdu: whole(6)? as usize,
                plane: 0,
            }),
        });
        Ok(())
    })?;
    Ok(out)
}

/// Calls `each(row from 1, values of the named columns)` for every row of a CSV or FITS table.
fn each_row(
    path: &Path,
    names: &[&str],
    mut each: impl FnMut(usize, &[Value]) -> Result<(), String>,
) -> Result<(), String> {
    let mut table = Table::open(path).map_err(|e| e.to_string())?;
    let columns = names
        .iter()
        .map(|n| table.find(n))
        .collect::<Result<Vec<ColumnRef>, _>>();
    let columns = columns.map_err(|e| e.to_string())?;
    let mut row = 0;
    while let Some(chunk) = table
        .next_whole(&columns, ROWS)
        .map_err(|e| e.to_string())?
    {
        for index in 0..chunk.rows {
            row += 1;
            each(row, chunk.row(index))?;
        }
    }
    if row == 0 {
        return Err(format!("{}: the table has no rows", path.display()));
    }
    Ok(())
}

/// Columns of a table that goes with a folder.
#[derive(Clone, Debug)]
pub struct TableColumns<'a> {
    /// File name.
    pub file: &'a str,
    /// Right ascension in degrees.
    pub ra: &'a str,
    /// Declination in degrees.
    pub dec: &'a str,
}

/// Adds sky positions from a CSV or FITS table. Returns how many entries the table does not name.
pub fn add_positions(
    entries: &mut [Entry],
    table: &Path,
    columns: &TableColumns<'_>,
) -> Result<usize, String> {
    let names = [columns.file, columns.ra, columns.dec];
    let mut positions = HashMap::new();
    each_row(table, &names, |row, values| {
        let number = |column: usize, lo: f64, hi: f64| {
            values[column]
                .f64()
                .filter(|v| (lo..=hi).contains(v))
                .ok_or_else(|| {
                    let name = names[column];
                    format!(
                        "{}: row {row}: {name} is not a number within {lo} to {hi}",
                        table.display()
                    )
                })
        };
        let Value::Text(file) = &values[0] else {
            return Err(format!(
                "{}: row {row}: {} is not a file name",
                table.display(),
                names[0]
            ));
        };
        positions.insert(
            file.clone(),
            (number(1, 0.0, 360.0)?, number(2, -90.0, 90.0)?),
        );
        Ok(())
    })?;
    for entry in entries.iter_mut() {
        entry.position = positions.get(&entry.name).copied();
    }
    Ok(entries.iter().filter(|e| e.position.is_none()).count())
}
