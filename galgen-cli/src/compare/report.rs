//! The page that `galgen compare` writes.

use super::summary::{Against, RESAMPLINGS, Summary};
use super::{Comparison, Sample, figures};
use galgen_io::report::{escaped, grid, number, p_value, page, picture, section, table};

/// The report as HTML, all pictures inside.
pub fn html(comparison: &Comparison, found: &Summary) -> String {
    let ratio = comparison.models.len() == 2;
    let symbol = comparison.quantity.symbol();
    let label = &match ratio {
        true => format!("ln {symbol} / p', nats"),
        false => format!("ln {symbol}, nats"),
    };
    let names: Vec<String> = comparison
        .samples
        .iter()
        .map(|s| escaped(&s.name))
        .collect();
    let sections = [
        heading(comparison, &names, ratio),
        section("Samples", &samples(comparison, found)),
        section(
            "Distribution of the score",
            &(figures::distribution(comparison, label).to_svg() + &bands_note()),
        ),
        section("Most and least likely", &extremes(comparison)),
        section(
            "What makes a galaxy likely",
            &(correlations(comparison, found)
                + &grid(3, &figures::properties(comparison, label))
                + "<p class=\"note\">Lines are medians in bins of as many galaxies, bands 16 to 84 %.</p>\n"),
        ),
    ];
    page(
        &format!("{}: comparison", comparison.models[0]),
        &sections.concat(),
    )
}

fn heading(comparison: &Comparison, names: &[String], ratio: bool) -> String {
    let models: Vec<String> = comparison.models.iter().map(|m| escaped(m)).collect();
    let symbol = comparison.quantity.symbol();
    let score = if ratio {
        format!(
            "The score of a galaxy is ln {symbol} under {} less ln {symbol} under {}: what the first model has learned and the \
             second has not.",
            models[0], models[1]
        )
    } else {
        format!(
            "The score of a galaxy is ln {symbol}, {}, under {}.",
            comparison.quantity.name(),
            models[0]
        )
    };
    let caution = if ratio {
        ""
    } else {
        "<p><strong>Read with care.</strong> The density of an image is dominated by its sky and its simplicity: smooth, \
         faint and empty images are likely under almost any model, also under one trained on other galaxies. A sample with \
         a higher mean is therefore not a more realistic one: it should have the reference's <em>distribution</em>. \
         The ratio to a model trained on best-fit S&eacute;rsic galaxies (<code>--against</code>) takes most of \
         this out.</p>\n"
    };
    format!(
        "<h1>{} against {}</h1>\n<p>{score} A bound of ln p is evaluated with {} draws where the model has \
         no exact density.</p>\n{caution}",
        names[1..].join(", "),
        names[0],
        comparison.draws
    )
}

fn bands_note() -> String {
    format!("<p class=\"note\">Bands: 16 to 84 % of {RESAMPLINGS} bootstrap samples.</p>\n")
}

fn samples(comparison: &Comparison, found: &Summary) -> String {
    let row = |(i, (sample, a)): (usize, (&Sample, &Against))| {
        let beside = |text: String| if i == 0 { "reference".into() } else { text };
        vec![
            escaped(&sample.name),
            format!("{} of {}", a.count, sample.log_p.len()),
            format!("{:.2} &plusmn; {:.2}", a.mean.0, a.mean.1),
            format!("{:.2}", a.median),
            beside(number(a.wasserstein)),
            beside(format!("{}, p {}", number(a.ks.0), p_value(a.ks.1))),
            beside(format!("{:.3} &plusmn; {:.3}", a.auroc.0, a.auroc.1)),
            format!(
                "{:.1} %, {:.1} %",
                100.0 * a.atypical[0],
                100.0 * a.atypical[1]
            ),
        ]
    };
    let rows: Vec<_> = comparison
        .samples
        .iter()
        .zip(&found.samples)
        .enumerate()
        .map(row)
        .collect();
    let head = [
        "sample",
        "scored",
        "mean, nats",
        "median",
        "Wasserstein, nats",
        "Kolmogorov-Smirnov",
        "AUROC",
        "below, above typical",
    ];
    table(&head, &rows)
        + "<p class=\"note\">AUROC: probability that a galaxy of the reference has a higher score than one of the sample; \
           0.5 for samples of one population. Typical: between the 2.5 and 97.5 % quantiles of the reference.</p>\n"
}

fn extremes(comparison: &Comparison) -> String {
    let sheet = |sample: &Sample| {
        let name = escaped(&sample.name);
        let canvas = figures::extremes(comparison, sample);
        format!(
            "<h3>{name}</h3>\n{}",
            picture(&canvas, &format!("most and least likely of {name}"))
        )
    };
    comparison.samples.iter().map(sheet).collect()
}

fn correlations(comparison: &Comparison, found: &Summary) -> String {
    let head: Vec<&str> = ["property"]
        .into_iter()
        .chain(comparison.samples.iter().map(|s| &s.name[..]))
        .collect();
    let head: Vec<String> = head.into_iter().map(escaped).collect();
    let head: Vec<&str> = head.iter().map(|s| &s[..]).collect();
    let row = |(i, property): (usize, &super::Property)| {
        let values = found.samples.iter().map(|a| number(a.correlations[i]));
        [escaped(&property.name)]
            .into_iter()
            .chain(values)
            .collect()
    };
    let rows: Vec<Vec<String>> = comparison.properties.iter().enumerate().map(row).collect();
    "<p>Rank correlation (Spearman) of the score with what is measured on the stamps or named by \
     <code>--property</code>.</p>\n"
        .to_string()
        + &table(&head, &rows)
}
