//! Where pictures come from: a folder of JPEG, PNG or FITS files, a FITS cube, a GalSim `RealGalaxyCatalog`
//! ([`catalogue`](super::catalogue)) or images of the sky ([`frame`]); and their point-spread functions.

use super::catalogue::{FILE_COLUMN, real_galaxies};
use super::frame;
use super::galaxy::Picture;
use super::plane::Plane;
use super::psf::Psf;
use super::stretch::Stretch;
use crate::digest;
use galgen_io::fits::{FitsFile, HduSelect};
use galgen_io::table::Table;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Smallest and largest side of a picture, in pixels.
const SIDES: std::ops::RangeInclusive<usize> = 16..=4096;
/// A channel at or above this of 255 is at full scale; JPEG moves it by one or two.
const FULL_SCALE: u8 = 253;

/// Images of the sky kept in memory, the last ones used: unpacking one takes a second.
const SKIES: usize = 8;

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
    /// A square cut out of an image of the sky.
    Cut {
        /// Column of its middle.
        x: usize,
        /// Row of its middle.
        y: usize,
        /// Pixels on each side of the middle.
        half: usize,
    },
}

/// Where the point-spread function of a picture is.
#[derive(Clone, Debug)]
pub enum PsfAt {
    /// A plane of an HDU of a FITS file, both counted from 0.
    Plane {
        /// The file.
        path: PathBuf,
        /// The HDU.
        hdu: usize,
        /// The plane.
        plane: usize,
    },
    /// Measured already.
    Known(Arc<Psf>),
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
    /// Its own point-spread function, if the source has one.
    pub psf: Option<PsfAt>,
}

impl Entry {
    /// The catalogue's number, or a non-negative one that depends on the name alone (FNV-1a, 63 bits).
    pub fn id(&self) -> i64 {
        self.ident.unwrap_or_else(|| id_of_name(&self.name))
    }
}

/// The id of a picture that has a name and no number.
pub fn id_of_name(name: &str) -> i64 {
    (digest::of_bytes(name.as_bytes()) >> 1) as i64
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
            psf: None,
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
        psf: None,
    };
    Ok((0..planes).map(entry).collect())
}

/// Gives every picture its point-spread function from a FITS file: a plane each, or one plane for all.
pub fn add_psfs(entries: &mut [Entry], path: &Path) -> Result<(), String> {
    let file = FitsFile::open(path).map_err(|e| e.to_string())?;
    let image = file
        .find(HduSelect::FirstImage)
        .map_err(|e| e.to_string())?;
    let hdu = image.index;
    let (_, _, planes) = file.image_shape(hdu).map_err(|e| e.to_string())?;
    if planes != 1 && planes != entries.len() {
        return Err(format!(
            "{}: {planes} point-spread functions found for {} pictures, expected one or one each",
            path.display(),
            entries.len()
        ));
    }
    for (i, entry) in entries.iter_mut().enumerate() {
        let path = path.to_path_buf();
        let plane = if planes == 1 { 0 } else { i };
        entry.psf = Some(PsfAt::Plane { path, hdu, plane });
    }
    Ok(())
}

