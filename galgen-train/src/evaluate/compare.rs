//! One row of the evaluation's table: a statistic of held-out, drawn and Sersic galaxies.

use super::joint::{Overlap, directions, overlap};
use super::statistics::{self, COLUMNS};
use super::yardstick::{Floor, Metric, Row, halves};
use galgen_io::samples::{deviation, kolmogorov_smirnov, quantile, quartiles, wasserstein};
use serde_json::{Map, Value, json};

/// Projections of the sliced distances.
const DIRECTIONS: usize = 128;
/// Neighbours of the balls of precision, recall, density and coverage, as Naeem et al. (2020) advise.
pub const NEIGHBOURS: usize = 5;
/// Random halves on which these are taken.
const OVERLAP_REPEATS: usize = 20;
/// Largest distance that is aimed at, in units of the floor.
pub const FLOOR_GOAL: f64 = 1.5;
/// Where a learned model must earn its keep: largest distance in units of that of the Sersic galaxies.
pub const SERSIC_GOAL: f64 = 0.5;
/// The statistics that the second goal is for.
const SERSIC_GOAL_FOR: [&str; 3] = ["asymmetry", "gini_m20", "power_spectrum"];

/// Values of every statistic ([`COLUMNS`]) for three samples of galaxies; NaN where one cannot be measured.
pub struct Tables {
    /// Real galaxies that the model has not seen.
    pub held_out: Vec<Row>,
    /// One galaxy drawn for each of them.
    pub drawn: Vec<Row>,
    /// The best-fit Sersic galaxy of each of them.
    pub sersic: Vec<Row>,
}

impl Tables {
    /// The three samples, held-out first.
    pub fn all(&self) -> [&[Row]; 3] {
        [&self.held_out, &self.drawn, &self.sersic]
    }

    /// The three samples in some columns, without rows in which one is missing.
    fn columns(&self, columns: &[usize], scaled: bool) -> [Vec<Row>; 3] {
        self.rows(columns, scaled).map(|rows| {
            let whole = |row: &Row| row.iter().all(|v| v.is_finite());
            rows.into_iter().filter(whole).collect()
        })
    }

    /// Held-out and drawn galaxies in some columns, without pairs in which one is missing.
    fn pairs(&self, columns: &[usize], scaled: bool) -> (Vec<Row>, Vec<Row>) {
        let [held_out, drawn, _] = self.rows(columns, scaled);
        let whole = |(a, b): &(Row, Row)| a.iter().chain(b).all(|v| v.is_finite());
        held_out.into_iter().zip(drawn).filter(whole).unzip()
    }

    /// The three samples in some columns; if `scaled`, less the median and over half of the 16-84 % range of the held-out
    /// galaxies.
    fn rows(&self, columns: &[usize], scaled: bool) -> [Vec<Row>; 3] {
        let scale: Vec<(f64, f64)> = columns
            .iter()
            .map(|&c| {
                let values = finite(&self.held_out, c);
                let width = 0.5 * (quantile(&values, 0.84) - quantile(&values, 0.16));
                let width = if width > 0.0 {
                    width
                } else {
                    deviation(&values)
                };
                (
                    quantile(&values, 0.5),
                    if width > 0.0 { width } else { 1.0 },
                )
            })
            .collect();
        self.all().map(|rows| {
            let pick = |row: &Row| -> Row {
                let pairs = columns.iter().zip(&scale);
                pairs
                    .map(|(&c, (middle, width))| {
                        if scaled {
                            (row[c] - middle) / width
                        } else {
                            row[c]
                        }
                    })
                    .collect()
            };
            rows.iter().map(pick).collect()
        })
    }
}

/// Finite values of one column.
pub fn finite(rows: &[Row], column: usize) -> Vec<f64> {
    let values = rows.iter().map(|r| r[column]);
    values.filter(|v| v.is_finite()).collect()
}

