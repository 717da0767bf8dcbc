//! Rows of a FITS binary table (FITS standard 4.0, section 7.3).

use std::path::Path;

use fitsio_pure::bintable::{BinaryColumnType as Type, binary_type_byte_size, parse_tform_binary};

use super::{Chunk, ColumnRef, TableError, Value};
use crate::fits::{FitsError, FitsFile, Hdu, HduKind, HduSelect};

/// Bytes of rows read at a time (at least one row).
const READ_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Column {
    kind: Type,
    repeat: usize,
    /// Byte in the row.
    offset: usize,
    /// TSCAL and TZERO where they are not 1 and 0.
    scale: f64,
    zero: f64,
    null: Option<i64>,
}

#[derive(Debug)]
pub(super) struct FitsTable {
    file: FitsFile,
    hdu: usize,
    row_bytes: u64,
    columns: Vec<Column>,
    pub(super) names: Vec<String>,
    pub(super) rows: u64,
    pub(super) next_row: u64,
    /// Bytes of the rows read last.
    buffer: Vec<u8>,
}

impl FitsTable {
    pub(super) fn open(path: &Path, select: HduSelect) -> Result<Self, TableError> {
        let file = FitsFile::open(path)?;
        let hdu = file.find(select)?;
        let HduKind::Table { row_bytes, rows } = hdu.kind else {
            return Err(TableError::NotTable {
                path: path.into(),
                reason: format!(
                    "HDU {} is not a binary table; the file has: {}",
                    hdu.label(),
                    file.list()
                ),
            });
        };
        let (names, columns) = columns(path, hdu, row_bytes)?;
        let hdu = hdu.index;
        // A row of no bytes would let a header claim any number of rows.
        let rows = if row_bytes == 0 { 0 } else { rows };
        Ok(Self {
            file,
            hdu,
            row_bytes,
            columns,
            names,
            rows,
            next_row: 0,
            buffer: Vec::new(),
        })
    }

    pub(super) fn unit(&self, column: usize) -> &str {
        let header = &self.file.hdus()[self.hdu].header;
        header
            .str(&format!("TUNIT{}", column + 1))
            .unwrap_or("")
            .trim()
    }

    /// Why a column cannot be used: what it holds, and what to do.
    pub(super) fn check(&self, at: ColumnRef, indexed: bool) -> Option<(String, String)> {
        let column = &self.columns[at.index];
        let name = &self.names[at.index];
        match column.kind {
            Type::Bit | Type::ComplexFloat | Type::ComplexDouble => Some((
                "bits or complex numbers".into(),
                "choose a numeric column".into(),
            )),
            Type::VarArrayP(_) | Type::VarArrayQ(_) => Some((
                "arrays of variable length".into(),
                "choose a scalar column".into(),
            )),
            Type::Ascii if indexed => Some(("text".into(), "drop the index".into())),
            Type::Ascii => None,
            _ if indexed && at.element >= column.repeat => Some((
                format!("{} values per row", column.repeat),
                format!("the last is `{name}[{}]`", column.repeat.saturating_sub(1)),
            )),
            _ if !indexed && column.repeat != 1 => Some((
                format!("{} values per row", column.repeat),
                format!("name one of them, `{name}[0]` the first"),
            )),
            _ => None,
        }
    }

    pub(super) fn fill(
        &mut self,
        columns: &[ColumnRef],
        max_rows: usize,
        chunk: &mut Chunk,
    ) -> Result<(), TableError> {
        chunk.first_row = self.next_row;
        let wanted = (self.rows - self.next_row).min(max_rows as u64);
        chunk.values.reserve(wanted as usize * columns.len());
        let mut left = wanted;
        while left > 0 {
            let now = left.min((READ_BYTES / self.row_bytes).max(1));
            self.buffer.resize((now * self.row_bytes) as usize, 0);
            self.file
                .read_bytes(self.hdu, self.next_row * self.row_bytes, &mut self.buffer)?;
            for row in self.buffer.chunks_exact(self.row_bytes as usize) {
                let cells = columns
                    .iter()
                    .map(|c| self.columns[c.index].cell(row, c.element));
                chunk.values.extend(cells);
            }
            self.next_row += now;
            left -= now;
        }
        chunk.rows = wanted as usize;
        Ok(())
    }
}

