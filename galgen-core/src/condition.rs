//! Conditions: the physical parameters that a model is asked for, with units and trained ranges.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most conditions that a model may have; an [`Object`](crate::object::Object) then needs no allocation.
pub const MAX_CONDITIONS: usize = 16;

/// Most classes of a condition.
pub const MAX_CLASSES: usize = 256;

/// One parameter: a number, or one of several classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Name in the field's terms, e.g. `axis_ratio`. Catalogue columns and queries use it.
    pub name: String,
    /// Unit, empty for a pure number.
    pub unit: String,
    /// One sentence for people.
    pub description: String,
    /// Mean over the training set, subtracted before a network sees the value; 0 for classes.
    pub mean: f64,
    /// Standard deviation over the training set, positive; 1 for classes.
    pub deviation: f64,
    /// Smallest and largest value that the model was trained on.
    pub range: [f64; 2],
    /// Names of the classes; empty for a number. The value of a class is its position here, and the
    /// networks see one number per class: 1 for the one asked for, 0 for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

impl Condition {
    /// A condition with these classes.
    pub fn of_classes(name: &str, description: &str, classes: Vec<String>) -> Self {
        Condition {
            name: name.into(),
            unit: String::new(),
            description: description.into(),
            mean: 0.0,
            deviation: 1.0,
            range: [0.0, classes.len().saturating_sub(1) as f64],
            classes,
        }
    }

    /// How many numbers of the context it makes.
    pub fn width(&self) -> usize {
        self.classes.len().max(1)
    }

    /// The value that `text` means: the position of the class of that name, or a finite number. The error says
    /// what was expected.
    pub fn value(&self, text: &str) -> Result<f32, String> {
        if !self.classes.is_empty() {
            let position = self.classes.iter().position(|class| class == text);
            return position.map(|p| p as f32).ok_or_else(|| {
                let name = &self.name;
                format!(
                    "{name} is {text:?}, expected one of {}",
                    self.classes.join(", ")
                )
            });
        }
        let number = text.parse().ok().filter(|v: &f32| v.is_finite());
        number.ok_or_else(|| format!("{} is {text:?}, expected a number", self.name))
    }
}

/// A value of a condition with classes that is no class.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "condition {condition} (counted from 0) is {found}, expected a class: a whole number from 0 to {}", .classes - 1
)]
pub struct NoClass {
    /// Position of the condition.
    pub condition: usize,
    /// What was found.
    pub found: f32,
    /// Number of classes.
    pub classes: usize,
}

/// All conditions of a model and how to judge whether a request lies inside what was trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// In the order of the network's context.
    pub list: Vec<Condition>,
    /// Inverse of the correlation matrix of the standardised numbers (not the classes) over the training set, row-major.
    pub precision: Vec<f64>,
    /// 99.9th percentile over the training set of the squared Mahalanobis distance under `precision`.
    pub distance_limit: f64,
}

/// What is unusual about a request or a drawn stamp. Zero means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Condition 0 is outside its trained range; condition `i` is `OUT_OF_RANGE << i`.
    pub const OUT_OF_RANGE: u32 = 1;
    /// Each condition may be in range, but their combination is not (Mahalanobis distance).
    pub const JOINT_EXTRAPOLATION: u32 = 1 << 16;
    /// The drawn stamp's orientation is not defined well enough to be corrected to the request.
    pub const ROUND: u32 = 1 << 17;

    /// Whether nothing is unusual.
    pub fn is_clear(self) -> bool {
        self.0 == 0
    }

    /// Whether condition `i` is outside its trained range.
    pub fn out_of_range(self, i: usize) -> bool {
        self.0 >> i & 1 == 1
    }
}

impl core::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl Conditions {
    /// Number of conditions.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Length of the networks' context: one for a number, one per class for classes.
    pub fn width(&self) -> usize {
        self.list.iter().map(Condition::width).sum()
    }

    /// How many of the conditions are numbers.
    fn numbers(&self) -> usize {
        self.list.iter().filter(|c| c.classes.is_empty()).count()
    }

