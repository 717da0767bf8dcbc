//! Streaming writer of a stamp file.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fitsio_pure::header::Card;
use fitsio_pure::value::Value;

use super::{INDEX_HDU, Provenance, STAMPS_HDU, StampError};
use crate::atomic::AtomicFile;
use crate::fits::write::{Checksum, card, header_blocks, padding, unsigned_zero};

/// Endings of other kinds of files, under which a FITS file would be taken for one of them.
const OTHER_ENDINGS: [&str; 6] = ["npy", "csv", "png", "safetensors", "html", "json"];

/// Type of a column of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Unsigned 64-bit (TZERO = 2^63).
    U64,
    /// Signed 64-bit.
    I64,
    /// Signed 32-bit.
    I32,
    /// 32-bit real.
    F32,
    /// 64-bit real.
    F64,
    /// ASCII text of at most so many bytes; longer text is cut.
    Text(usize),
}

/// One cell of the index.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// For [`CellKind::U64`].
    U64(u64),
    /// For [`CellKind::I64`].
    I64(i64),
    /// For [`CellKind::I32`].
    I32(i32),
    /// For [`CellKind::F32`].
    F32(f32),
    /// For [`CellKind::F64`].
    F64(f64),
    /// For [`CellKind::Text`].
    Text(String),
}

/// A column of the index.
#[derive(Debug, Clone)]
pub struct Column {
    /// TTYPE.
    pub name: String,
    /// Type of its cells.
    pub kind: CellKind,
    /// TUNIT, empty for none.
    pub unit: String,
    /// Comment of the TTYPE card, empty for none.
    pub comment: String,
}

impl Column {
    /// A column; `unit` and `comment` may be empty.
    pub fn new(name: &str, kind: CellKind, unit: &str, comment: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            unit: unit.into(),
            comment: comment.into(),
        }
    }
}

/// Shape of the stamps and columns of the index.
#[derive(Debug, Clone)]
pub struct StampLayout {
    /// Bands per stamp; 1 gives a cube of three axes.
    pub bands: usize,
    /// Rows of pixels of a stamp.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Columns of the index.
    pub columns: Vec<Column>,
}

/// Writes stamps one by one; the number of them need not be known.
///
/// Memory does not grow with the number of stamps: pixels go to the temporary of the target, rows of
/// the index to a second temporary beside it (the sum of the column widths per stamp), which is
/// appended at the end. An interrupt or an error removes both, and a former file stays.
#[derive(Debug)]
pub struct StampWriter {
    path: PathBuf,
    layout: StampLayout,
    pixel_cards: Vec<Card>,
    file: AtomicFile,
    index: AtomicFile,
    /// Where the header of the cube begins.
    cube_header: u64,
    pixels: Checksum,
    rows: Checksum,
    count: u64,
    bytes: Vec<u8>,
}

