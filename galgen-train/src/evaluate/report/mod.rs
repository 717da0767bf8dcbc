//! The evaluation as one HTML page with its pictures inside.

mod figures;
mod pictures;
mod tables;

use super::Evaluation;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use galgen_io::canvas::Canvas;
use galgen_io::plot::Figure;

pub use pictures::samples_sheet;

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

/// The page.
pub fn html(evaluation: &Evaluation) -> String {
    let e = evaluation;
    let sections = [
        heading(e),
        section("Goals", tables::goals(e)),
        section("Distances", tables::distances(e)),
        section("Overlap in the space of all statistics", tables::overlap(e)),
        section("Contact sheets", sheets(e)),
        section("Distributions", grid("", &figures::histograms(e))),
        section(
            "Gini-M20 plane, radial profile and power spectrum",
            grid(" two", &figures::planes(e)) + PLANES_NOTE,
        ),
        section("Requested against measured", conditions(e)),
        section("Memorisation", memorisation(e)),
        section("Where this comes from", tables::provenance(e)),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}: evaluation</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        escaped(&e.provenance.model),
        sections.concat()
    )
}

const PLANES_NOTE: &str = "<p class=\"note\">Lines are medians, bands 16 to 84 %. The profile is the mean \
     brightness in elliptical rings, in units of the mean brightness within the half-light ellipse; the power \
     spectrum is that of the whole stamp.</p>\n";

fn heading(e: &Evaluation) -> String {
    let n = e.held_out.len();
    format!(
        "<h1>{}: drawn against held-out galaxies</h1>\n<p>One galaxy was drawn for each of {n} held-out \
         galaxies under its own conditions, seen through that galaxy's point-spread function and noise and its \
         masked pixels replaced as its own are; both were measured alike. Two yardsticks are measured in the same run: \
         real against real galaxies (the floor, what chance leaves between two samples of this size) and the best-fit \
         Sersic galaxy of each held-out galaxy, observed in the same way.</p>\n",
        escaped(&e.provenance.model)
    )
}

fn section(title: &str, body: String) -> String {
    format!("<h2>{title}</h2>\n{body}")
}

fn grid(class: &str, figures: &[Figure]) -> String {
    let cells: String = figures.iter().map(Figure::to_svg).collect();
    format!("<div class=\"figures{class}\">\n{cells}</div>\n")
}

fn sheets(e: &Evaluation) -> String {
    format!(
        "<p>The same galaxies in the same places, at one stretch; as observed.</p>\n{}\
         <p>The drawn galaxies before point-spread function and noise.</p>\n{}",
        picture(
            &pictures::observed_sheet(e),
            "held-out, drawn and Sersic galaxies"
        ),
        picture(
            &pictures::intrinsic_sheet(e),
            "drawn galaxies before the PSF"
        )
    )
}

fn conditions(e: &Evaluation) -> String {
    format!(
        "<p>Measured on the drawn galaxies before point-spread function and noise: under the conditions of the \
         held-out galaxies, and on a grid over the trained ranges (combinations that the model's card calls an \
         extrapolation left out).</p>\n{}{}",
        tables::conditions(e),
        grid(" two", &figures::conditions(e))
    )
}

fn memorisation(e: &Evaluation) -> String {
    format!(
        "{}<div class=\"figures two\">{}</div>\n<p>The drawn galaxies nearest to a training galaxy, each above \
         it (mirrored where that is nearer), and the same for held-out galaxies.</p>\n{}",
        tables::memorisation(e),
        figures::distances(e).to_svg(),
        picture(&pictures::nearest_sheet(e), "nearest training galaxies")
    )
}

fn picture(canvas: &Canvas, alternative: &str) -> String {
    let data = STANDARD.encode(canvas.to_png());
    format!("<img alt=\"{alternative}\" src=\"data:image/png;base64,{data}\">\n")
}

/// Text that may hold anything, in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
