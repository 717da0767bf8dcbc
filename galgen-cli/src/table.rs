//! A table of stamps as a file: CSV, or a FITS binary table with checksums. It is held in memory until all is
//! there: some 50 bytes and 8 per column for each stamp.

use crate::failure::Failure;
use crate::flags;
use crate::model_file::ModelFile;
use fitsio_pure::header::Card;
use fitsio_pure::value::Value;
use galgen_core::condition::{Condition, Flags};
use galgen_io::fits::{hdu, unsigned_zero};
use std::path::Path;

/// Bytes of the column `problem` in FITS; longer text is cut.
const PROBLEM: usize = 120;

/// Format of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Fits,
}

impl Format {
    /// The format that the name of a file asks for.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "fits" | "fit" => Ok(Self::Fits),
            _ => {
                let name = path.display();
                Err(Failure::Usage(format!(
                    "--out {name}: expected a name that ends in .csv or .fits"
                )))
            }
        }
    }
}

/// A column of numbers, or of classes.
pub struct Column {
    pub name: String,
    pub unit: &'static str,
    /// Names of the classes whose positions the values are; empty for numbers.
    pub classes: Vec<String>,
}

impl Column {
    /// A column of numbers.
    pub fn number(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            classes: Vec::new(),
        }
    }

    /// The column of a condition.
    pub fn condition(condition: &Condition) -> Self {
        Self {
            name: condition.name.clone(),
            unit: "",
            classes: condition.classes.clone(),
        }
    }

    fn class(&self, value: f64) -> &str {
        let position = (value >= 0.0).then_some(value as usize);
        let class = position.and_then(|p| self.classes.get(p));
        class.map_or("", String::as_str)
    }

    /// Bytes of the longest class.
    fn width(&self) -> usize {
        self.classes.iter().map(String::len).max().unwrap_or(0)
    }
}

/// What is said of a stamp.
pub struct Values {
    /// One for each column, NaN where there is none.
    pub values: Vec<f64>,
    pub flags: Flags,
}

/// One stamp.
pub struct Row {
    /// Number of the stamp in its file, from 0.
    pub row: u64,
    pub id: u64,
    /// Its values, or why there are none.
    pub values: Result<Values, String>,
}

/// All stamps.
pub struct Table {
    /// EXTNAME in FITS.
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// Seed and number of posterior draws, where there are any.
    pub draws: Option<(u64, u32)>,
}

impl Row {
    /// One value for each column, NaN where there is none.
    fn numbers(&self, count: usize) -> Vec<f64> {
        match &self.values {
            Ok(v) => v.values.clone(),
            Err(_) => vec![f64::NAN; count],
        }
    }

    fn flags(&self) -> u32 {
        self.values.as_ref().map_or(0, |v| v.flags.0)
    }

    fn problem(&self) -> &str {
        self.values.as_ref().map_or_else(String::as_str, |_| "")
    }
}

/// The bytes of the file.
pub fn encode(format: Format, table: &Table, file: &ModelFile) -> Vec<u8> {
    match format {
        Format::Csv => csv(table),
        Format::Fits => fits(table, file),
    }
}

fn csv(table: &Table) -> Vec<u8> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<String>| {
        out.write_record(record)
            .expect("memory takes all, records have one length");
    };
    let columns = &table.columns;
    let names = ["id", "row", "status"].into_iter();
    let names = names.chain(columns.iter().map(|c| c.name.as_str()));
    write(
        names
            .chain(["flags", "problem"])
            .map(String::from)
            .collect(),
    );
    for row in &table.rows {
        let status = u8::from(row.values.is_err());
        let mut record = vec![row.id.to_string(), row.row.to_string(), status.to_string()];
        // An empty field is what every reader of CSV takes for no value.
        let shown = |(column, v): (&Column, f64)| match (column.classes.is_empty(), v.is_nan()) {
            (false, _) => column.class(v).into(),
            (true, true) => String::new(),
            (true, false) => v.to_string(),
        };
        record.extend(columns.iter().zip(row.numbers(columns.len())).map(shown));
        record.push(row.flags().to_string());
        record.push(row.problem().into());
        write(record);
    }
    out.into_inner().expect("memory takes all")
}

