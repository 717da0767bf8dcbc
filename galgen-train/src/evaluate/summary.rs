//! What an evaluation says in figures: goals, the summary for the model's card, and the files.

use super::compare::{FLOOR_GOAL, SERSIC_GOAL};
use super::conditions::{GOAL, Requested};
use super::memorisation::CHANCE;
use super::sharp;
use super::{Evaluation, bound, compare, report, statistics};
use galgen_io::atomic::write_atomic;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One goal of a model.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What is compared.
    pub what: String,
    /// The figure.
    pub found: f64,
    /// What it should be.
    pub limit: String,
    /// Whether it is.
    pub met: bool,
}

impl Evaluation {
    /// Every goal with its figure.
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for c in &self.compared {
            goals.push(Goal {
                what: format!("{}: distance over floor", c.label),
                found: c.to_floor(),
                limit: format!("at most {FLOOR_GOAL}"),
                met: c.meets_floor_goal(),
            });
        }
        for c in &self.compared {
            if let Some(met) = c.meets_sersic_goal() {
                goals.push(Goal {
                    what: format!("{}: distance over that of Sersic galaxies", c.label),
                    found: c.to_sersic(),
                    limit: format!("less than {SERSIC_GOAL}"),
                    met,
                });
            }
        }
        for r in &self.requested {
            let errors = [&r.pairs.population, &r.pairs.grid].map(|p| Requested::median_error(p));
            goals.push(Goal {
                what: format!(
                    "{}: median |measured / requested - 1|, the larger of both samples",
                    r.name
                ),
                found: errors.into_iter().fold(f64::NAN, f64::max),
                limit: format!("at most {GOAL}"),
                met: r.met(),
            });
        }
        let m = &self.memorisation;
        goals.push(Goal {
            what: "drawn no nearer to training galaxies than held-out ones: the lower p-value of two tests".into(),
            found: m.rank_p().min(m.close().1),
            limit: format!("at least {CHANCE}"),
            met: m.met(),
        });
        for o in &self.outliers {
            goals.push(Goal {
                what: format!(
                    "{}: outliers through the sharpest telescopes, p-value of more than real galaxies have",
                    o.name
                ),
                found: o.p(),
                limit: format!("at least {}", sharp::CHANCE),
                met: o.met(),
            });
        }
        goals
    }

    /// Everything in figures.
    pub fn json(&self) -> Value {
        let mut all = self.summary();
        let parts: Map<String, Value> = statistics::COLUMNS
            .iter()
            .enumerate()
            .filter(|(_, c)| c.group.is_some())
            .map(|(i, c)| (c.key.to_string(), compare::part_json(&self.tables, i)))
            .collect();
        all["parts"] = Value::Object(parts);
        let requested = self.requested.iter().map(|r| (r.name.clone(), r.json()));
        all["requested_against_measured"] = Value::Object(requested.collect());
        all["unmeasured_conditions"] = json!(self.unmeasured_conditions);
        all
    }

    /// What goes into the model's card.
    pub fn summary(&self) -> Value {
        let goals = self.goals();
        let missed: Vec<&str> = goals
            .iter()
            .filter(|g| !g.met)
            .map(|g| g.what.as_str())
            .collect();
        let statistics = self.compared.iter().map(|c| (c.key.to_string(), c.json()));
        let requested = self
            .requested
            .iter()
            .map(|r| (r.name.clone(), r.short_json()));
        let p = &self.provenance;
        json!({
            "about": format!(
                "{}, through its PSF and noise; Wasserstein distance to the held-out galaxies, of random halves of them \
                 (floor, scaled to the size) and of their best-fit Sersic galaxies",
                match p.reconstructions {
                    true => "each held-out galaxy's own reconstruction (not drawn)",
                    false => "one galaxy drawn for each held-out galaxy under its own conditions",
                }
            ),
            "command": p.command,
            "program": p.program,
            "seed": p.seed,
            "training": p.training,
            "held_out": p.held_out,
            "goals": { "met": goals.len() - missed.len(), "of": goals.len(), "not_met": missed },
            "statistics": Value::Object(statistics.collect()),
            "overlap": compare::overlaps_json(&self.overlaps),
            "requested_against_measured": Value::Object(requested.collect()),
            "nearest_training_galaxy": self.memorisation.json(),
            "outliers_through_the_sharpest_telescopes": self.outliers.each_ref().map(|o| (o.name.to_string(), o.json())).into_iter().collect::<Map<_, _>>(),
            "bound": { "stamps": self.bound.1, "posterior_draws": bound::DRAWS, "mean_nats": self.bound.0 },
        })
    }

    /// Writes `report.html`, `evaluation.json` and `samples.png` into `directory`, which is made if need be.
    pub fn write(&self, directory: &Path) -> Result<(), String> {
        std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let json = serde_json::to_string_pretty(&self.json()).map_err(|e| e.to_string())?;
        let files = [
            ("report.html", report::html(self).into_bytes()),
            ("evaluation.json", (json + "\n").into_bytes()),
            ("samples.png", report::samples_sheet(self).to_png()),
        ];
        for (name, bytes) in files {
            write_atomic(directory.join(name), &bytes).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