    /// Whether the model is unconditional.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Position of the condition called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|c| c.name == name)
    }

    /// Checks sizes and numbers; the text says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let n = self.len();
        if n > MAX_CONDITIONS {
            return Err(format!("{n} conditions, expected at most {MAX_CONDITIONS}"));
        }
        let n = self.numbers();
        if self.precision.len() != n * n || self.precision.iter().any(|v| !v.is_finite()) {
            return Err(format!(
                "precision has {} numbers, expected {n} x {n} finite ones",
                self.precision.len()
            ));
        }
        let at = |i: usize, j: usize| self.precision[i * n + j];
        for i in 0..n {
            // Up to the rounding of an inversion.
            let symmetric = |j| {
                let unit = libm::sqrt(at(i, i).max(0.0)) * libm::sqrt(at(j, j).max(0.0));
                (at(i, j) - at(j, i)).abs() <= 1e-6 * unit
            };
            if at(i, i) <= 0.0 || !(0..n).all(symmetric) {
                return Err(format!(
                    "precision is not symmetric with a positive diagonal in row {i}"
                ));
            }
        }
        if !(self.distance_limit.is_finite() && self.distance_limit >= 0.0) {
            let found = self.distance_limit;
            return Err(format!("distance limit {found}, expected 0 or more"));
        }
        for (i, c) in self.list.iter().enumerate() {
            plain_text("name of a condition", &c.name)?;
            let positive = c.deviation.is_finite() && c.deviation > 0.0;
            if !(positive && c.mean.is_finite() && c.range[0] <= c.range[1]) {
                return Err(format!(
                    "condition `{}`: mean, deviation > 0 and an ordered range expected",
                    c.name
                ));
            }
            check_classes(c)?;
            if self.position(&c.name) != Some(i) {
                return Err(format!("condition `{}` appears twice", c.name));
            }
        }
        Ok(())
    }

    /// Standardises `values` (in the order of `list`) into `context` for the networks and says what
    /// is outside the trained domain. `values` has `self.len()` elements, `context` `self.width()`.
    pub fn standardise(&self, values: &[f32], context: &mut [f32]) -> Result<Flags, NoClass> {
        assert_eq!(values.len(), self.len(), "number of conditions");
        assert_eq!(context.len(), self.width(), "length of the context");
        let mut flags = 0;
        let mut rest = context;
        for (i, c) in self.list.iter().enumerate() {
            let (own, after) = rest.split_at_mut(c.width());
            rest = after;
            let value = f64::from(values[i]);
            if c.classes.is_empty() {
                own[0] = standard(c, values[i]) as f32;
                // f32 rounding of a limit itself is not an excursion.
                let slack = 1e-6 * (c.range[1] - c.range[0]);
                if !(value >= c.range[0] - slack && value <= c.range[1] + slack) {
                    flags |= Flags::OUT_OF_RANGE << i;
                }
            } else {
                own.fill(0.0);
                let class = own.iter_mut().enumerate().find(|(k, _)| *k as f64 == value);
                let Some((_, class)) = class else {
                    return Err(NoClass {
                        condition: i,
                        found: values[i],
                        classes: c.classes.len(),
                    });
                };
                *class = 1.0;
            }
        }
        let distance = self.distance(values);
        // Absurd values overflow to not-a-number, which is no small distance.
        if distance.is_nan() || distance > self.distance_limit {
            flags |= Flags::JOINT_EXTRAPOLATION;
        }
        Ok(Flags(flags))
    }

    /// Squared Mahalanobis distance of the numbers among `values` under `precision`.
    fn distance(&self, values: &[f32]) -> f64 {
        let numbers = || {
            let pairs = self.list.iter().zip(values);
            pairs.filter(|(c, _)| c.classes.is_empty())
        };
        let n = self.numbers();
        let mut distance = 0.0;
        for (i, (a, &x)) in numbers().enumerate() {
            for (j, (b, &y)) in numbers().enumerate() {
                let (x, y) = (standard(a, x) as f32, standard(b, y) as f32);
                distance += f64::from(x) * self.precision[i * n + j] * f64::from(y);
            }
        }
        distance
    }
}

fn standard(condition: &Condition, value: f32) -> f64 {
    (f64::from(value) - condition.mean) / condition.deviation
}

fn check_classes(condition: &Condition) -> Result<(), String> {
    let (name, classes) = (&condition.name, &condition.classes);
    if classes.is_empty() {
        return Ok(());
    }
    let n = classes.len();
    let standard = (condition.mean, condition.deviation) == (0.0, 1.0);
    if !(2..=MAX_CLASSES).contains(&n) || !standard || condition.range != [0.0, n as f64 - 1.0] {
        return Err(format!(
            "condition `{name}`: {n} classes, expected 2 to {MAX_CLASSES} with mean 0, deviation 1 and \
             range 0 to their number less 1"
        ));
    }
    for (i, class) in classes.iter().enumerate() {
        plain_text("name of a class", class)?;
        if classes[..i].contains(class) {
            return Err(format!("condition `{name}`: class `{class}` appears twice"));
        }
    }
    Ok(())
}

