//! The card: everything in a model file besides the tensors, as JSON under [`METADATA_KEY`].

use crate::condition::{Conditions, plain_text};
use crate::models::Family;
use crate::spec::TensorSpec;
use crate::stamp::{Geometry, SIDE_RANGE};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Key of the safetensors `__metadata__` map that holds the card.
pub const METADATA_KEY: &str = "galgen";
/// Version of the card that this release writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Longest card, in bytes of JSON: a small file must not make a large allocation, and JSON takes up
/// to fifty times its length once it is read.
pub const MAX_CARD_BYTES: usize = 4 << 20;
/// Smallest half-light radius of a geometry in pixels: below it a stamp has no shape.
const MIN_RADIUS: f64 = 0.5;

/// Description of a model, carried inside its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Short name, e.g. `sdss-r-64`.
    pub name: String,
    /// What the model draws and for whom, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// Hash of geometry, conditions and model: see [`Card::compute_fingerprint`]. A file that was written by hand may leave it
    /// out; [`Card::parse`] then computes it.
    #[serde(default)]
    pub fingerprint: String,
    /// Pixel grid.
    pub geometry: Geometry,
    /// What a stamp's light has been through: `intrinsic`, or the name of the point-spread function
    /// that is still in it.
    pub psf: String,
    /// Physical parameters that a request must give.
    #[serde(default)]
    pub conditions: Conditions,
    /// Family and its configuration.
    pub model: Family,
    /// Data, credits, recipe, seed, commit, date.
    #[serde(default)]
    pub training: Value,
    /// Held-out evaluation, per statistic.
    #[serde(default)]
    pub evaluation: Value,
}