/// Distances of the drawn and of the Sersic galaxies to the held-out ones, and what chance would give.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Name in the JSON.
    pub key: &'static str,
    /// Name in the report.
    pub label: &'static str,
    /// Galaxies in which it can be measured: held-out, drawn, Sersic.
    pub measurable: [usize; 3],
    /// Quartiles of held-out, drawn and Sersic galaxies, for a single number.
    pub quartiles: Option<[[f64; 3]; 3]>,
    /// Kolmogorov-Smirnov distance and p-value of drawn and of Sersic galaxies, for a single number.
    pub ks: Option<[(f64, f64); 2]>,
    /// Wasserstein distance of the drawn galaxies, with its error.
    pub drawn: (f64, f64),
    /// Wasserstein distance of the Sersic galaxies, with its error.
    pub sersic: (f64, f64),
    /// Wasserstein distance of two samples of real galaxies.
    pub floor: Floor,
    /// What chance leaves where each drawn galaxy has the conditions of a held-out one: [`Metric::swapped`].
    pub paired: f64,
}

impl Compared {
    /// Distance over the floor.
    pub fn to_floor(&self) -> f64 {
        self.drawn.0 / self.floor.mean
    }

    /// Distance over that of the Sersic galaxies.
    pub fn to_sersic(&self) -> f64 {
        self.drawn.0 / self.sersic.0
    }

    /// Whether the distance is at most [`FLOOR_GOAL`] floors.
    pub fn meets_floor_goal(&self) -> bool {
        self.to_floor() <= FLOOR_GOAL
    }

    /// Whether it is less than [`SERSIC_GOAL`] of the Sersic galaxies'; `None` where this is no goal.
    pub fn meets_sersic_goal(&self) -> Option<bool> {
        let goal = SERSIC_GOAL_FOR.contains(&self.key);
        goal.then(|| self.to_sersic() < SERSIC_GOAL)
    }

    /// The row in figures.
    pub fn json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.into(), value);
        put("measurable", by_sample(self.measurable.map(|n| json!(n))));
        if let (Some(quartiles), Some([drawn, sersic])) = (self.quartiles, self.ks) {
            put("quartiles", by_sample(quartiles.map(|q| json!(q))));
            put("ks", json!({ "drawn": drawn.0, "sersic": sersic.0 }));
            put("ks_p", json!({ "drawn": drawn.1, "sersic": sersic.1 }));
        }
        put("wasserstein", json!(self.drawn.0));
        put("wasserstein_error", json!(self.drawn.1));
        put("floor", json!(self.floor.mean));
        put("floor_range", json!(self.floor.range));
        put("chance_of_pairs", json!(self.paired));
        put("sersic", json!(self.sersic.0));
        put("sersic_error", json!(self.sersic.1));
        put("ratio_to_floor", json!(self.to_floor()));
        put("floor_goal_met", json!(self.meets_floor_goal()));
        put("ratio_to_sersic", json!(self.to_sersic()));
        if let Some(met) = self.meets_sersic_goal() {
            put("sersic_goal_met", json!(met));
        }
        Value::Object(map)
    }
}

/// An object with a value for each of the three samples.
fn by_sample([held_out, drawn, sersic]: [Value; 3]) -> Value {
    json!({ "held_out": held_out, "drawn": drawn, "sersic": sersic })
}

/// What is compared: single numbers first, then what consists of several.
fn subjects() -> Vec<(&'static str, &'static str, Vec<usize>)> {
    let singles = COLUMNS.iter().enumerate();
    let mut subjects: Vec<_> = singles
        .filter(|(_, c)| c.group.is_none())
        .map(|(i, c)| (c.key, c.label, vec![i]))
        .collect();
    let place = |key| statistics::column(key).expect("a column");
    subjects.push((
        "gini_m20",
        "Gini and M20 jointly",
        vec![place("gini"), place("m20")],
    ));
    for (key, label) in statistics::GROUPS {
        subjects.push((key, label, statistics::group(key)));
    }
    subjects.push((
        "all",
        "all statistics jointly",
        (0..COLUMNS.len()).collect(),
    ));
    subjects
}

