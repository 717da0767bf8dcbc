//! The scores as a file: CSV, or a FITS binary table with checksums. They are held in memory until all are
//! there: about 100 bytes per stamp.

use crate::args::ScoreArgs;
use crate::failure::Failure;
use crate::flags;
use crate::model_file::ModelFile;
use fitsio_pure::checksum::stamp_checksum;
use fitsio_pure::header::{Card, serialize_header};
use fitsio_pure::value::Value;
use galgen_core::card;
use galgen_core::condition::Flags;
use std::path::Path;

/// Length of a FITS block in bytes.
const BLOCK: usize = 2880;
/// Bytes of the column `problem` in FITS; longer text is cut.
const PROBLEM: usize = 120;

/// Format of the scores.
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

/// The scores of one stamp, in nats; those that were not asked for are NaN.
pub struct Score {
    pub log_likelihood: f64,
    pub elbo: f64,
    pub log_prob_latent: f64,
    pub flags: Flags,
    /// In the model's order, as given or measured.
    pub conditions: Vec<f64>,
}

/// One stamp.
pub struct Row {
    /// Number of the stamp in its file, from 0.
    pub row: u64,
    pub id: u64,
    /// The scores, or why there are none.
    pub score: Result<Score, String>,
}

/// All stamps.
pub struct Scores {
    /// Names of the conditions.
    conditions: Vec<String>,
    pub rows: Vec<Row>,
}

impl Scores {
    pub fn new(card: &card::Card) -> Self {
        let conditions = card
            .conditions
            .list
            .iter()
            .map(|c| c.name.clone())
            .collect();
        Self {
            conditions,
            rows: Vec::new(),
        }
    }

    /// Number of stamps without scores.
    pub fn failed(&self) -> u64 {
        self.rows.iter().filter(|r| r.score.is_err()).count() as u64
    }

    /// Names of the columns of real numbers.
    fn reals(&self) -> Vec<&str> {
        let scores = ["log_likelihood", "elbo", "log_prob_latent"];
        scores
            .into_iter()
            .chain(self.conditions.iter().map(String::as_str))
            .collect()
    }
}

impl Row {
    /// Values of [`Scores::reals`], NaN where there is none.
    fn reals(&self, count: usize) -> Vec<f64> {
        match &self.score {
            Ok(s) => [s.log_likelihood, s.elbo, s.log_prob_latent]
                .into_iter()
                .chain(s.conditions.iter().copied())
                .collect(),
            Err(_) => vec![f64::NAN; count],
        }
    }

    fn flags(&self) -> u32 {
        self.score.as_ref().map_or(0, |s| s.flags.0)
    }

    fn problem(&self) -> &str {
        self.score.as_ref().map_or_else(String::as_str, |_| "")
    }
}

/// The bytes of the file.
pub fn encode(format: Format, scores: &Scores, args: &ScoreArgs, file: &ModelFile) -> Vec<u8> {
    match format {
        Format::Csv => csv(scores),
        Format::Fits => fits(scores, args, file),
    }
}

fn csv(scores: &Scores) -> Vec<u8> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<String>| {
        out.write_record(record)
            .expect("memory takes all, records have one length");
    };
    let reals = scores.reals();
    let names = ["id", "row", "status"]
        .into_iter()
        .chain(reals.iter().copied());
    write(
        names
            .chain(["flags", "problem"])
            .map(String::from)
            .collect(),
    );
    for row in &scores.rows {
        let status = u8::from(row.score.is_err());
        let mut record = vec![row.id.to_string(), row.row.to_string(), status.to_string()];
        // An empty field is what every reader of CSV takes for no value.
        let shown = |v: f64| {
            if v.is_nan() {
                String::new()
            } else {
                v.to_string()
            }
        };
        record.extend(row.reals(reals.len()).into_iter().map(shown));
        record.push(row.flags().to_string());
        record.push(row.problem().into());
        write(record);
    }
    out.into_inner().expect("memory takes all")
}

fn fits(scores: &Scores, args: &ScoreArgs, file: &ModelFile) -> Vec<u8> {
    let reals = scores.reals();
    let mut data = Vec::new();
    for row in &scores.rows {
        // Subtracting 2^63 is flipping the top bit.
        data.extend((row.id ^ (1 << 63)).to_be_bytes());
        data.extend((row.row as i64).to_be_bytes());
        data.extend(i32::from(row.score.is_err()).to_be_bytes());
        data.extend(row.reals(reals.len()).iter().flat_map(|v| v.to_be_bytes()));
        data.extend((row.flags() as i32).to_be_bytes());
        let text = row
            .problem()
            .bytes()
            .filter(u8::is_ascii)
            .chain(std::iter::repeat(0));
        data.extend(text.take(PROBLEM));
    }
    let mut columns = vec![
        ("id", "1K".into(), ""),
        ("row", "1K".into(), ""),
        ("status", "1J".into(), ""),
    ];
    columns.extend(
        reals
            .iter()
            .enumerate()
            .map(|(i, name)| (*name, "1D".to_string(), if i < 3 { "nat" } else { "" })),
    );
    columns.push(("flags", "1J".into(), ""));
    columns.push(("problem", format!("{PROBLEM}A"), ""));
    let mut bytes = hdu(&primary_cards(args, file), &[]);
    bytes.extend(hdu(
        &table_cards(&columns, scores.rows.len(), data.len()),
        &data,
    ));
    bytes
}

fn primary_cards(args: &ScoreArgs, file: &ModelFile) -> Vec<Card> {
    let model = file.model.card();
    let mut cards = vec![
        card("SIMPLE", Value::Logical(true), "FITS standard"),
        card("BITPIX", Value::Integer(8), ""),
        card("NAXIS", Value::Integer(0), "no data here"),
        card(
            "EXTEND",
            Value::Logical(true),
            "the table of scores follows",
        ),
        text(
            "ORIGIN",
            &format!("galgen {}", env!("CARGO_PKG_VERSION")),
            "program",
        ),
        text("GGMODEL", &model.name, "model"),
        text("GGMHASH", &file.hash, "hash of the model file"),
        text(
            "GGSEED",
            &args.seed.to_string(),
            "seed of the posterior draws",
        ),
        card(
            "GGNDRAW",
            Value::Integer(i64::from(args.samples.get())),
            "posterior draws per stamp",
        ),
    ];
    for (bit, meaning) in flags::meanings(&model.conditions) {
        cards.push(text(&format!("GGFLAG{bit:02}"), &meaning, ""));
    }
    cards
}

fn table_cards(columns: &[(&str, String, &str)], rows: usize, bytes: usize) -> Vec<Card> {
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
        text("EXTNAME", "SCORES", ""),
    ];
    for (i, (name, format, unit)) in (1..).zip(columns) {
        cards.push(text(&format!("TTYPE{i}"), name, ""));
        cards.push(text(&format!("TFORM{i}"), format, ""));
        if *name == "id" {
            let zero = Value::Float(9_223_372_036_854_775_808.0);
            cards.push(card(&format!("TZERO{i}"), zero, "unsigned"));
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

/// Header and data, with checksums, as whole blocks.
fn hdu(cards: &[Card], data: &[u8]) -> Vec<u8> {
    let cards = stamp_checksum(cards, data);
    let mut bytes = serialize_header(&cards).expect("mandatory cards come first");
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}
