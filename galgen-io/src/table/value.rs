//! One cell of a table.

use std::fmt;

/// A cell as the file holds it. Integers are exact: 64-bit ids do not pass through a real number.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Whole number; holds all of `i64` and `u64`.
    Int(i128),
    /// Real number, possibly NaN or infinite.
    Real(f64),
    /// Text, without blanks at the ends.
    Text(String),
    /// An empty field, or the TNULL of a FITS column.
    Missing,
}

impl Value {
    /// The field of a text file: whole number, real number, nothing, or text.
    pub fn parse(field: &str) -> Self {
        let field = field.trim();
        if field.is_empty() {
            return Self::Missing;
        }
        if let Ok(v) = field.parse::<i128>() {
            return Self::Int(v);
        }
        // Fortran's exponent letter is still written by some tools.
        match field
            .parse::<f64>()
            .or_else(|_| fortran(field).parse::<f64>())
        {
            Ok(v) => Self::Real(v),
            Err(_) => Self::Text(field.into()),
        }
    }

    /// As in the file, whole; nothing for a missing cell.
    pub fn text(&self) -> String {
        match self {
            Self::Text(s) => s.clone(),
            Self::Missing => String::new(),
            other => other.to_string(),
        }
    }

    /// As a real number; `None` for text and missing cells.
    pub fn f64(&self) -> Option<f64> {
        match self {
            Self::Int(v) => Some(*v as f64),
            Self::Real(v) => Some(*v),
            Self::Text(_) | Self::Missing => None,
        }
    }

    /// As a whole number that fits 64 bits without sign. A real number counts when it is whole and
    /// below 2^53, where reals hold every integer; text counts when it is digits.
    pub fn u64(&self) -> Option<u64> {
        match self {
            Self::Int(v) => u64::try_from(*v).ok(),
            Self::Real(v) => (v.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(v))
                .then_some(*v as u64),
            Self::Text(s) => s.parse().ok(),
            Self::Missing => None,
        }
    }

    /// As a whole number that fits 64 bits with sign, under the rules of [`Value::u64`].
    pub fn i64(&self) -> Option<i64> {
        match self {
            Self::Int(v) => i64::try_from(*v).ok(),
            Self::Real(v) => {
                (v.fract() == 0.0 && v.abs() < 9_007_199_254_740_992.0).then_some(*v as i64)
            }
            Self::Text(s) => s.parse().ok(),
            Self::Missing => None,
        }
    }
}

/// `1.5D+02` as `1.5E+02`; other text is left alone, so that `nad` does not become a number.
fn fortran(field: &str) -> String {
    if field
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.dD".contains(&b))
    {
        field.replace(['d', 'D'], "E")
    } else {
        field.into()
    }
}

impl fmt::Display for Value {
    /// For messages: as in the file, but text is cut at 40 characters ([`Value::text`] is all of it).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => write!(f, "{v}"),
            Self::Real(v) => write!(f, "{v}"),
            Self::Text(s) if s.chars().count() > 40 => {
                write!(f, "{}...", s.chars().take(40).collect::<String>())
            }
            Self::Text(s) => f.write_str(s),
            Self::Missing => f.write_str("(empty)"),
        }
    }
}