/// Every row of the table.
pub fn compare(tables: &Tables, seed: u64, each: impl Fn()) -> Vec<Compared> {
    let row = |(key, label, columns): &(&'static str, &'static str, Vec<usize>)| {
        let single = columns.len() == 1;
        let [held_out, drawn, sersic] = tables.columns(columns, !single);
        let sliced = *key == "all" || *key == "gini_m20";
        let metric = if sliced {
            Metric::Sliced(directions(columns.len(), DIRECTIONS, seed))
        } else {
            Metric::Columns
        };
        let apart = |rows: &[Row], id| {
            (
                metric.distance(&held_out, rows),
                metric.error(&held_out, rows, seed ^ id),
            )
        };
        let numbers = [&held_out, &drawn, &sersic].map(|rows| finite(rows, 0));
        let ks = |i: usize| kolmogorov_smirnov(&numbers[0], &numbers[i]);
        let compared = Compared {
            key,
            label,
            measurable: [held_out.len(), drawn.len(), sersic.len()],
            quartiles: single.then(|| [0, 1, 2].map(|i| quartiles(&numbers[i]))),
            ks: single.then(|| [ks(1), ks(2)]),
            drawn: apart(&drawn, 1),
            sersic: apart(&sersic, 2),
            floor: metric.floor(&held_out, [held_out.len(), drawn.len()], seed),
            paired: {
                let (held_out, drawn) = tables.pairs(columns, !single);
                metric.swapped(&held_out, &drawn, seed)
            },
        };
        each();
        compared
    };
    subjects().iter().map(row).collect()
}

/// One column in figures: quartiles, and Wasserstein and Kolmogorov-Smirnov distances to the held-out galaxies.
pub fn part_json(tables: &Tables, column: usize) -> Value {
    let numbers = tables.all().map(|rows| finite(rows, column));
    let [held_out, drawn, sersic] = &numbers;
    let (ks_drawn, ks_sersic) = (
        kolmogorov_smirnov(held_out, drawn),
        kolmogorov_smirnov(held_out, sersic),
    );
    json!({
        "quartiles": by_sample([0, 1, 2].map(|i| json!(quartiles(&numbers[i])))),
        "wasserstein": wasserstein(held_out, drawn),
        "sersic": wasserstein(held_out, sersic),
        "ks": { "drawn": ks_drawn.0, "sersic": ks_sersic.0 },
        "ks_p": { "drawn": ks_drawn.1, "sersic": ks_sersic.1 },
    })
}

/// Number of rows that [`compare`] makes.
pub fn rows() -> usize {
    subjects().len()
}

/// Overlap of all statistics jointly: of drawn, of real and of Sersic galaxies with real ones, mean
/// over random halves of equal size. `None` with too few galaxies.
///
/// Precision and recall depend on the sizes of the samples, so that all three are compared at one size: half of the
/// galaxies that can be measured in every sample.
pub fn overlaps(tables: &Tables, seed: u64) -> Option<[Overlap; 3]> {
    let every: Vec<usize> = (0..COLUMNS.len()).collect();
    let [held_out, drawn, sersic] = tables.columns(&every, true);
    let n = held_out.len().min(drawn.len()).min(sersic.len());
    let pick =
        |rows: &[Row], half: &[usize]| half.iter().map(|&i| rows[i].clone()).collect::<Vec<_>>();
    let mut sums = [[0.0; 4]; 3];
    for repeat in 0..OVERLAP_REPEATS {
        let [first, second] = halves(n, seed, repeat);
        let real = pick(&held_out, &first);
        let others = [
            pick(&drawn, &second),
            pick(&held_out, &second),
            pick(&sersic, &second),
        ];
        for (sum, other) in sums.iter_mut().zip(&others) {
            let o = overlap(&real, other, NEIGHBOURS)?;
            for (s, v) in sum
                .iter_mut()
                .zip([o.precision, o.recall, o.density, o.coverage])
            {
                *s += v / OVERLAP_REPEATS as f64;
            }
        }
    }
    Some(sums.map(|[precision, recall, density, coverage]| Overlap {
        precision,
        recall,
        density,
        coverage,
    }))
}

