//! Header cards of one HDU, looked up by keyword.

use fitsio_pure::header::Card;
use fitsio_pure::value::Value;

/// The cards of one header in file order. Keywords compare without regard to case; where a keyword
/// is repeated the first counts.
#[derive(Debug, Clone, Default)]
pub struct Header {
    cards: Vec<Card>,
}

impl Header {
    pub(super) fn new(cards: Vec<Card>) -> Self {
        Self { cards }
    }

    fn value(&self, keyword: &str) -> Option<&Value> {
        self.cards
            .iter()
            .find(|c| c.keyword_str().eq_ignore_ascii_case(keyword))
            .and_then(|c| c.value.as_ref())
    }

    /// Whether the keyword has a value.
    pub fn has(&self, keyword: &str) -> bool {
        self.value(keyword).is_some_and(|v| *v != Value::Undefined)
    }

    /// A number, integer or real; `None` if absent or not a number.
    pub fn f64(&self, keyword: &str) -> Option<f64> {
        match self.value(keyword)? {
            Value::Float(v) => Some(*v),
            Value::Integer(v) => Some(*v as f64),
            // Numbers between quotes are common in survey headers.
            Value::String(s) => s.trim().parse().ok(),
            _ => None,
        }
    }

    /// An integer; a real number counts when it is whole.
    pub fn i64(&self, keyword: &str) -> Option<i64> {
        match self.value(keyword)? {
            Value::Integer(v) => Some(*v),
            Value::Float(v) if v.fract() == 0.0 && v.abs() < 9e15 => Some(*v as i64),
            _ => None,
        }
    }

    /// A character string without trailing blanks.
    pub fn str(&self, keyword: &str) -> Option<&str> {
        match self.value(keyword)? {
            Value::String(s) => Some(s.trim_end()),
            _ => None,
        }
    }

    /// A logical value (`T` or `F`).
    pub fn bool(&self, keyword: &str) -> Option<bool> {
        match self.value(keyword)? {
            Value::Logical(b) => Some(*b),
            _ => None,
        }
    }

    /// All keywords with their values as text, in file order, without commentary cards.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        self.cards.iter().filter_map(|c| {
            let text = match c.value.as_ref()? {
                Value::Logical(b) => if *b { "T" } else { "F" }.to_string(),
                Value::Integer(v) => v.to_string(),
                Value::Float(v) => v.to_string(),
                Value::String(s) => s.trim_end().to_string(),
                other => format!("{other:?}"),
            };
            Some((c.keyword_str(), text))
        })
    }
}
