//! Tables of the report.

use super::super::Evaluation;
use super::super::compare::{Compared, FLOOR_GOAL, NEIGHBOURS, SERSIC_GOAL};
use super::super::conditions::{GOAL, Requested};
use super::super::memorisation::{CHANCE, Nearest};
use super::super::sharp::Outliers;
use super::super::summary::Goal;
use super::super::yardstick::{HALVES, RESAMPLINGS};
use galgen_io::report::{escaped, number, p_value, table};
use galgen_io::samples::quartiles;

fn verdict(met: bool) -> String {
    if met {
        "<span class=\"met\">met</span>".into()
    } else {
        "<span class=\"missed\">not met</span>".into()
    }
}

pub(super) fn goals(e: &Evaluation) -> String {
    let goals = e.goals();
    let met = goals.iter().filter(|g| g.met).count();
    let row = |g: &Goal| {
        vec![
            escaped(&g.what),
            number(g.found),
            escaped(&g.limit),
            verdict(g.met),
        ]
    };
    let rows: Vec<_> = goals.iter().map(row).collect();
    format!(
        "<p>{met} of {} goals are met.</p>\n{}",
        goals.len(),
        table(&["goal", "found", "limit", ""], &rows)
    )
}

pub(super) fn distances(e: &Evaluation) -> String {
    let row = |c: &Compared| {
        let three = |q: [f64; 3]| q.map(number).join(" / ");
        let quartiles = c.quartiles.map(|q| q.map(three));
        let [held_out, drawn, sersic] = quartiles.unwrap_or_default();
        let with_error =
            |(value, error): (f64, f64)| format!("{} &plusmn; {}", number(value), number(error));
        let range = c.floor.range.map(number).join(" - ");
        let ks = c.ks.map_or([String::new(), String::new()], |ks| {
            ks.map(|(d, p)| format!("{} ({})", number(d), p_value(p)))
        });
        let [ks_drawn, ks_sersic] = ks;
        let class = |met: bool| if met { "met" } else { "missed" };
        let sersic_ratio = match c.meets_sersic_goal() {
            Some(met) => format!(
                "<span class=\"{}\">{}</span>",
                class(met),
                number(c.to_sersic())
            ),
            None => number(c.to_sersic()),
        };
        vec![
            c.label.into(),
            c.measurable.map(|n| n.to_string()).join(" / "),
            held_out,
            drawn,
            sersic,
            with_error(c.drawn),
            format!("{} ({range})", number(c.floor.mean)),
            number(c.paired),
            with_error(c.sersic),
            format!(
                "<span class=\"{}\">{}</span>",
                class(c.meets_floor_goal()),
                number(c.to_floor())
            ),
            sersic_ratio,
            ks_drawn,
            ks_sersic,
        ]
    };
    let rows: Vec<_> = e.compared.iter().map(row).collect();
    let head = [
        "statistic",
        "measurable<br>real / drawn / Sersic",
        "held-out<br>quartiles",
        "drawn<br>quartiles",
        "Sersic<br>quartiles",
        "Wasserstein<br>drawn",
        "floor<br>(16 - 84 %)",
        "chance<br>of pairs",
        "Wasserstein<br>Sersic",
        "drawn /<br>floor",
        "drawn /<br>Sersic",
        "KS drawn<br>(p)",
        "KS Sersic<br>(p)",
    ];
    format!(
        "{}<p class=\"note\">Distances to the held-out galaxies. Single statistics: Wasserstein distance of order 1 in \
         their own unit. Profile and power spectrum: its mean over their parts, each in units of half its 16-84 % range \
         among held-out galaxies. Joint rows: mean over random projections (sliced), in those units. Errors: bootstrap, \
         {RESAMPLINGS} resamplings. Floor: mean distance of random halves of the held-out galaxies ({HALVES} splits), \
         times sqrt((1/n + 1/m) / (4/n)) for n held-out and m drawn galaxies, because the halves are smaller; in \
         brackets the range of single splits. Each drawn galaxy has the conditions of a held-out one, so that chance leaves less \
         than the floor in what these fix: chance of pairs is the mean distance after the members of every pair were swapped \
         with odds of one half. For the same reason the p-values of KS are upper bounds. KS: Kolmogorov-Smirnov distance with its exact p-value. Coloured: goals \
         (at most {FLOOR_GOAL} floors; less than {SERSIC_GOAL} of Sersic for asymmetry, Gini-M20 and power \
         spectrum). Galaxies that cannot be measured are left out of a row: the counts say how many are in it. \
         Sersic galaxies have the Sersic index of the held-out ones by construction.</p>\n",
        table(&head, &rows)
    )
}