impl StampWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`StampError::Layout`] for an empty shape or names that FITS cannot hold,
    /// [`StampError::Write`] when the target cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        layout: StampLayout,
        provenance: &Provenance,
    ) -> Result<Self, StampError> {
        let path = path.as_ref().to_path_buf();
        let refuse = |reason| StampError::Layout {
            path: path.clone(),
            reason,
        };
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if OTHER_ENDINGS.contains(&ending) {
            return Err(refuse(format!(
                "it would be a FITS file under the ending `.{ending}`: choose `.fits`"
            )));
        }
        check_layout(&layout).map_err(refuse)?;
        let provenance_cards = provenance.cards().map_err(refuse)?;
        let mut file = AtomicFile::create(&path)?;
        let mut spool = file.target().as_os_str().to_owned();
        spool.push(".index");
        let index = AtomicFile::create(PathBuf::from(spool))?;
        let primary = header_blocks(&primary_cards(provenance_cards), Checksum::default());
        file.put(&primary)?;
        let mut writer = Self {
            path,
            layout,
            pixel_cards: provenance.pixel_cards(),
            file,
            index,
            cube_header: primary.len() as u64,
            pixels: Checksum::default(),
            rows: Checksum::default(),
            count: 0,
            bytes: Vec::new(),
        };
        let placeholder = header_blocks(&writer.cube_cards(), Checksum::default());
        writer.file.put(&placeholder)?;
        Ok(writer)
    }

    /// Number of stamps written.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of one row of the index: what a stamp costs beside its pixels.
    pub fn row_bytes(&self) -> usize {
        self.layout.columns.iter().map(|c| c.kind.width()).sum()
    }

    /// Appends a stamp (row-major `[bands, height, width]`) and its row of the index.
    ///
    /// # Errors
    /// [`StampError::Write`] on a full disk or the like; then drop the writer.
    ///
    /// # Panics
    /// If the number of pixels, or the number or types of the cells, differ from the layout.
    pub fn push(&mut self, pixels: &[f32], row: &[Cell]) -> Result<(), StampError> {
        let StampLayout {
            bands,
            height,
            width,
            columns,
        } = &self.layout;
        assert_eq!(pixels.len(), bands * height * width, "pixels of a stamp");
        assert_eq!(row.len(), columns.len(), "cells of a row");
        self.bytes.clear();
        self.bytes
            .extend(pixels.iter().flat_map(|p| p.to_be_bytes()));
        self.pixels.add(&self.bytes);
        self.file.put(&self.bytes)?;
        self.bytes.clear();
        for (column, cell) in columns.iter().zip(row) {
            column.encode(cell, &mut self.bytes);
        }
        self.rows.add(&self.bytes);
        self.index.put(&self.bytes)?;
        self.count += 1;
        Ok(())
    }

    /// Completes the headers, appends the index and puts the file in place. Returns the number of
    /// stamps.
    ///
    /// # Errors
    /// [`StampError::Empty`] without stamps, [`StampError::Write`] when the disk is full. The
    /// former file stays.
    pub fn finish(mut self) -> Result<u64, StampError> {
        if self.count == 0 {
            return Err(StampError::Empty { path: self.path });
        }
        let StampLayout {
            bands,
            height,
            width,
            ..
        } = self.layout;
        let pixel_bytes = self.count * (4 * bands * height * width) as u64;
        self.file.put(&padding(pixel_bytes))?;
        let header = header_blocks(&self.cube_cards(), self.pixels);
        self.file.patch(self.cube_header, &header)?;
        let table = header_blocks(&self.index_cards(), self.rows);
        self.file.put(&table)?;
        self.append_index()?;
        self.file
            .put(&padding(self.count * self.row_bytes() as u64))?;
        self.index.abort();
        self.file.commit()?;
        Ok(self.count)
    }

    /// Removes the temporaries; a former file stays. The same as dropping.
    pub fn abort(self) {}

    fn append_index(&mut self) -> Result<(), StampError> {
        let io = |path: &Path, source| StampError::Io {
            path: path.into(),
            source,
        };
        self.index
            .seek(SeekFrom::Start(0))
            .map_err(|e| io(&self.path, e))?;
        self.bytes.resize(1 << 16, 0);
        loop {
            let got = self
                .index
                .read(&mut self.bytes)
                .map_err(|e| io(&self.path, e))?;
            if got == 0 {
                return Ok(());
            }
            self.file.put(&self.bytes[..got])?;
        }
    }

    fn cube_cards(&self) -> Vec<Card> {
        let StampLayout {
            bands,
            height,
            width,
            ..
        } = self.layout;
        let mut axes = vec![(width as u64, "x"), (height as u64, "y")];
        if bands > 1 {
            axes.push((bands as u64, "band"));
        }
        axes.push((self.count, "stamp"));
        let mut cards = vec![
            card("XTENSION", Value::String("IMAGE".into()), "image extension"),
            card("BITPIX", Value::Integer(-32), "float32"),
            card("NAXIS", Value::Integer(axes.len() as i64), ""),
        ];
        for (i, (length, what)) in axes.iter().enumerate() {
            cards.push(card(
                &format!("NAXIS{}", i + 1),
                Value::Integer(*length as i64),
                what,
            ));
        }
        cards.push(card("PCOUNT", Value::Integer(0), ""));
        cards.push(card("GCOUNT", Value::Integer(1), ""));
        cards.push(card("EXTNAME", Value::String(STAMPS_HDU.into()), ""));
        cards.extend(self.pixel_cards.iter().cloned());
        cards
    }

    fn index_cards(&self) -> Vec<Card> {
        let columns = &self.layout.columns;
        let mut cards = vec![
            card("XTENSION", Value::String("BINTABLE".into()), "binary table"),
            card("BITPIX", Value::Integer(8), ""),
            card("NAXIS", Value::Integer(2), ""),
            card(
                "NAXIS1",
                Value::Integer(self.row_bytes() as i64),
                "bytes per row",
            ),
            card(
                "NAXIS2",
                Value::Integer(self.count as i64),
                "one row per stamp",
            ),
            card("PCOUNT", Value::Integer(0), ""),
            card("GCOUNT", Value::Integer(1), ""),
            card("TFIELDS", Value::Integer(columns.len() as i64), ""),
            card("EXTNAME", Value::String(INDEX_HDU.into()), ""),
        ];
        for (i, column) in columns.iter().enumerate() {
            let text = |key: &str, value: &str, comment: &str| {
                card(
                    &format!("{key}{}", i + 1),
                    Value::String(value.into()),
                    comment,
                )
            };
            cards.push(text("TTYPE", &column.name, &column.comment));
            cards.push(text("TFORM", &column.kind.format(), ""));
            if column.kind == CellKind::U64 {
                cards.push(unsigned_zero(i + 1));
            }
            if !column.unit.is_empty() {
                cards.push(text("TUNIT", &column.unit, ""));
            }
        }
        cards
    }
}

