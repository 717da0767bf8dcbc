//! The evaluation as one HTML page with its pictures inside.

mod figures;
mod pictures;
mod tables;

use super::Evaluation;
use galgen_io::report::{escaped, grid, page, picture, section};

pub use pictures::samples_sheet;

/// The page.
pub fn html(evaluation: &Evaluation) -> String {
    let e = evaluation;
    let sections = [
        heading(e),
        section("Goals", &tables::goals(e)),
        section("Distances", &tables::distances(e)),
        section(
            "Overlap in the space of all statistics",
            &tables::overlap(e),
        ),
        section("Contact sheets", &sheets(e)),
        section("Distributions", &grid(3, &figures::histograms(e))),
        section(
            "Gini-M20 plane, radial profile and power spectrum",
            &(grid(2, &figures::planes(e)) + PLANES_NOTE),
        ),
        section("Requested against measured", &conditions(e)),
        section("Through the sharpest telescopes", &tables::outliers(e)),
        section("Memorisation", &memorisation(e)),
        section("Where this comes from", &tables::provenance(e)),
    ];
    let title = format!("{}: evaluation", e.provenance.model);
    page(&title, &sections.concat())
}

const PLANES_NOTE: &str = "<p class=\"note\">Lines are medians, bands 16 to 84 %. The profile is the mean \
     brightness in elliptical rings, in units of the mean brightness within the half-light ellipse; the power \
     spectrum is that of the whole stamp.</p>\n";

fn heading(e: &Evaluation) -> String {
    let n = e.held_out.len();
    let (title, made) = match e.provenance.reconstructions {
        true => (
            "reconstructions of held-out galaxies against these",
            "What is called drawn below is each held-out galaxy's own reconstruction, a draw of its latent's posterior. It was",
        ),
        false => (
            "drawn against held-out galaxies",
            "One galaxy was drawn for each held-out galaxy under its own conditions,",
        ),
    };
    format!(
        "<h1>{}: {title}</h1>\n<p>{made} seen through that galaxy's point-spread function and noise and its \
         masked pixels replaced as its own are; both, {n} of each, were measured alike. Two yardsticks are measured in the same run: \
         real against real galaxies (the floor, what chance leaves between two samples of this size) and the best-fit \
         Sersic galaxy of each held-out galaxy, observed in the same way.</p>\n",
        escaped(&e.provenance.model)
    )
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
        grid(2, &figures::conditions(e))
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