/// [`overlaps`] in figures.
pub fn overlaps_json(overlaps: &Option<[Overlap; 3]>) -> Value {
    let Some([drawn, floor, sersic]) = overlaps else {
        return Value::Null;
    };
    let one = |o: &Overlap| json!({ "precision": o.precision, "recall": o.recall, "density": o.density, "coverage": o.coverage });
    json!({ "k": NEIGHBOURS, "drawn": one(drawn), "floor": one(floor), "sersic": one(sersic) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use galgen_core::rng::{Philox, Stream};

    /// Rows of independent normal numbers of this mean, some missing.
    fn sample(id: u64, mean: f64) -> Vec<Row> {
        let mut rng = Philox::new(31, id, Stream::Training);
        let mut row = |i: usize| -> Row {
            let mut row: Row = COLUMNS.iter().map(|_| mean + rng.normal()).collect();
            if i.is_multiple_of(40) {
                row[0] = f64::NAN;
            }
            row
        };
        (0..120).map(&mut row).collect()
    }

    #[test]
    fn equal_samples_meet_the_goals_and_others_do_not() {
        let tables = |drawn| Tables {
            held_out: sample(1, 0.0),
            drawn: sample(2, drawn),
            sersic: sample(3, 1.0),
        };
        let good = compare(&tables(0.0), 1, || ());
        assert_eq!(good.len(), rows());
        let median = |rows: &[Compared]| {
            quantile(
                &rows.iter().map(Compared::to_floor).collect::<Vec<_>>(),
                0.5,
            )
        };
        assert!((0.6..1.4).contains(&median(&good)), "{}", median(&good));
        let bad = compare(&tables(0.7), 1, || ());
        for row in &bad {
            assert!(
                !row.meets_floor_goal() && row.drawn.0 > 3.0 * row.drawn.1,
                "{}",
                row.key
            );
            // Sersic galaxies are farther still, but not twice as far.
            assert!(
                (0.5..1.0).contains(&row.to_sersic()),
                "{}: {}",
                row.key,
                row.to_sersic()
            );
            assert_eq!(
                row.meets_sersic_goal(),
                SERSIC_GOAL_FOR.contains(&row.key).then_some(false)
            );
        }
        // Missing numbers leave their own rows and the joint ones only.
        let of = |key| {
            good.iter()
                .find(|c| c.key == key)
                .expect("a row")
                .measurable
        };
        assert_eq!(of("half_light_radius"), [117; 3]);
        assert_eq!(of("sigma"), [120; 3]);
        assert_eq!(of("all"), [117; 3]);

        let [drawn, floor, sersic] = overlaps(&tables(0.0), 1).expect("enough galaxies");
        assert!(
            (drawn.density - floor.density).abs() < 0.2,
            "{drawn:?} {floor:?}"
        );
        assert!(
            sersic.coverage < 0.5 * floor.coverage,
            "{sersic:?} {floor:?}"
        );
    }

    #[test]
    fn what_cannot_be_measured_at_all_is_no_number_and_no_panic() {
        let nothing = || vec![statistics::unmeasured(); 12];
        let tables = Tables {
            held_out: nothing(),
            drawn: nothing(),
            sersic: nothing(),
        };
        for row in compare(&tables, 1, || ()) {
            assert!(row.drawn.0.is_nan() && !row.meets_floor_goal() && row.measurable == [0; 3]);
            assert!(row.json()["wasserstein"].is_null());
        }
        assert_eq!(overlaps(&tables, 1), None);
    }
}