/// The galaxies of images of the sky: of one FITS file (or `.fits.bz2`), or of every one in a folder.
///
/// Each image's point-spread function is measured on its own stars unless `psf` is given. The number of stars
/// goes with the entries.
pub fn sky_images(path: &Path, psf: Option<&Arc<Psf>>) -> Result<(Vec<Entry>, usize), String> {
    let files = if path.is_dir() {
        frame::files(path)?
    } else {
        vec![path.to_path_buf()]
    };
    let (mut entries, mut stars) = (Vec::new(), 0);
    for path in files {
        let named = |e: String| format!("{}: {e}", path.display());
        let found = frame::search(&frame::read(&path).map_err(named)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let psf = match psf {
            Some(psf) => psf.clone(),
            None => {
                let (psf, count) = found.psf.map_err(named)?;
                stars += count;
                Arc::new(psf)
            }
        };
        entries.extend(found.cuts.into_iter().map(|(x, y, half)| Entry {
            name: format!("{name}[{x},{y}]"),
            path: path.clone(),
            place: Place::Cut { x, y, half },
            ident: None,
            position: None,
            psf: Some(PsfAt::Known(psf.clone())),
        }));
    }
    Ok((entries, stars))
}

/// Reads pictures; keeps the last FITS file open, so that the planes of one file read its headers once.
pub struct Reader {
    /// 0, 1, 2 for R, G, B of display pictures.
    pub channel: usize,
    /// Of display pictures; FITS images are taken as linear.
    pub stretch: Stretch,
    open: Option<FitsFile>,
    open_psf: Option<FitsFile>,
    sky: Vec<(PathBuf, Plane)>,
}

impl Reader {
    /// A reader of one channel of pictures with that stretch.
    pub fn new(channel: usize, stretch: Stretch) -> Self {
        Self {
            channel,
            stretch,
            open: None,
            open_psf: None,
            sky: Vec::new(),
        }
    }

    /// The picture's own point-spread function, if it has one. The error says what is wrong with it.
    pub fn psf(&mut self, entry: &Entry) -> Result<Option<Arc<Psf>>, String> {
        match &entry.psf {
            None => Ok(None),
            Some(PsfAt::Known(psf)) => Ok(Some(psf.clone())),
            Some(PsfAt::Plane { path, hdu, plane }) => {
                let file = open(&mut self.open_psf, path)?;
                let (w, h, pixels) = plane_of(file, *hdu, *plane)?;
                let psf = Psf::image(w, h, &pixels)
                    .map_err(|e| format!("{} plane {plane}: {e}", path.display()))?;
                Ok(Some(Arc::new(psf)))
            }
        }
    }

    /// Reads one band of a picture, linear in the light. The error says what is wrong with the file.
    pub fn read(&mut self, entry: &Entry) -> Result<Picture, String> {
        match entry.place {
            Place::Display => read_display(&entry.path, self.channel, self.stretch),
            Place::FirstImage => {
                let image = open(&mut self.open, &entry.path)?;
                let hdu = image
                    .find(HduSelect::FirstImage)
                    .map_err(|e| e.to_string())?
                    .index;
                let (_, _, planes) = image.image_shape(hdu).map_err(|e| e.to_string())?;
                if planes != 1 {
                    return Err(format!(
                        "{planes} planes, expected the one of a band: write a file for each galaxy with that band alone"
                    ));
                }
                read_plane(image, hdu, 0)
            }
            Place::Plane { hdu, plane } => {
                read_plane(open(&mut self.open, &entry.path)?, hdu, plane)
            }
            Place::Cut { x, y, half } => {
                let kept = self.sky.iter().position(|s| s.0 == entry.path);
                let sky = match kept {
                    Some(at) => self.sky.remove(at),
                    None => (entry.path.clone(), frame::read(&entry.path)?),
                };
                self.sky.insert(0, sky);
                self.sky.truncate(SKIES);
                cut(&self.sky[0].1, (x, y), half)
            }
        }
    }
}

/// The file at `path`, opened if it is not the one kept.
fn open<'a>(kept: &'a mut Option<FitsFile>, path: &Path) -> Result<&'a mut FitsFile, String> {
    let file = match kept.take() {
        Some(file) if file.path() == path => file,
        _ => FitsFile::open(path).map_err(|e| e.to_string())?,
    };
    Ok(kept.insert(file))
}

/// A square around a point of an image; nothing was observed beyond the image.
fn cut(sky: &Plane, (x, y): (usize, usize), half: usize) -> Result<Picture, String> {
    let side = 2 * half + 1;
    let (mut picture, _, _) = square(side, side)?;
    for (k, (i, j)) in picture.plane.positions().enumerate() {
        let (i, j) = ((x + i).wrapping_sub(half), (y + j).wrapping_sub(half));
        if i < sky.width && j < sky.height && sky.pixels[j * sky.width + i].is_finite() {
            picture.plane.pixels[k] = sky.pixels[j * sky.width + i];
            picture.observed[k] = true;
        }
    }
    Ok(picture)
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

/// Width, height and pixels of a plane.
fn plane_of(
    file: &mut FitsFile,
    hdu: usize,
    plane: usize,
) -> Result<(usize, usize, Vec<f32>), String> {
    let (w, h, planes) = file.image_shape(hdu).map_err(|e| e.to_string())?;
    if plane >= planes {
        return Err(format!("plane {plane} asked for, HDU {hdu} has {planes}"));
    }
    let mut values = vec![0.0; w * h];
    file.read_planes(hdu, plane, &mut values)
        .map_err(|e| e.to_string())?;
    Ok((w, h, values))
}

fn read_plane(file: &mut FitsFile, hdu: usize, plane: usize) -> Result<Picture, String> {
    let (w, h, _) = file.image_shape(hdu).map_err(|e| e.to_string())?;
    let (mut picture, x0, y0) = square(w, h)?;
    let (_, _, values) = plane_of(file, hdu, plane)?;
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
