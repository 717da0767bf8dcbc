//! HTML pages that need no network: plots as SVG and pictures as PNG are inside.

use crate::canvas::Canvas;
use crate::plot::Figure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Fits a screen and an A4 page; nothing is split over pages that need not be.
const STYLE: &str = "
body { font: 15px/1.5 Georgia, serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1, h2, th { font-family: Helvetica, Arial, sans-serif; }
h2 { margin-top: 2em; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; font: 12.5px/1.35 Helvetica, Arial, sans-serif; }
th, td { padding: 3px 7px; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
.facts td { text-align: left; }
.met { color: #00643c; } .missed { color: #a11; font-weight: bold; }
.figures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; }
.figures.two { grid-template-columns: repeat(2, 1fr); }
svg, img { max-width: 100%; height: auto; break-inside: avoid; }
p.note { color: #555; font-size: 13.5px; max-width: 60em; }
code { font-size: 13px; }
@media print { body, p.note { font-size: 11px; } code { font-size: 9px; } body { margin: 0; max-width: none; } table { font-size: 9px; } tr, figure { break-inside: avoid; } h2 { break-after: avoid; } }
";

/// A page of `title` with a body of HTML.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(title)
    )
}

/// A heading and what follows it.
pub fn section(title: &str, body: &str) -> String {
    format!("<h2>{title}</h2>\n{body}")
}

/// Figures side by side, `columns` (2 or 3) to a row.
pub fn grid(columns: usize, figures: &[Figure]) -> String {
    let class = if columns == 2 { " two" } else { "" };
    let cells: String = figures.iter().map(Figure::to_svg).collect();
    format!("<div class=\"figures{class}\">\n{cells}</div>\n")
}

/// A picture with the words that stand for it.
pub fn picture(canvas: &Canvas, alternative: &str) -> String {
    let data = STANDARD.encode(canvas.to_png());
    format!("<img alt=\"{alternative}\" src=\"data:image/png;base64,{data}\">\n")
}

/// A table of cells of HTML.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|c| format!("<{tag}>{c}</{tag}>")).collect()
    };
    let head: Vec<String> = head.iter().map(|s| s.to_string()).collect();
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", row)))
        .collect();
    format!(
        "<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n",
        cells("th", &head)
    )
}

/// Three significant digits; a dash for what could not be measured.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    if value.abs() < 1e-3 || value.abs() >= 1e5 {
        return format!("{value:.1e}");
    }
    let whole = value.abs().log10().floor() as i32;
    format!("{value:.*}", (2 - whole).clamp(0, 5) as usize)
}

/// A probability: small ones as a bound.
pub fn p_value(p: f64) -> String {
    if p < 1e-6 {
        "&lt; 1e-6".into()
    } else {
        number(p)
    }
}

/// Text that may hold anything, in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (1.234567, "1.23"),
            (-0.04567, "-0.0457"),
            (123.4, "123"),
            (0.0001234, "1.2e-4"),
            (f64::NAN, "-"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