/// Why a card cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Not JSON, or not the fields of a card.
    #[error("the model card cannot be read: {0}")]
    Unreadable(String),
    /// Written by a newer galgen.
    #[error(
        "the model card has format version {found}, this galgen reads 1 to {FORMAT_VERSION}: use a newer galgen"
    )]
    Newer {
        /// The file's version.
        found: u32,
    },
    /// The parts do not fit each other.
    #[error("the model card contradicts itself: {0}")]
    Contradiction(String),
    /// Geometry, conditions or model were changed after training.
    #[error(
        "the model card has fingerprint {found}, expected {expected}: it was altered after training, or written by hand, which \
         may leave `fingerprint` out"
    )]
    Altered {
        /// Stated in the card.
        found: String,
        /// Computed from the card.
        expected: String,
    },
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl Card {
    /// Reads a card and checks all that can be checked without the tensors. Returns the tensors
    /// that the file must have.
    pub fn parse(json: &str) -> Result<(Card, Vec<TensorSpec>), CardError> {
        let unreadable = |e: serde_json::Error| CardError::Unreadable(e.to_string());
        if json.len() > MAX_CARD_BYTES {
            return Err(CardError::Unreadable(format!(
                "{} bytes, expected at most {MAX_CARD_BYTES}",
                json.len()
            )));
        }
        // The version first: a newer card may have fields that this one would reject as unknown.
        let version: Version = serde_json::from_str(json).map_err(unreadable)?;
        if version.format_version == 0 {
            let problem = format!("format version 0, expected 1 to {FORMAT_VERSION}");
            return Err(CardError::Contradiction(problem));
        }
        if version.format_version > FORMAT_VERSION {
            return Err(CardError::Newer {
                found: version.format_version,
            });
        }
        let mut card: Card = serde_json::from_str(json).map_err(unreadable)?;
        let tensors = card.check()?;
        let expected = card.compute_fingerprint();
        if card.fingerprint.is_empty() {
            card.fingerprint = expected;
        } else if card.fingerprint != expected {
            return Err(CardError::Altered {
                found: card.fingerprint,
                expected,
            });
        }
        Ok((card, tensors))
    }

    /// The card as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a card has string keys and finite numbers")
    }

    /// Checks geometry, conditions and model against each other; lists the tensors of the file.
    pub fn check(&self) -> Result<Vec<TensorSpec>, CardError> {
        let side = self.geometry.side;
        if !SIDE_RANGE.contains(&side) && !self.geometry.is_columns() {
            let problem = format!("stamp side {side}, expected {SIDE_RANGE:?}, or 1 for columns");
            return Err(CardError::Contradiction(problem));
        }
        if self.geometry.is_columns() && !matches!(self.model, Family::Flow(_) | Family::Made(_)) {
            let family = self.model.name();
            let problem =
                format!("columns of numbers with the family {family}, expected flow or made");
            return Err(CardError::Contradiction(problem));
        }
        if let Some(radius) = self.geometry.half_light_radius
            && !(radius >= MIN_RADIUS && radius < side as f64 / 2.0)
        {
            let problem = format!("half-light radius of {radius} pixels on a stamp of {side}");
            return Err(CardError::Contradiction(problem));
        }
        let (bands, most) = (self.geometry.bands.len(), self.geometry.max_bands());
        if bands == 0 || bands > most {
            let problem = format!("{bands} bands, expected 1 to {most}");
            return Err(CardError::Contradiction(problem));
        }
        for (i, band) in self.geometry.bands.iter().enumerate() {
            plain_text("name of a band", band).map_err(CardError::Contradiction)?;
            if self.geometry.bands[..i].contains(band) {
                return Err(CardError::Contradiction(format!(
                    "band `{band}` appears twice"
                )));
            }
        }
        for (what, text) in [("name", &self.name), ("psf", &self.psf)] {
            plain_text(what, text).map_err(CardError::Contradiction)?;
        }
        self.conditions.check().map_err(CardError::Contradiction)?;
        self.model
            .tensors(&self.geometry, &self.conditions)
            .map_err(|e| CardError::Contradiction(e.to_string()))
    }

    /// 64-bit FNV-1a, in hexadecimal, of the JSON of geometry, PSF state, conditions and model: two files with the
    /// same fingerprint differ in weights and provenance only.
    pub fn compute_fingerprint(&self) -> String {
        let parts = (&self.geometry, &self.psf, &self.conditions, &self.model);
        let json = serde_json::to_string(&parts).expect("finite numbers");
        let hash = json.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::FlowVaePreset;
    use alloc::vec;

    fn card() -> Card {
        let geometry = Geometry {
            side: 16,
            bands: vec!["r".into()],
            half_light_radius: Some(2.1),
        };
        let preset = FlowVaePreset {
            channels: vec![8, 4, 4],
            latent: 4,
            ..Default::default()
        };
        let mut card = Card {
            format_version: FORMAT_VERSION,
            name: "test".into(),
            description: String::new(),
            fingerprint: String::new(),
            psf: "intrinsic".into(),
            conditions: Conditions::default(),
            model: Family::FlowVae(preset.build(&geometry, 0).unwrap()),
            geometry,
            training: Value::Null,
            evaluation: Value::Null,
        };
        card.fingerprint = card.compute_fingerprint();
        card
    }

    #[test]
    fn a_card_survives_the_round_trip() {
        let (back, tensors) = Card::parse(&card().to_json()).unwrap();
        assert_eq!(back, card());
        assert!(!tensors.is_empty());
    }

    #[test]
    fn newer_altered_and_broken_cards_are_refused() {
        let mut newer = card();
        newer.format_version += 1;
        let json = newer.to_json().replacen('{', "{\"a_new_field\":1,", 1);
        assert_eq!(Card::parse(&json), Err(CardError::Newer { found: 2 }));

        let none = card()
            .to_json()
            .replace("\"format_version\":1", "\"format_version\":0");
        assert!(matches!(
            Card::parse(&none),
            Err(CardError::Contradiction(_))
        ));

        // Nothing to be compared with: the same card otherwise.
        let stated = format!("\"fingerprint\":\"{}\",", card().fingerprint);
        let unstated = card().to_json().replace(&stated, "");
        assert_eq!(Card::parse(&unstated).unwrap().0, card());

        let altered = card()
            .to_json()
            .replace("\"psf\":\"intrinsic\"", "\"psf\":\"HST\"");
        assert!(matches!(
            Card::parse(&altered),
            Err(CardError::Altered { .. })
        ));

        let wrong = card().to_json().replace("\"latent\":4", "\"latent\":5");
        assert!(matches!(
            Card::parse(&wrong),
            Err(CardError::Contradiction(_))
        ));

        let huge = card().to_json().replace("\"side\":16", "\"side\":1000000");
        assert!(matches!(
            Card::parse(&huge),
            Err(CardError::Contradiction(_))
        ));

        let long = " ".repeat(MAX_CARD_BYTES) + &card().to_json();
        assert!(matches!(Card::parse(&long), Err(CardError::Unreadable(_))));
        assert!(matches!(Card::parse("{"), Err(CardError::Unreadable(_))));
        assert!(matches!(Card::parse("[]"), Err(CardError::Unreadable(_))));
    }
}
