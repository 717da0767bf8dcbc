//! Walking the HDUs of a file and reading images as f32.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::hdu::{build_hdu, read_header};
use super::{BLOCK, FitsError, Hdu, HduKind, HduSelect, Header, split_name};

/// Bytes converted at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// An image or cube: row-major `[planes, height, width]`, BSCALE and BZERO applied, BLANK as NaN.
#[derive(Debug, Clone)]
pub struct Image {
    /// NAXIS1.
    pub width: usize,
    /// NAXIS2.
    pub height: usize,
    /// Product of the further axes; 1 for a plain image.
    pub planes: usize,
    /// `planes * height * width` values.
    pub data: Vec<f32>,
    /// Header of the HDU.
    pub header: Header,
}

impl Image {
    /// One plane, `[height, width]`.
    pub fn plane(&self, index: usize) -> &[f32] {
        let size = self.width * self.height;
        &self.data[index * size..(index + 1) * size]
    }
}

/// An open FITS file whose headers have been read and whose declared sizes fit in the file.
#[derive(Debug)]
pub struct FitsFile {
    path: PathBuf,
    file: File,
    hdus: Vec<Hdu>,
}

impl FitsFile {
    /// Reads all headers. Bytes after the last HDU that do not begin an extension are ignored, as
    /// the standard asks.
    ///
    /// # Errors
    /// [`FitsError`] when the file cannot be read, is not FITS, or a header is damaged or declares
    /// more data than the file holds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FitsError> {
        let path = path.as_ref().to_path_buf();
        let io = |source| FitsError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut hdus: Vec<Hdu> = Vec::new();
        let mut start = 0u64;
        while let Some(cards) = read_header(&mut file, &path, start, len, hdus.len())? {
            let data_start = start + cards.1;
            let hdu = build_hdu(&path, hdus.len(), cards.0, data_start, len)?;
            start = data_start + hdu.data_len.next_multiple_of(BLOCK);
            hdus.push(hdu);
        }
        Ok(Self { path, file, hdus })
    }

    /// Path given to [`FitsFile::open`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All HDUs in file order.
    pub fn hdus(&self) -> &[Hdu] {
        &self.hdus
    }

    /// The selected HDU.
    ///
    /// # Errors
    /// [`FitsError::NoHdu`], listing those that exist.
    pub fn find(&self, select: impl Into<HduSelect>) -> Result<&Hdu, FitsError> {
        let select = select.into();
        let found = match &select {
            HduSelect::FirstImage => self.hdus.iter().find(
                |h| matches!(&h.kind, HduKind::Image { axes, .. } if axes.iter().all(|&a| a > 0)),
            ),
            HduSelect::FirstTable => self
                .hdus
                .iter()
                .find(|h| matches!(h.kind, HduKind::Table { .. })),
            HduSelect::Index(i) => self.hdus.get(*i),
            HduSelect::Name(name) => self.hdus.iter().find(|h| h.name.eq_ignore_ascii_case(name)),
        };
        found.ok_or_else(|| FitsError::NoHdu {
            path: self.path.clone(),
            asked: match select {
                HduSelect::FirstImage => "with an image".into(),
                HduSelect::FirstTable => "with a binary table".into(),
                HduSelect::Index(i) => i.to_string(),
                HduSelect::Name(name) => format!("`{name}`"),
            },
            present: self.list(),
        })
    }

    /// The HDUs as text: `0: no data, 1 (STAMPS): image 64 x 64 x 100 (BITPIX -32)`.
    pub fn list(&self) -> String {
        const SHOWN: usize = 20;
        let mut parts: Vec<_> = self
            .hdus
            .iter()
            .take(SHOWN)
            .map(|h| format!("{}: {}", h.label(), h.kind.describe()))
            .collect();
        if self.hdus.len() > SHOWN {
            parts.push(format!("... {} in all", self.hdus.len()));
        }
        parts.join(", ")
    }

    /// Reads a whole image or cube.
    ///
    /// # Errors
    /// [`FitsError::NoHdu`] or [`FitsError::WrongKind`] when there is no such image,
    /// [`FitsError::Io`] when reading fails.
    pub fn read_image(&mut self, select: impl Into<HduSelect>) -> Result<Image, FitsError> {
        let index = self.find(select)?.index;
        let (width, height, planes) = self.image_shape(index)?;
        // Every pixel is at least one byte of the file, so this is at most four times its length.
        let mut data = vec![0.0; width * height * planes];
        self.read_planes(index, 0, &mut data)?;
        Ok(Image {
            width,
            height,
            planes,
            data,
            header: self.hdus[index].header.clone(),
        })
    }

    /// `(width, height, planes)` of an image HDU of two or more axes.
    ///
    /// # Errors
    /// [`FitsError::WrongKind`] if it is not one.
    pub fn image_shape(&self, index: usize) -> Result<(usize, usize, usize), FitsError> {
        let hdu = self.find(index)?;
        match &hdu.kind {
            HduKind::Image { axes, .. } if axes.len() >= 2 && axes.iter().all(|&a| a > 0) => {
                let planes: u64 = axes[2..].iter().product();
                Ok((axes[0] as usize, axes[1] as usize, planes as usize))
            }
            other => Err(FitsError::WrongKind {
                path: self.path.clone(),
                hdu: hdu.label(),
                expected: "an image of two axes or a cube of three",
                found: other.describe(),
            }),
        }
    }

    /// Fills `out` with whole planes from `first` on: `out.len()` must be a multiple of
    /// `width * height` and the planes must exist. This is how a large cube is streamed.
    ///
    /// # Errors
    /// [`FitsError::WrongKind`] if the HDU is not an image, [`FitsError::Io`] when reading fails.
    ///
    /// # Panics
    /// If `out` reaches past the last plane.
    pub fn read_planes(
        &mut self,
        index: usize,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), FitsError> {
        let (width, height, planes) = self.image_shape(index)?;
        let hdu = &self.hdus[index];
        let HduKind::Image { bitpix, .. } = hdu.kind else {
            unreachable!("shape checked")
        };
        let total = width * height * planes;
        let skip = first * width * height;
        assert!(skip + out.len() <= total, "planes past the end of the cube");
        let size = bitpix.unsigned_abs() as usize / 8;
        let scale = Scale {
            bscale: hdu.header.f64("BSCALE").unwrap_or(1.0),
            bzero: hdu.header.f64("BZERO").unwrap_or(0.0),
            blank: hdu.header.i64("BLANK"),
        };
        let start = hdu.data_start + (skip * size) as u64;
        let mut bytes = vec![0u8; CHUNK_BYTES.min(out.len() * size)];
        let io = |source| FitsError::Io {
            path: self.path.clone(),
            source,
        };
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        for values in out.chunks_mut(CHUNK_BYTES / size) {
            let raw = &mut bytes[..values.len() * size];
            self.file.read_exact(raw).map_err(io)?;
            decode(bitpix, raw, values, &scale);
        }
        Ok(())
    }

    /// Bytes of the data of an HDU from `offset` on, for the table reader.
    pub(crate) fn read_bytes(
        &mut self,
        index: usize,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), FitsError> {
        let start = self.hdus[index].data_start + offset;
        let io = |source| FitsError::Io {
            path: self.path.clone(),
            source,
        };
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        self.file.read_exact(out).map_err(io)
    }
}