impl CellKind {
    fn width(self) -> usize {
        match self {
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::I32 | Self::F32 => 4,
            Self::Text(width) => width,
        }
    }

    /// TFORM.
    fn format(self) -> String {
        match self {
            Self::U64 | Self::I64 => "1K".into(),
            Self::I32 => "1J".into(),
            Self::F32 => "1E".into(),
            Self::F64 => "1D".into(),
            Self::Text(width) => format!("{width}A"),
        }
    }
}

impl Column {
    fn encode(&self, cell: &Cell, out: &mut Vec<u8>) {
        match (self.kind, cell) {
            // Subtracting 2^63 is flipping the top bit.
            (CellKind::U64, Cell::U64(v)) => out.extend((v ^ (1 << 63)).to_be_bytes()),
            (CellKind::I64, Cell::I64(v)) => out.extend(v.to_be_bytes()),
            (CellKind::I32, Cell::I32(v)) => out.extend(v.to_be_bytes()),
            (CellKind::F32, Cell::F32(v)) => out.extend(v.to_be_bytes()),
            (CellKind::F64, Cell::F64(v)) => out.extend(v.to_be_bytes()),
            (CellKind::Text(width), Cell::Text(s)) => {
                let ascii = s.chars().map(|c| {
                    if (' '..='~').contains(&c) {
                        c as u8
                    } else {
                        b'?'
                    }
                });
                out.extend(ascii.chain(std::iter::repeat(0)).take(width));
            }
            (kind, cell) => panic!("column `{}` is {kind:?}, the cell is {cell:?}", self.name),
        }
    }
}

fn primary_cards(provenance: Vec<Card>) -> Vec<Card> {
    let mut cards = vec![
        card("SIMPLE", Value::Logical(true), "FITS standard"),
        card("BITPIX", Value::Integer(8), ""),
        card("NAXIS", Value::Integer(0), "no data here"),
        card(
            "EXTEND",
            Value::Logical(true),
            "stamps and their index follow",
        ),
    ];
    cards.extend(provenance);
    cards
}

fn check_layout(layout: &StampLayout) -> Result<(), String> {
    let StampLayout {
        bands,
        height,
        width,
        columns,
    } = layout;
    if [bands, height, width].contains(&&0) {
        return Err(format!(
            "stamps of shape [{bands}, {height}, {width}] have no pixels"
        ));
    }
    if columns.is_empty() || columns.len() > 999 {
        return Err(format!(
            "{} index columns, FITS allows 1 to 999",
            columns.len()
        ));
    }
    for (i, column) in columns.iter().enumerate() {
        let name = &column.name;
        let printable = name.chars().all(|c| (' '..='~').contains(&c));
        if name.is_empty() || name.len() > 68 || !printable {
            return Err(format!(
                "column name `{name}`: expected 1 to 68 printable ASCII characters"
            ));
        }
        if columns[..i]
            .iter()
            .any(|c| c.name.eq_ignore_ascii_case(name))
        {
            return Err(format!(
                "two columns are named `{name}` (case does not count)"
            ));
        }
    }
    Ok(())
}
