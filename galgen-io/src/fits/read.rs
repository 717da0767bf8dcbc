//! Walking the HDUs of a file and reading images as f32.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fitsio_pure::header::{Card, parse_header_blocks};

use super::{BLOCK, FitsError, Header};

/// Longest header read, in blocks (36 cards each). Real headers have tens to hundreds of cards;
/// the limit keeps a file without END from being read whole.
const MAX_HEADER_BLOCKS: usize = 2000;
/// The standard allows 999 axes; more than this many is a damaged header for every use here.
const MAX_AXES: i64 = 999;
/// Bytes converted at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Kind and shape of the data of an HDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HduKind {
    /// Header only.
    Empty,
    /// Image with BITPIX and axes in FITS order (NAXIS1, the fastest, first).
    Image {
        /// 8, 16, 32, 64, -32 or -64.
        bitpix: i64,
        /// Axis lengths.
        axes: Vec<u64>,
    },
    /// Binary table.
    Table {
        /// Bytes per row.
        row_bytes: u64,
        /// Number of rows.
        rows: u64,
    },
    /// Anything else (ASCII table, random groups, tile-compressed image), named.
    Other(String),
}

/// One HDU: its header, and where its data lie.
#[derive(Debug, Clone)]
pub struct Hdu {
    /// 0 is the primary HDU.
    pub index: usize,
    /// EXTNAME, empty if absent.
    pub name: String,
    /// All cards.
    pub header: Header,
    /// Kind and shape.
    pub kind: HduKind,
    pub(crate) data_start: u64,
    data_len: u64,
}

impl Hdu {
    /// Index and name for messages: `1 (STAMPS)`.
    pub fn label(&self) -> String {
        label(self.index, &self.name)
    }
}

fn label(index: usize, name: &str) -> String {
    if name.is_empty() {
        index.to_string()
    } else {
        format!("{index} ({name})")
    }
}

impl HduKind {
    fn describe(&self) -> String {
        match self {
            Self::Empty => "no data".into(),
            Self::Image { bitpix, axes } => {
                let axes: Vec<_> = axes.iter().map(u64::to_string).collect();
                format!("image {} (BITPIX {bitpix})", axes.join(" x "))
            }
            Self::Table { rows, .. } => format!("table of {rows} rows"),
            Self::Other(what) => what.clone(),
        }
    }
}

/// Which HDU is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HduSelect {
    /// The first image that has pixels.
    FirstImage,
    /// The first binary table.
    FirstTable,
    /// By position, 0 = primary.
    Index(usize),
    /// By EXTNAME, without regard to case.
    Name(String),
}

impl From<usize> for HduSelect {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl From<&str> for HduSelect {
    /// A number is a position, anything else a name.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.into()), Self::Index)
    }
}

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
        let io = |source| FitsError::Io { path: path.clone(), source };
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
            HduSelect::FirstTable => {
                self.hdus.iter().find(|h| matches!(h.kind, HduKind::Table { .. }))
            }
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
        Ok(Image { width, height, planes, data, header: self.hdus[index].header.clone() })
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
        let HduKind::Image { bitpix, .. } = hdu.kind else { unreachable!("shape checked") };
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
        let io = |source| FitsError::Io { path: self.path.clone(), source };
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
        let io = |source| FitsError::Io { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        self.file.read_exact(out).map_err(io)
    }
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

/// Cards of the header at `start` and its length in bytes; `None` past the last HDU.
fn read_header(
    file: &mut File,
    path: &Path,
    start: u64,
    len: u64,
    index: usize,
) -> Result<Option<(Vec<Card>, u64)>, FitsError> {
    let io = |source| FitsError::Io { path: path.into(), source };
    let bad = |reason: &str| FitsError::Header {
        path: path.into(),
        hdu: index.to_string(),
        reason: reason.into(),
    };
    file.seek(SeekFrom::Start(start)).map_err(io)?;
    let mut bytes = Vec::new();
    for block in 0..MAX_HEADER_BLOCKS {
        let left = len.saturating_sub(start + bytes.len() as u64).min(BLOCK) as usize;
        let from = bytes.len();
        bytes.resize(from + left, 0);
        file.read_exact(&mut bytes[from..]).map_err(io)?;
        if block == 0 && !begins_hdu(path, &bytes, index)? {
            return Ok(None);
        }
        if left < BLOCK as usize {
            return Err(bad("the file ends before the END card"));
        }
        if bytes[from..].chunks(80).any(|card| card == format!("{:<80}", "END").as_bytes()) {
            let length = bytes.len() as u64;
            let cards = parse_header_blocks(&bytes).map_err(|e| bad(&e.to_string()))?;
            return Ok(Some((cards, length)));
        }
    }
    Err(bad("no END card within 72,000 cards"))
}