impl Column {
    fn cell(&self, row: &[u8], element: usize) -> Value {
        let size = binary_type_byte_size(&self.kind);
        let at = &row[self.offset + element * size..];
        match self.kind {
            Type::Byte => self.integer(at[0].into()),
            Type::Short => self.integer(i16::from_be_bytes(take(at)).into()),
            Type::Int => self.integer(i32::from_be_bytes(take(at)).into()),
            Type::Long => self.integer(i64::from_be_bytes(take(at))),
            Type::Float => self.real(f32::from_be_bytes(take(at)).into()),
            Type::Double => self.real(f64::from_be_bytes(take(at))),
            Type::Logical => match at[0] {
                b'T' => Value::Int(1),
                b'F' => Value::Int(0),
                _ => Value::Missing,
            },
            Type::Ascii => text(&at[..self.repeat]),
            // Refused by `check`.
            Type::Bit | Type::ComplexFloat | Type::ComplexDouble => Value::Missing,
            Type::VarArrayP(_) | Type::VarArrayQ(_) => Value::Missing,
        }
    }

    /// Whole when the offset is: unsigned columns are stored with TZERO 2^15, 2^31 or 2^63.
    fn integer(&self, raw: i64) -> Value {
        if self.null == Some(raw) {
            return Value::Missing;
        }
        if self.scale == 1.0 && self.zero.fract() == 0.0 && self.zero.abs() < 1e30 {
            return Value::Int(i128::from(raw) + self.zero as i128);
        }
        Value::Real(self.zero + self.scale * raw as f64)
    }

    fn real(&self, raw: f64) -> Value {
        Value::Real(self.zero + self.scale * raw)
    }
}

fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("column lies inside the row")
}

/// Text ends at the first NUL; blanks at the ends mean nothing.
fn text(bytes: &[u8]) -> Value {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    match String::from_utf8_lossy(&bytes[..end]).trim() {
        "" => Value::Missing,
        s => Value::Text(s.into()),
    }
}

fn columns(
    path: &Path,
    hdu: &Hdu,
    row_bytes: u64,
) -> Result<(Vec<String>, Vec<Column>), TableError> {
    let bad = |reason| FitsError::Header {
        path: path.into(),
        hdu: hdu.label(),
        reason,
    };
    let header = &hdu.header;
    let count = header.i64("TFIELDS").filter(|n| (0..=999).contains(n));
    let count = count.ok_or_else(|| bad("TFIELDS is missing or not in 0 to 999".into()))?;
    let (mut names, mut columns, mut offset) = (Vec::new(), Vec::new(), 0u64);
    for i in 1..=count {
        let form = header.str(&format!("TFORM{i}")).unwrap_or("").trim();
        // The parser slices by bytes: other text than ASCII would panic there.
        let parsed = form
            .is_ascii()
            .then(|| parse_tform_binary(form).ok())
            .flatten();
        let (repeat, kind) =
            parsed.ok_or_else(|| bad(format!("TFORM{i} = `{form}` is no format")))?;
        let width = match kind {
            Type::Bit => repeat.div_ceil(8) as u64,
            _ => (repeat as u64).saturating_mul(binary_type_byte_size(&kind) as u64),
        };
        let end = offset.saturating_add(width);
        if end > row_bytes {
            return Err(bad(format!(
                "TFORM{i} = `{form}` ends past the row of {row_bytes} bytes"
            ))
            .into());
        }
        columns.push(Column {
            kind,
            repeat,
            offset: offset as usize,
            scale: header.f64(&format!("TSCAL{i}")).unwrap_or(1.0),
            zero: header.f64(&format!("TZERO{i}")).unwrap_or(0.0),
            null: header.i64(&format!("TNULL{i}")),
        });
        let name = header.str(&format!("TTYPE{i}")).unwrap_or("").trim();
        names.push(if name.is_empty() {
            format!("col{i}")
        } else {
            name.to_string()
        });
        offset = end;
    }
    if offset != row_bytes {
        return Err(bad(format!(
            "the columns take {offset} bytes, NAXIS1 = {row_bytes}"
        ))
        .into());
    }
    Ok((names, columns))
}
