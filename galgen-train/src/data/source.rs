//! Where pictures come from: a folder of JPEG, PNG or FITS files, a FITS cube, or a GalSim
//! `RealGalaxyCatalog`; and a table that adds positions on the sky.

use super::galaxy::Picture;
use super::plane::Plane;
use super::stretch::Stretch;
use galgen_io::fits::{FitsFile, HduSelect};
use galgen_io::table::{ColumnRef, Table, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Smallest and largest side of a picture, in pixels.
const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;
/// A channel at or above this of 255 is at full scale; JPEG moves it by one or two.
const FULL_SCALE: u8 = 253;
/// Rows of a table read at a time.
const ROWS: usize = 4096;

/// Where in a file one picture is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A JPEG or PNG file.
    Display,
    /// The first image of a FITS file.
    FirstImage,
    /// A plane of an HDU of a FITS file, both counted from 0.
    Plane {
        /// The HDU.
        hdu: usize,
        /// The plane.
        plane: usize,
    },
}

/// One picture still to be read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name of the file, or of the galaxy within it.
    pub name: String,
    /// File to read.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// Number in a catalogue, if it has one.
    pub ident: Option<i64>,
    /// Right ascension and declination in degrees, if known.
    pub position: Option<(f64, f64)>,
}

impl Entry {
    /// The catalogue's number, or a non-negative one that depends on the name alone (FNV-1a, 63 bits).
    pub fn id(&self) -> i64 {
        self.ident.unwrap_or_else(|| id_of_name(&self.name))
    }
}

/// The id of a picture that has a name and no number.
pub fn id_of_name(name: &str) -> i64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    (name.bytes().fold(0xcbf2_9ce4_8422_2325, step) >> 1) as i64
}

/// The pictures of a source: a folder, a FITS cube or a `RealGalaxyCatalog`.
pub fn entries(path: &Path) -> Result<Vec<Entry>, String> {
    if path.is_dir() {
        return folder(path);
    }
    let file = FitsFile::open(path).map_err(|e| {
        format!("{e}; expected a folder of pictures, a FITS cube or a RealGalaxyCatalog")
    })?;
    // A stamp file has a table as well, beside its cube: only this column makes a catalogue.
    let catalogue = file.find(HduSelect::FirstTable).is_ok()
        && Table::open(path)
            .and_then(|table| table.find_optional(FILE_COLUMN))
            .map_err(|e| e.to_string())?
            .is_some();
    if catalogue {
        return real_galaxies(path);
    }
    if file.find(HduSelect::FirstImage).is_err() {
        return Err(format!(
            "{}: found neither an image nor a table with the column {FILE_COLUMN}; expected a FITS cube or a RealGalaxyCatalog",
            path.display()
        ));
    }
    cube(path, &file)
}

/// Column of a RealGalaxyCatalog that names the file of a galaxy.
const FILE_COLUMN: &str = "GAL_FILENAME";