/// Checks a name that becomes a column, a key or a label: 1 to 64 printable ASCII characters.
pub(crate) fn plain_text(what: &str, text: &str) -> Result<(), String> {
    let plain = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if plain && (1..=64).contains(&text.len()) {
        return Ok(());
    }
    let start: String = text.chars().take(64).collect();
    Err(format!(
        "{what} is {start:?}, expected 1 to 64 printable ASCII characters"
    ))
}

/// Sersic index and the concentration C = 5 log10(r80 / r20) of a pure Sersic profile as galgen's
/// stamps hold it: ending at four semi-major half-light radii, multiplied by
/// [`crate::stamp::window`], all radii relative to the light inside.
const SERSIC_TABLE: [(f64, f64); 13] = [
    (0.3, 1.8387),
    (0.4, 1.9948),
    (0.5, 2.1450),
    (0.7, 2.4193),
    (1.0, 2.7566),
    (1.4, 3.0908),
    (2.0, 3.4371),
    (2.5, 3.6430),
    (3.0, 3.8037),
    (4.0, 4.0423),
    (5.0, 4.2142),
    (6.0, 4.3460),
    (8.0, 4.5374),
];

/// Concentration of a Sersic profile of index `n`, by linear interpolation in a table for
/// 0.3 <= n <= 8; outside, the nearest end is returned, and NaN for 0 and below, which is no profile. Within 0.02 of
/// direct integration.
///
/// Use it where a catalogue gives a Sersic index and a model asks for `concentration`. Real galaxies
/// of a given fitted index scatter around it (bars, rings, cores, seeing), typically by 0.3.
pub fn concentration_from_sersic(n: f64) -> f64 {
    let (first, last) = (SERSIC_TABLE[0], SERSIC_TABLE[SERSIC_TABLE.len() - 1]);
    if n.is_nan() || n <= 0.0 {
        return f64::NAN;
    }
    if n <= first.0 {
        return first.1;
    }
    for pair in SERSIC_TABLE.windows(2) {
        let ((n0, c0), (n1, c1)) = (pair[0], pair[1]);
        if n <= n1 {
            return c0 + (c1 - c0) * (n - n0) / (n1 - n0);
        }
    }
    last.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Radii in pixels that hold 20, 50 and 80 % of exp(-b (r / re)^(1/n)) times the window of a
    /// 64-pixel stamp, by the midpoint rule in u = (r / 32)^(1/4), which resolves the cusp.
    fn radii(n: f64, re: f64) -> [f64; 3] {
        const STEPS: usize = 4000;
        let b = 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n); // Ciotti & Bertin 1999; a factor of re only
        let mut growth = alloc::vec![(0.0, 0.0)];
        let mut total = 0.0;
        for i in 0..STEPS {
            let u = (i as f64 + 0.5) / STEPS as f64;
            let (r, dr) = (32.0 * u.powi(4), 128.0 * u.powi(3) / STEPS as f64);
            let taper = ((r - 25.6) / 6.4).clamp(0.0, 1.0);
            let window = 0.5 * (1.0 + libm::cos(core::f64::consts::PI * taper));
            total += r * libm::exp(-b * libm::pow(r / re, 1.0 / n)) * window * dr;
            let edge = (i as f64 + 1.0) / STEPS as f64;
            growth.push((32.0 * edge.powi(4), total));
        }
        [0.2, 0.5, 0.8].map(|f| {
            let k = growth.partition_point(|&(_, g)| g < f * total);
            let ((r0, g0), (r1, g1)) = (growth[k - 1], growth[k]);
            r0 + (r1 - r0) * (f * total - g0) / (g1 - g0)
        })
    }

    #[test]
    fn sersic_table_agrees_with_integration() {
        for n in [0.35, 0.5, 0.85, 1.0, 1.7, 2.0, 3.5, 4.0, 5.5, 7.0] {
            let (mut low, mut high) = (6.0, 500.0);
            for _ in 0..40 {
                let middle = libm::sqrt(low * high);
                if radii(n, middle)[1] < 8.0 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            let [r20, _, r80] = radii(n, low);
            let expected = 5.0 * libm::log10(r80 / r20);
            let found = concentration_from_sersic(n);
            assert!(
                (found - expected).abs() < 0.02,
                "n {n}: {found}, integrated {expected}"
            );
        }
        assert_eq!(concentration_from_sersic(0.1), SERSIC_TABLE[0].1);
        assert_eq!(concentration_from_sersic(20.0), SERSIC_TABLE[12].1);
        // NaN, and the sentinels of catalogues.
        for none in [f64::NAN, 0.0, -1.0, -99.0] {
            assert!(concentration_from_sersic(none).is_nan());
        }
    }

    fn two() -> Conditions {
        let one = |name: &str| Condition {
            name: name.into(),
            unit: String::new(),
            description: String::new(),
            mean: 0.5,
            deviation: 0.2,
            range: [0.1, 1.0],
            classes: Vec::new(),
        };
        // Correlation 0.8: precision = 1 / (1 - 0.64) [[1, -0.8], [-0.8, 1]].
        let k = 1.0 / 0.36;
        Conditions {
            list: alloc::vec![one("axis_ratio"), one("other")],
            precision: alloc::vec![k, -0.8 * k, -0.8 * k, k],
            distance_limit: 9.0,
        }
    }

    #[test]
    fn flags_tell_range_and_combination() {
        let conditions = two();
        conditions.check().unwrap();
        let mut context = [0.0; 2];
        assert!(
            conditions
                .standardise(&[0.5, 0.5], &mut context)
                .unwrap()
                .is_clear()
        );
        assert_eq!(context, [0.0, 0.0]);
        let flags = conditions.standardise(&[0.5, 1.1], &mut context).unwrap();
        assert!(flags.out_of_range(1) && !flags.out_of_range(0));
        let along = conditions.standardise(&[0.9, 0.9], &mut context).unwrap();
        let across = conditions.standardise(&[0.9, 0.1], &mut context).unwrap();
        assert!(along.is_clear());
        assert_eq!(across, Flags(Flags::JOINT_EXTRAPOLATION));
        assert!(
            conditions
                .standardise(&[f32::NAN, 0.5], &mut context)
                .unwrap()
                .out_of_range(0)
        );
    }

    #[test]
    fn a_class_is_one_of_several_numbers() {
        let names = ["E", "S0", "Sb"].map(String::from).to_vec();
        let mut conditions = two();
        let class = Condition::of_classes("type", "", names);
        assert_eq!(class.value("S0"), Ok(1.0));
        let error = class.value("Sc").unwrap_err();
        assert_eq!(error, "type is \"Sc\", expected one of E, S0, Sb");
        assert!(conditions.list[0].value("inf").is_err());
        conditions.list.insert(1, class);
        conditions.check().unwrap();
        assert_eq!((conditions.len(), conditions.width()), (3, 5));
        let mut context = [9.0; 5];
        let mut flags = |values: [f32; 3]| conditions.standardise(&values, &mut context);
        assert_eq!(flags([0.5, 1.0, 0.5]), Ok(Flags(0)));
        assert!(flags([0.5, 1.0, 1.1]).unwrap().out_of_range(2));
        for bad in [3.0, -1.0, 0.5, f32::NAN] {
            let error = flags([0.5, bad, 0.5]).unwrap_err();
            assert_eq!((error.condition, error.classes), (1, 3));
        }
        conditions
            .standardise(&[0.5, 2.0, 0.5], &mut context)
            .unwrap();
        assert_eq!(context, [0.0, 0.0, 0.0, 1.0, 0.0]);

        let breaks: [fn(&mut Condition); 4] = [
            |c| c.classes[2] = "E".into(),
            |c| c.classes[0] = String::new(),
            |c| c.mean = 1.0,
            |c| c.range = [0.0, 5.0],
        ];
        for change in breaks {
            let mut broken = conditions.clone();
            change(&mut broken.list[1]);
            assert!(broken.check().is_err());
        }
    }

    #[test]
    fn contradictory_conditions_are_refused() {
        let mut c = two();
        c.list[1].name = "axis_ratio".into();
        assert!(c.check().unwrap_err().contains("twice"));
        let mut c = two();
        c.list[0].deviation = 0.0;
        assert!(c.check().is_err());
        let mut c = two();
        c.precision.pop();
        assert!(c.check().is_err());
    }
}
