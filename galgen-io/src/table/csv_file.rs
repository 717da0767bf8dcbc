//! Rows of a CSV file: a header line, then one line per row; `#` begins a comment line, fields may
//! be quoted. A header line with tabs and no comma makes it tab-separated.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::{Chunk, ColumnRef, TableError, Value};

#[derive(Debug)]
pub(super) struct CsvTable {
    reader: Reader<File>,
    record: StringRecord,
    pub(super) names: Vec<String>,
    /// Length of the file.
    pub(super) bytes: u64,
    ends_with_newline: bool,
    next_row: u64,
}

impl CsvTable {
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let io = |source| TableError::Io {
            path: path.into(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let ends_with_newline = last_byte(&mut file).map_err(io)? == b'\n';
        let mut reader = ReaderBuilder::new()
            .comment(Some(b'#'))
            .delimiter(delimiter(path).map_err(io)?)
            .trim(Trim::All)
            .flexible(true)
            .from_reader(file);
        let header = reader.headers().map_err(|e| error(path, e))?;
        let names: Vec<String> = header
            .iter()
            .map(|n| n.trim_start_matches('\u{feff}').to_string())
            .collect();
        let bad = |reason: String| TableError::NotTable {
            path: path.into(),
            reason,
        };
        if names.iter().all(String::is_empty) {
            return Err(bad(
                "no header line: the first line must name the columns".into()
            ));
        }
        if names.iter().all(|n| n.parse::<f64>().is_ok()) {
            return Err(bad(format!(
                "the first line holds numbers (`{}`): it must name the columns",
                names.join(",")
            )));
        }
        for (i, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..i].contains(name) {
                return Err(bad(format!("the header names `{name}` twice: rename one")));
            }
        }
        Ok(Self {
            reader,
            record: StringRecord::new(),
            names,
            bytes,
            ends_with_newline,
            next_row: 0,
        })
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Line on which the row read last ends. The record's own position is where the search for it
    /// began, before any comments.
    fn line(&self) -> u64 {
        let after = self.reader.position();
        let unfinished = after.byte() == self.bytes && !self.ends_with_newline;
        after.line() - u64::from(!unfinished)
    }

    pub(super) fn fill(
        &mut self,
        path: &Path,
        columns: &[ColumnRef],
        max_rows: usize,
        chunk: &mut Chunk,
    ) -> Result<(), TableError> {
        chunk.first_row = self.next_row;
        while chunk.rows < max_rows
            && self
                .reader
                .read_record(&mut self.record)
                .map_err(|e| error(path, e))?
        {
            let fields = self.record.len();
            if fields != self.names.len() {
                let reason = format!("{fields} fields, the header has {}", self.names.len());
                chunk.malformed.push((chunk.rows, reason));
            }
            let field = |c: &ColumnRef| {
                self.record
                    .get(c.index)
                    .map_or(Value::Missing, Value::parse)
            };
            chunk.values.extend(columns.iter().map(field));
            chunk.lines.push(self.line());
            chunk.rows += 1;
            self.next_row += 1;
        }
        Ok(())
    }
}

/// The last byte of a file that is not empty; leaves the file at its start.
fn last_byte(file: &mut File) -> std::io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    file.rewind()?;
    Ok(byte[0])
}

/// Comma, or tab if the header line has tabs and no comma.
fn delimiter(path: &Path) -> std::io::Result<u8> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(b',');
        }
        if !line.starts_with(b"#") && !line.trim_ascii().is_empty() {
            let tabs = line.contains(&b'\t') && !line.contains(&b',');
            return Ok(if tabs { b'\t' } else { b',' });
        }
    }
}

fn error(path: &Path, error: csv::Error) -> TableError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        ErrorKind::Io(source) => TableError::Io {
            path: path.into(),
            source,
        },
        ErrorKind::Utf8 { err, .. } => TableError::Csv {
            path: path.into(),
            line,
            reason: format!(
                "field {} is not UTF-8 text: save the file as UTF-8",
                err.field() + 1
            ),
        },
        other => TableError::Csv {
            path: path.into(),
            line,
            reason: format!("{other:?}"),
        },
    }
}