/// Reads the first image or cube of a file, or the HDU in brackets after its name, see [`split_name`].
///
/// # Errors
/// As [`FitsFile::open`] and [`FitsFile::read_image`].
pub fn read_named_image(name: impl AsRef<Path>) -> Result<Image, FitsError> {
    let (path, hdu) = split_name(name.as_ref());
    read_image(path, hdu.unwrap_or(HduSelect::FirstImage))
}

/// Reads one image or cube of a file; `hdu` is an index, a name, or [`HduSelect::FirstImage`].
///
/// # Errors
/// As [`FitsFile::open`] and [`FitsFile::read_image`].
pub fn read_image(path: impl AsRef<Path>, hdu: impl Into<HduSelect>) -> Result<Image, FitsError> {
    FitsFile::open(path)?.read_image(hdu)
}

struct Scale {
    bscale: f64,
    bzero: f64,
    blank: Option<i64>,
}

impl Scale {
    fn integer(&self, raw: i64) -> f32 {
        if self.blank == Some(raw) {
            return f32::NAN;
        }
        (self.bzero + self.bscale * raw as f64) as f32
    }

    fn real(&self, raw: f64) -> f32 {
        (self.bzero + self.bscale * raw) as f32
    }
}

fn decode(bitpix: i64, raw: &[u8], out: &mut [f32], scale: &Scale) {
    fn each<const N: usize>(raw: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
        for (bytes, value) in raw.as_chunks::<N>().0.iter().zip(out) {
            *value = f(*bytes);
        }
    }
    match bitpix {
        8 => each::<1>(raw, out, |b| scale.integer(b[0].into())),
        16 => each(raw, out, |b| scale.integer(i16::from_be_bytes(b).into())),
        32 => each(raw, out, |b| scale.integer(i32::from_be_bytes(b).into())),
        64 => each(raw, out, |b| scale.integer(i64::from_be_bytes(b))),
        -32 => each(raw, out, |b| scale.real(f32::from_be_bytes(b).into())),
        _ => each(raw, out, |b| scale.real(f64::from_be_bytes(b))),
    }
}