/// The pictures of a folder, sorted by name.
fn folder(path: &Path) -> Result<Vec<Entry>, String> {
    let at = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut entries = Vec::new();
    for item in std::fs::read_dir(path).map_err(at)? {
        let path = item.map_err(at)?.path();
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .map(str::to_ascii_lowercase);
        let place = match extension.as_deref() {
            Some("jpg" | "jpeg" | "png") => Place::Display,
            Some("fits" | "fit") => Place::FirstImage,
            _ => continue,
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        entries.push(Entry {
            name,
            path,
            place,
            ident: None,
            position: None,
        });
    }
    if entries.is_empty() {
        return Err(format!(
            "{}: no .jpg, .jpeg, .png, .fits or .fit file in this folder",
            path.display()
        ));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The planes of the first image of a FITS file.
fn cube(path: &Path, file: &FitsFile) -> Result<Vec<Entry>, String> {
    let hdu = file
        .find(HduSelect::FirstImage)
        .map_err(|e| e.to_string())?
        .index;
    let (_, _, planes) = file.image_shape(hdu).map_err(|e| e.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entry = |plane| Entry {
        name: format!("{name}[{plane}]"),
        path: path.to_path_buf(),
        place: Place::Plane { hdu, plane },
        ident: None,
        position: None,
    };
    Ok((0..planes).map(entry).collect())
}

/// The galaxies of a `RealGalaxyCatalog` (GalSim): a table of files and HDUs beside it.
fn real_galaxies(path: &Path) -> Result<Vec<Entry>, String> {
    let names = ["IDENT", FILE_COLUMN, "GAL_HDU", "RA", "DEC"];
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
        let Value::Text(file) = &values[1] else {
            return Err(format!(
                "{}: row {row}: {FILE_COLUMN} is not a text",
                path.display()
            ));
        };
        let (ident, hdu) = (whole(0)?, whole(2)?);
        out.push(Entry {
            name: format!("{file}[{hdu}]"),
            path: folder.join(file),
            place: Place::Plane {
                hdu: hdu as usize,
                plane: 0,
            },
            ident: Some(ident),
            position: values[3].f64().zip(values[4].f64()),
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
        .next_chunk(&columns, ROWS)
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

/// Reads pictures; keeps the last FITS file open, so that the planes of one file read its headers once.
pub struct Reader {
    /// 0, 1, 2 for R, G, B of display pictures.
    pub channel: usize,
    /// Of display pictures; FITS images are taken as linear.
    pub stretch: Stretch,
    open: Option<FitsFile>,
}

impl Reader {
    /// A reader of one channel of pictures with that stretch.
    pub fn new(channel: usize, stretch: Stretch) -> Self {
        Self {
            channel,
            stretch,
            open: None,
        }
    }

    /// Reads one band of a picture, linear in the light. The error says what is wrong with the file.
    pub fn read(&mut self, entry: &Entry) -> Result<Picture, String> {
        match entry.place {
            Place::Display => read_display(&entry.path, self.channel, self.stretch),
            Place::FirstImage => {
                let image = self.file(&entry.path)?;
                let hdu = image
                    .find(HduSelect::FirstImage)
                    .map_err(|e| e.to_string())?
                    .index;
                read_plane(image, hdu, 0)
            }
            Place::Plane { hdu, plane } => read_plane(self.file(&entry.path)?, hdu, plane),
        }
    }

    fn file(&mut self, path: &Path) -> Result<&mut FitsFile, String> {
        let open = match self.open.take() {
            Some(open) if open.path() == path => open,
            _ => FitsFile::open(path).map_err(|e| e.to_string())?,
        };
        Ok(self.open.insert(open))
    }
}

/// An empty square frame for a picture of `w x h` pixels, with the columns and rows to leave free.
fn square(w: usize, h: usize) -> Result<(Picture, usize, usize), String> {
    if !SIDES.contains(&w) || !SIDES.contains(&h) {
        return Err(format!(
            "{w} x {h} pixels, expected {} to {} a side",
            SIDES.start(),
            SIDES.end()
        ));
    }
    let side = w.max(h);
    let picture = Picture {
        plane: Plane {
            width: side,
            height: side,
            pixels: vec![f32::NAN; side * side],
        },
        observed: vec![false; side * side],
        saturated: vec![false; side * side],
    };
    Ok((picture, (side - w) / 2, (side - h) / 2))
}

fn read_plane(file: &mut FitsFile, hdu: usize, plane: usize) -> Result<Picture, String> {
    let (w, h, planes) = file.image_shape(hdu).map_err(|e| e.to_string())?;
    let (mut picture, x0, y0) = square(w, h)?;
    if plane >= planes {
        return Err(format!("plane {plane} asked for, HDU {hdu} has {planes}"));
    }
    let mut values = vec![0.0; w * h];
    file.read_planes(hdu, plane, &mut values)
        .map_err(|e| e.to_string())?;
    for (k, value) in values
        .into_iter()
        .enumerate()
        .filter(|(_, v)| v.is_finite())
    {
        let at = (y0 + k / w) * picture.plane.width + x0 + k % w;
        picture.plane.pixels[at] = value;
        picture.observed[at] = true;
    }
    Ok(picture)
}

/// Reads one band of a colour (or grey) picture, display stretch undone.
///
/// `channel` is 0, 1, 2 for R, G, B. Row 0 is the last row of the file, so that y points up as the
/// picture is seen. The error says what is wrong with the file.
fn read_display(path: &Path, channel: usize, stretch: Stretch) -> Result<Picture, String> {
    let mut reader = image::ImageReader::open(path).map_err(|e| e.to_string())?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) =
        (Some(*SIDES.end() as u32), Some(*SIDES.end() as u32));
    reader.limits(limits);
    let decoded = reader
        .with_guessed_format()
        .map_err(|e| e.to_string())?
        .decode()
        .map_err(|e| e.to_string())?;
    let rgb = decoded.to_rgb8();
    let (w, h) = rgb.dimensions();
    let (w, h) = (w as usize, h as usize);
    let (mut picture, x0, y0) = square(w, h)?;
    let side = picture.plane.width;
    // Light per unit of channel for each sum of the three channels.
    let gain: Vec<f64> = (0..=765)
        .map(|sum| {
            let mean = f64::from(sum) / 765.0;
            if sum == 0 {
                0.0
            } else {
                stretch.undo(mean) / mean / 255.0
            }
        })
        .collect();
    for (x, y, pixel) in rgb.enumerate_pixels() {
        let k = (y0 + h - 1 - y as usize) * side + x0 + x as usize;
        let sum: usize = pixel.0.iter().map(|c| usize::from(*c)).sum();
        picture.plane.pixels[k] = (gain[sum] * f64::from(pixel.0[channel])) as f32;
        picture.observed[k] = true;
        picture.saturated[k] = pixel.0.iter().filter(|c| **c >= FULL_SCALE).count() >= 2
            || pixel.0[channel] >= FULL_SCALE;
    }
    Ok(picture)
}