fn fits(table: &Table, file: &ModelFile) -> Vec<u8> {
    let columns = &table.columns;
    let mut data = Vec::new();
    let text = |text: &str, width: usize, data: &mut Vec<u8>| {
        let bytes = text
            .bytes()
            .filter(u8::is_ascii)
            .chain(std::iter::repeat(0));
        data.extend(bytes.take(width));
    };
    for row in &table.rows {
        // Subtracting 2^63 is flipping the top bit.
        data.extend((row.id ^ (1 << 63)).to_be_bytes());
        data.extend((row.row as i64).to_be_bytes());
        data.extend(i32::from(row.values.is_err()).to_be_bytes());
        for (column, v) in columns.iter().zip(row.numbers(columns.len())) {
            match column.classes.is_empty() {
                true => data.extend(v.to_be_bytes()),
                false => text(column.class(v), column.width(), &mut data),
            }
        }
        data.extend((row.flags() as i32).to_be_bytes());
        text(row.problem(), PROBLEM, &mut data);
    }
    let mut formats = vec![
        ("id", "1K".into(), ""),
        ("row", "1K".into(), ""),
        ("status", "1J".into(), ""),
    ];
    formats.extend(columns.iter().map(|c| {
        let format = match c.classes.is_empty() {
            true => "1D".to_string(),
            false => format!("{}A", c.width()),
        };
        (c.name.as_str(), format, c.unit)
    }));
    formats.push(("flags", "1J".into(), ""));
    formats.push(("problem", format!("{PROBLEM}A"), ""));
    let mut bytes = hdu(&primary_cards(table, file), &[]);
    let cards = table_cards(table.name, &formats, table.rows.len(), data.len());
    bytes.extend(hdu(&cards, &data));
    bytes
}

fn primary_cards(table: &Table, file: &ModelFile) -> Vec<Card> {
    let model = file.model.card();
    let mut cards = vec![
        card("SIMPLE", Value::Logical(true), "FITS standard"),
        card("BITPIX", Value::Integer(8), ""),
        card("NAXIS", Value::Integer(0), "no data here"),
        card("EXTEND", Value::Logical(true), "the table follows"),
        text(
            "ORIGIN",
            &format!("galgen {}", env!("CARGO_PKG_VERSION")),
            "program",
        ),
        text("GGMODEL", &model.name, "model"),
        text("GGMHASH", &file.hash, "hash of the model file"),
    ];
    if let Some((seed, draws)) = table.draws {
        let draws = Value::Integer(i64::from(draws));
        cards.extend([
            text("GGSEED", &seed.to_string(), "seed of the posterior draws"),
            card("GGNDRAW", draws, "posterior draws per stamp"),
        ]);
    }
    for (bit, meaning) in flags::meanings(&model.conditions) {
        cards.push(text(&format!("GGFLAG{bit:02}"), &meaning, ""));
    }
    cards
}

fn table_cards(
    name: &str,
    columns: &[(&str, String, &str)],
    rows: usize,
    bytes: usize,
) -> Vec<Card> {
    let integer = |key, v: usize| card(key, Value::Integer(v as i64), "");
    let mut cards = vec![
        text("XTENSION", "BINTABLE", "binary table"),
        integer("BITPIX", 8),
        integer("NAXIS", 2),
        integer("NAXIS1", bytes / rows),
        integer("NAXIS2", rows),
        integer("PCOUNT", 0),
        integer("GCOUNT", 1),
        integer("TFIELDS", columns.len()),
        text("EXTNAME", name, ""),
    ];
    for (i, (name, format, unit)) in (1..).zip(columns) {
        cards.push(text(&format!("TTYPE{i}"), name, ""));
        cards.push(text(&format!("TFORM{i}"), format, ""));
        if *name == "id" {
            cards.push(unsigned_zero(i));
        }
        if !unit.is_empty() {
            cards.push(text(&format!("TUNIT{i}"), unit, ""));
        }
    }
    cards
}

/// One card; text is reduced to printable ASCII, as the standard demands.
fn card(keyword: &str, value: Value, comment: &str) -> Card {
    let mut card = Card::new(keyword, value).expect("a keyword of this file");
    card.comment = (!comment.is_empty()).then(|| comment.into());
    card
}

fn text(keyword: &str, value: &str, comment: &str) -> Card {
    let ascii = |c| if (' '..='~').contains(&c) { c } else { '?' };
    card(
        keyword,
        Value::String(value.chars().map(ascii).collect()),
        comment,
    )
}