/// Whether the block begins an HDU; an error if the first one does not.
fn begins_hdu(path: &Path, block: &[u8], index: usize) -> Result<bool, FitsError> {
    if index > 0 {
        return Ok(block.starts_with(b"XTENSION"));
    }
    if block.starts_with(b"SIMPLE  =") {
        return Ok(true);
    }
    let (found, advice) = match block {
        [] => ("an empty file".into(), "write it again"),
        [0x1f, 0x8b, ..] => ("gzip-compressed data".into(), "unpack it with gunzip"),
        [b'B', b'Z', b'h', ..] => ("bzip2-compressed data".into(), "unpack it with bunzip2"),
        other => (
            format!("`{}`", other[..other.len().min(9)].escape_ascii()),
            "give a FITS file",
        ),
    };
    Err(FitsError::NotFits { path: path.into(), found, advice })
}

fn build_hdu(
    path: &Path,
    index: usize,
    cards: Vec<Card>,
    data_start: u64,
    file_len: u64,
) -> Result<Hdu, FitsError> {
    let header = Header::new(cards);
    let name = header.str("EXTNAME").unwrap_or("").trim().to_string();
    let bad = |reason| FitsError::Header { path: path.into(), hdu: label(index, &name), reason };
    let non_negative = |key: &str| match header.i64(key) {
        Some(v) if v >= 0 => Ok(v as u64),
        Some(v) => Err(bad(format!("{key} = {v}, expected 0 or more"))),
        None => Err(bad(format!("{key} is missing or not an integer"))),
    };
    let bitpix = header.i64("BITPIX").unwrap_or(0);
    if ![8, 16, 32, 64, -32, -64].contains(&bitpix) {
        return Err(bad(format!("BITPIX = {bitpix}, expected 8, 16, 32, 64, -32 or -64")));
    }
    let naxis = non_negative("NAXIS")?;
    if naxis > MAX_AXES as u64 {
        return Err(bad(format!("NAXIS = {naxis}, expected 0 to {MAX_AXES}")));
    }
    let axes =
        (1..=naxis).map(|i| non_negative(&format!("NAXIS{i}"))).collect::<Result<Vec<_>, _>>()?;
    let groups = index == 0 && header.bool("GROUPS") == Some(true) && axes.first() == Some(&0);
    let shape = if groups { &axes[1..] } else { &axes[..] };
    let optional = |key: &str, default| if header.has(key) { non_negative(key) } else { Ok(default) };
    // An image with PCOUNT or GCOUNT in its primary header means nothing by them.
    let (pcount, gcount) = if groups || index > 0 {
        (optional("PCOUNT", 0)?, optional("GCOUNT", 1)?)
    } else {
        (0, 1)
    };
    let pixels = if axes.is_empty() { Some(0) } else { checked_product(shape) };
    let data_len = pixels
        .and_then(|p| p.checked_add(pcount))
        .and_then(|p| p.checked_mul(gcount))
        .and_then(|p| p.checked_mul(bitpix.unsigned_abs() / 8))
        .ok_or_else(|| bad(format!("the axes {axes:?} overflow 64 bits")))?;
    let available = file_len.saturating_sub(data_start);
    if data_len > available {
        return Err(FitsError::Truncated {
            path: path.into(),
            hdu: label(index, &name),
            declared: data_len,
            available,
        });
    }
    let kind = match header.str("XTENSION").map(str::trim) {
        _ if groups => HduKind::Other("random groups".into()),
        _ if axes.is_empty() => HduKind::Empty,
        None | Some("IMAGE") => HduKind::Image { bitpix, axes },
        Some("BINTABLE") if header.bool("ZIMAGE") == Some(true) => {
            HduKind::Other("tile-compressed image (unpack it with funpack)".into())
        }
        Some("BINTABLE") if axes.len() == 2 && bitpix == 8 => {
            HduKind::Table { row_bytes: axes[0], rows: axes[1] }
        }
        Some(other) => HduKind::Other(format!("extension of type {other}")),
    };
    Ok(Hdu { index, name, header, kind, data_start, data_len })
}

fn checked_product(axes: &[u64]) -> Option<u64> {
    axes.iter().try_fold(1u64, |p, &a| p.checked_mul(a))
}
