//! Where stamps come from, as cards of the primary header.

use fitsio_pure::header::Card;
use fitsio_pure::value::Value;

use crate::fits::write::{card, valid_keyword};

/// Value of a free card.
#[derive(Debug, Clone, PartialEq)]
pub enum CardValue {
    /// Character string.
    Text(String),
    /// Whole number.
    Int(i64),
    /// Real number; must be finite.
    Real(f64),
    /// Logical.
    Bool(bool),
}

/// What is needed to draw the same stamps again.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// ORIGIN: program and version.
    pub origin: String,
    /// GGMODEL: name of the model.
    pub model: String,
    /// GGMHASH: hash of the model file.
    pub model_hash: String,
    /// GGSEED; a string if it does not fit a signed 64-bit integer.
    pub seed: Option<u64>,
    /// GGSHARD: which part of a larger run, for example `3/10`.
    pub shard: Option<String>,
    /// GGNUM: numeric path of the engine.
    pub numeric_path: Option<String>,
    /// BUNIT of the stamps.
    pub unit: Option<String>,
    /// PIXSCALE in arcsec, if it is the same for all stamps.
    pub pixel_scale: Option<f64>,
    /// Further cards: keyword (at most 8 of `A-Z 0-9 - _`), value, comment.
    pub extra: Vec<(String, CardValue, String)>,
}

impl Provenance {
    /// The cards, or what is wrong with a free one.
    pub(super) fn cards(&self) -> Result<Vec<Card>, String> {
        let text = |s: &str| Value::String(s.into());
        let mut cards = vec![
            card("ORIGIN", text(&self.origin), "program that drew the stamps"),
            card("GGMODEL", text(&self.model), "model"),
            card("GGMHASH", text(&self.model_hash), "hash of the model file"),
        ];
        if let Some(seed) = self.seed {
            let value =
                i64::try_from(seed).map_or_else(|_| text(&seed.to_string()), Value::Integer);
            cards.push(card("GGSEED", value, "seed of the random numbers"));
        }
        if let Some(shard) = &self.shard {
            cards.push(card("GGSHARD", text(shard), "part of a larger run"));
        }
        if let Some(path) = &self.numeric_path {
            cards.push(card("GGNUM", text(path), "numeric path of the engine"));
        }
        cards.extend(self.pixel_cards());
        for (keyword, value, comment) in &self.extra {
            if !valid_keyword(keyword) {
                return Err(format!(
                    "`{keyword}` is no FITS keyword: expected 1 to 8 of A-Z, 0-9, - and _"
                ));
            }
            let value = match value {
                CardValue::Text(s) => text(s),
                CardValue::Int(v) => Value::Integer(*v),
                CardValue::Real(v) if v.is_finite() => Value::Float(*v),
                CardValue::Real(v) => {
                    return Err(format!("{keyword} = {v}: FITS cards are finite"));
                }
                CardValue::Bool(v) => Value::Logical(*v),
            };
            cards.push(card(keyword, value, comment));
        }
        Ok(cards)
    }

    /// The cards that describe pixels; they stand in the image HDU as well.
    pub(super) fn pixel_cards(&self) -> Vec<Card> {
        let unit = self
            .unit
            .iter()
            .map(|u| card("BUNIT", Value::String(u.clone()), "unit of a pixel"));
        let scale = self
            .pixel_scale
            .iter()
            .filter(|s| s.is_finite())
            .map(|&s| card("PIXSCALE", Value::Float(s), "[arcsec] side of a pixel"));
        unit.chain(scale).collect()
    }
}
