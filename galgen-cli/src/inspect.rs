//! `galgen inspect`: the card of a model.

use crate::args::InspectArgs;
use crate::failure::{Failure, Outcome};
use crate::flags::{five_digits, range};
use crate::model_file::ModelFile;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<Outcome, Failure> {
    let file = ModelFile::open(args.model.as_deref())?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(file.model.card());
        json.expect("a card has string keys and finite numbers") + "\n"
    } else {
        describe(&file)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `galgen inspect | head` has seen enough.
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::Failed(format!(
            "cannot write to standard output: {e}"
        ))),
        _ => Ok(Outcome::Done),
    }
}

fn describe(file: &ModelFile) -> String {
    let card = file.model.card();
    let weights: usize = card
        .check()
        .expect("the card of a loaded model")
        .iter()
        .map(|t| t.shape.iter().product::<usize>())
        .sum();
    let g = &card.geometry;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| push_line(&mut text, name, value);
    line("name", &card.name);
    line("description", &card.description);
    line("family", card.model.name());
    line("weights", &format!("{weights} in {} bytes", file.bytes));
    line("sha256", &file.hash);
    line("fingerprint", &card.fingerprint);
    let bands = g.bands.join(", ");
    if g.is_columns() {
        line("columns", &bands);
    } else {
        line(
            "stamp",
            &format!("{0} x {0} pixels, bands: {bands}", g.side),
        );
        let size = g.half_light_radius.map_or_else(
            || "plain images, pixels as in the data".into(),
            |radius| format!("semi-major half-light radius {radius} pixels, major axis along x"),
        );
        line("size", &size);
    }
    line("PSF", &card.psf);
    line(
        "conditions",
        if card.conditions.is_empty() {
            "none"
        } else {
            ""
        },
    );
    for c in &card.conditions.list {
        let unit = if c.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", c.unit)
        };
        let numbers = if c.classes.is_empty() {
            format!(
                "{}{unit}, mean {:.3}, deviation {:.3}",
                range(c),
                c.mean,
                c.deviation
            )
        } else {
            format!("one of {}", c.classes.join(", "))
        };
        line("", &format!("{}: {numbers}", c.name));
        line("", &format!("    {}", c.description));
    }
    for (name, value) in [
        ("training", &card.training),
        ("evaluation", &card.evaluation),
    ] {
        push_line(
            &mut text,
            name,
            if value.is_null() { "none recorded" } else { "" },
        );
        outline(value, 1, &mut text);
    }
    text
}

/// One line of the description; `name` is empty where the line before goes on.
fn push_line(text: &mut String, name: &str, value: &str) {
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name}:")
    };
    text.push_str(format!("{name:<13}{value}").trim_end());
    text.push('\n');
}

/// JSON as indented lines; of a list of records, which may be long, the last.
fn outline(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (format!("{k}:"), v)).collect(),
        Value::Array(list) => list
            .last()
            .map(|last| (format!("{} records, the last:", list.len()), last))
            .into_iter()
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, value) in entries {
        let shown = scalar(value);
        let line = format!("{indent}{key} {}", shown.as_deref().unwrap_or_default());
        text.push_str(line.trim_end());
        text.push('\n');
        if shown.is_none() {
            outline(value, depth + 1, text);
        }
    }
}

/// What fits on a line: reals to five digits, lists of such; `None` for records.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("none".into()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) if n.is_f64() => n.as_f64().map(|v| five_digits(v).to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => Some(s.clone()),
        Value::Array(list) => {
            let all: Option<Vec<String>> = list.iter().map(scalar).collect();
            all.map(|all| all.join(", "))
        }
        Value::Object(_) => None,
    }
}
