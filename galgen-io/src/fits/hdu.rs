//! Finding the HDUs of a file: headers read, sizes checked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use fitsio_pure::header::{Card, parse_header_blocks};

use super::{BLOCK, FitsError, Header};

/// Longest header read, in blocks (36 cards each). Real headers have tens to hundreds of cards;
/// the limit keeps a file without END from being read whole.
const MAX_HEADER_BLOCKS: usize = 2000;
/// Most axes that the standard allows.
const MAX_AXES: u64 = 999;

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
    pub(super) data_len: u64,
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
    pub(super) fn describe(&self) -> String {
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
        text.parse()
            .map_or_else(|_| Self::Name(text.into()), Self::Index)
    }
}

/// Cards of the header at `start` and its length in bytes; `None` past the last HDU.
pub(super) fn read_header(
    file: &mut File,
    path: &Path,
    start: u64,
    len: u64,
    index: usize,
) -> Result<Option<(Vec<Card>, u64)>, FitsError> {
    let io = |source| FitsError::Io {
        path: path.into(),
        source,
    };
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
        if bytes[from..]
            .chunks(80)
            .any(|card| card == format!("{:<80}", "END").as_bytes())
        {
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
    Err(FitsError::NotFits {
        path: path.into(),
        found,
        advice,
    })
}

/// The HDU of these cards, if its data fit in the file.
pub(super) fn build_hdu(
    path: &Path,
    index: usize,
    cards: Vec<Card>,
    data_start: u64,
    file_len: u64,
) -> Result<Hdu, FitsError> {
    let header = Header::new(cards);
    let name = header.str("EXTNAME").unwrap_or("").trim().to_string();
    let bad = |reason| FitsError::Header {
        path: path.into(),
        hdu: label(index, &name),
        reason,
    };
    let non_negative = |key: &str| match header.i64(key) {
        Some(v) if v >= 0 => Ok(v as u64),
        Some(v) => Err(bad(format!("{key} = {v}, expected 0 or more"))),
        None => Err(bad(format!("{key} is missing or not an integer"))),
    };
    let bitpix = header.i64("BITPIX").unwrap_or(0);
    if ![8, 16, 32, 64, -32, -64].contains(&bitpix) {
        return Err(bad(format!(
            "BITPIX = {bitpix}, expected 8, 16, 32, 64, -32 or -64"
        )));
    }
    let naxis = non_negative("NAXIS")?;
    if naxis > MAX_AXES {
        return Err(bad(format!("NAXIS = {naxis}, expected 0 to {MAX_AXES}")));
    }
    let axes = (1..=naxis)
        .map(|i| non_negative(&format!("NAXIS{i}")))
        .collect::<Result<Vec<_>, _>>()?;
    let groups = index == 0 && header.bool("GROUPS") == Some(true) && axes.first() == Some(&0);
    let shape = if groups { &axes[1..] } else { &axes[..] };
    let optional = |key: &str, default| {
        if header.has(key) {
            non_negative(key)
        } else {
            Ok(default)
        }
    };
    // An image with PCOUNT or GCOUNT in its primary header means nothing by them.
    let (pcount, gcount) = if groups || index > 0 {
        (optional("PCOUNT", 0)?, optional("GCOUNT", 1)?)
    } else {
        (0, 1)
    };
    let pixels = if axes.is_empty() {
        Some(0)
    } else {
        checked_product(shape)
    };
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
        Some("BINTABLE") if axes.len() == 2 && bitpix == 8 => HduKind::Table {
            row_bytes: axes[0],
            rows: axes[1],
        },
        Some(other) => HduKind::Other(format!("extension of type {other}")),
    };
    Ok(Hdu {
        index,
        name,
        header,
        kind,
        data_start,
        data_len,
    })
}

fn checked_product(axes: &[u64]) -> Option<u64> {
    axes.iter().try_fold(1u64, |p, &a| p.checked_mul(a))
}
