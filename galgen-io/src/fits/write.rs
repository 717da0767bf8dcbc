//! Pieces of written files: cards, padded headers, and the running checksum.

use fitsio_pure::checksum::encode_checksum;
use fitsio_pure::header::{Card, serialize_header};
use fitsio_pure::value::Value;

use super::BLOCK;

/// Running ones'-complement sum of big-endian 32-bit words (FITS standard 4.0, appendix J), over
/// bytes that arrive in pieces of any length. Zero padding does not change it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checksum {
    sum: u32,
    /// Bytes so far, modulo 4.
    phase: u32,
}

impl Checksum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let head = ((4 - self.phase) % 4) as usize;
        let (head, rest) = bytes.split_at(head.min(bytes.len()));
        let (words, tail) = rest.as_chunks::<4>();
        let mut total = u64::from(self.sum);
        for (i, &b) in head.iter().enumerate() {
            total += u64::from(b) << (8 * (3 - self.phase as usize - i));
        }
        // 2^32 words of 2^32 stay below 2^64; the file would be 16 GiB in one call.
        for word in words {
            total += u64::from(u32::from_be_bytes(*word));
        }
        for (i, &b) in tail.iter().enumerate() {
            total += u64::from(b) << (8 * (3 - i));
        }
        while total >> 32 != 0 {
            total = (total & 0xffff_ffff) + (total >> 32);
        }
        self.sum = total as u32;
        self.phase = (self.phase + (bytes.len() % 4) as u32) % 4;
    }

    /// The value for DATASUM.
    pub(crate) fn value(self) -> u32 {
        self.sum
    }
}

/// One card. Text is reduced to printable ASCII, as the standard demands.
pub(crate) fn card(keyword: &str, value: Value, comment: &str) -> Card {
    let value = match value {
        Value::String(s) => Value::String(ascii(&s)),
        other => other,
    };
    // Keywords are literals of this crate, or were checked by `valid_keyword`.
    let mut card = Card::new(keyword, value).expect("valid keyword");
    card.comment = (!comment.is_empty()).then(|| ascii(comment));
    card
}

/// 2^63, which makes the column `i` (from 1 on) of signed numbers one of unsigned ones.
pub fn unsigned_zero(i: usize) -> Card {
    let zero = Value::Float(UNSIGNED);
    card(&format!("TZERO{i}"), zero, UNSIGNED_COMMENT)
}

const UNSIGNED_COMMENT: &str = "unsigned";
const UNSIGNED: f64 = 9_223_372_036_854_775_808.0;

/// A header in whole blocks. 2^63 is a whole number, as the standard wants it for unsigned columns: readers that take a table
/// apart lose the last digits of a float, and then the column.
///
/// # Panics
/// If the mandatory cards do not come first.
fn serialize(cards: &[Card]) -> Vec<u8> {
    let mut bytes = serialize_header(cards).expect("mandatory cards come first");
    for card in bytes.as_chunks_mut::<80>().0 {
        let text = std::str::from_utf8(card).expect("headers are ASCII");
        let value = text[10..].split('/').next().unwrap_or_default().trim();
        if text.starts_with("TZERO") && value.parse() == Ok(UNSIGNED) {
            // Right-justified in columns 11 to 30.
            let whole = format!("{}{:>20} / {UNSIGNED_COMMENT}", &text[..10], 1u64 << 63);
            card.copy_from_slice(format!("{whole:80}").as_bytes());
        }
    }
    bytes
}

pub(crate) fn valid_keyword(keyword: &str) -> bool {
    (1..=8).contains(&keyword.len())
        && keyword
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
        .collect()
}

/// The header as whole blocks, with DATASUM and CHECKSUM added for data of the given sum. Its length
/// does not depend on that sum, so it can be written first and patched later.
pub(crate) fn header_blocks(cards: &[Card], data: Checksum) -> Vec<u8> {
    let with = |checksum: &str| {
        let mut all = cards.to_vec();
        all.push(card(
            "CHECKSUM",
            Value::String(checksum.into()),
            "HDU checksum",
        ));
        all.push(card(
            "DATASUM",
            Value::String(data.value().to_string()),
            "data unit checksum",
        ));
        serialize(&all)
    };
    // Data are padded with zeros to a block, so the header begins a new word.
    let mut total = Checksum { phase: 0, ..data };
    total.add(&with("0000000000000000"));
    with(std::str::from_utf8(&encode_checksum(total.value(), true)).expect("ASCII"))
}

/// An HDU of these cards and data, with checksums, in whole blocks.
///
/// # Panics
/// If the mandatory cards do not come first.
pub fn hdu(cards: &[Card], data: &[u8]) -> Vec<u8> {
    let mut sum = Checksum::default();
    sum.add(data);
    let mut bytes = header_blocks(cards, sum);
    bytes.extend(data);
    bytes.extend(padding(data.len() as u64));
    bytes
}

/// Zero bytes that fill the last block of a data unit.
pub(crate) fn padding(data_len: u64) -> Vec<u8> {
    vec![0; (data_len.next_multiple_of(BLOCK) - data_len) as usize]
}