pub(super) fn overlap(e: &Evaluation) -> String {
    let Some(overlaps) = &e.overlaps else {
        return "<p>Too few galaxies in which everything can be measured.</p>\n".into();
    };
    let names = ["drawn", "real (floor)", "Sersic"];
    let rows: Vec<_> = names
        .iter()
        .zip(overlaps)
        .map(|(name, o)| {
            let mut row = vec![name.to_string()];
            row.extend([o.precision, o.recall, o.density, o.coverage].map(number));
            row
        })
        .collect();
    format!(
        "{}<p class=\"note\">Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) \
         with k = {NEIGHBOURS}, against one random half of the held-out galaxies; the others are as many drawn, held-out \
         and Sersic galaxies of the other half. Mean of 20 splits.</p>\n",
        table(
            &["sample", "precision", "recall", "density", "coverage"],
            &rows
        )
    )
}

pub(super) fn conditions(e: &Evaluation) -> String {
    let mut rows = Vec::new();
    for requested in &e.requested {
        let samples = [
            ("held-out conditions", &requested.pairs.population),
            ("grid", &requested.pairs.grid),
        ];
        for (name, pairs) in samples {
            let error: Vec<f64> = pairs.iter().map(|(asked, got)| got - asked).collect();
            let [low, bias, high] = quartiles(&error);
            let median = Requested::median_error(pairs);
            rows.push(vec![
                escaped(&requested.name),
                name.into(),
                pairs.len().to_string(),
                number(bias),
                format!("{} to {}", number(low), number(high)),
                format!("{} %", number(100.0 * median)),
                if pairs.is_empty() {
                    String::new()
                } else {
                    verdict(median <= GOAL)
                },
            ]);
        }
    }
    let head = [
        "requested",
        "sample",
        "galaxies",
        "median bias",
        "quartiles of the error",
        "median |error|",
        "goal: 3 %",
    ];
    let unmeasured = &e.unmeasured_conditions;
    let note = if unmeasured.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"note\">Not measured, because galgen has no measurement for them: {}.</p>\n",
            escaped(&unmeasured.join(", "))
        )
    };
    table(&head, &rows) + &note
}

pub(super) fn memorisation(e: &Evaluation) -> String {
    let m = &e.memorisation;
    let (close, close_p) = m.close();
    let row = |name: &str, list: &[Nearest]| {
        let distances: Vec<f64> = list.iter().map(|n| n.distance).collect();
        let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
        vec![
            name.into(),
            list.len().to_string(),
            number(least),
            quartiles(&distances).map(number).join(" / "),
        ]
    };
    let rows = [row("held-out", &m.held_out), row("drawn", &m.drawn)];
    format!(
        "{}<p>Rank test that drawn galaxies are nearer to training galaxies than held-out ones are: p = {}. \
         {} % of the drawn are as near as the nearest 1 % of the held-out: p = {}. {}</p>\n\
         <p class=\"note\">Distance: square roots of the light in 4 x 4 pixels, best of four mirror images, everything \
         as observed. A p-value below {CHANCE} of either test is not taken for chance.</p>\n",
        table(
            &["sample", "galaxies", "least distance", "quartiles"],
            &rows
        ),
        p_value(m.rank_p()),
        number(100.0 * close),
        p_value(close_p),
        verdict(m.met())
    )
}

pub(super) fn outliers(e: &Evaluation) -> String {
    let row = |o: &Outliers| {
        vec![
            o.name.into(),
            number(o.limit),
            format!("{} of {}", o.held_out[0], o.held_out[1]),
            format!("{} of {}", o.drawn[0], o.drawn[1]),
            format!("{} %", number(100.0 * o.share())),
            p_value(o.p()),
            verdict(o.met()),
        ]
    };
    let rows: Vec<_> = e.outliers.iter().map(row).collect();
    let head = ["statistic", "above", "held-out", "drawn", "share", "p", ""];
    format!(
        "{}<p class=\"note\">All drawn galaxies, each through the point-spread function and noise of one of the best resolved \
         quarter of the held-out galaxies, against these galaxies themselves: a model may hide holes and blocks behind the \
         wide point-spread functions of the others. An outlier lies above the 99 % quantile of the real ones, or cannot be measured; p is the \
         probability of as many by chance.</p>\n",
        table(&head, &rows)
    )
}

pub(super) fn provenance(e: &Evaluation) -> String {
    let p = &e.provenance;
    let rows = [
        ("model", &p.model),
        ("fingerprint", &p.fingerprint),
        ("point-spread function in the model", &p.psf),
        ("command", &p.command),
        ("program", &p.program.to_string()),
        ("seed", &p.seed.to_string()),
        (
            "training and held-out galaxies",
            &format!("{} and {}", p.training, p.held_out),
        ),
        (
            "bound of ln p(x), nats a stamp",
            &format!("{:.1} (mean of {} held-out stamps)", e.bound.0, e.bound.1),
        ),
    ]
    .map(|(name, value)| vec![name.to_string(), format!("<code>{}</code>", escaped(value))]);
    table(&["", ""], &rows).replacen("<table>", "<table class=\"facts\">", 1)
}
