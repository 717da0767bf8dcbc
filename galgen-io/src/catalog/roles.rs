//! Roles of columns, the names they usually have, and how they are found in a table.

use super::CatalogError;
use crate::table::{ColumnRef, Table, TableError, closest};

/// Which ellipse holds half of the flux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeDefinition {
    /// Radius of the circle (SExtractor FLUX_RADIUS, GalSim calculateHLR).
    #[default]
    Circular,
    /// Semi-major axis of the ellipse with the galaxy's axis ratio (Sersic fits).
    SemiMajor,
}

/// A formula from the value of one role to that of another.
pub type Formula = fn(f64) -> f64;

/// A condition of the model as a column of the catalogue.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Name of the condition and of its role, for example `axis_ratio`.
    pub name: String,
    /// A role to fall back on, with the formula from its value to the condition: for example
    /// `sersic` with the map from Sersic index to concentration.
    pub instead: Option<(String, Formula)>,
    /// Names of the classes, if it is no number: the column holds them, the row their positions here.
    pub classes: Vec<String>,
}

impl Condition {
    /// A condition that is read as it stands.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            instead: None,
            classes: Vec::new(),
        }
    }
}

/// How a catalogue is to be read.
#[derive(Debug, Clone, Default)]
pub struct CatalogSpec {
    /// `(role, column)`: the column to use, or a number for all rows.
    pub overrides: Vec<(String, String)>,
    /// Conditions of the model, in its order.
    pub conditions: Vec<Condition>,
    /// AB zero point: a galaxy of this magnitude has flux 1. Needed for magnitudes.
    pub zero_point: Option<f64>,
    /// Meaning of the column `half_light_radius`; circular if `None`. The role `semi_major` means
    /// [`SizeDefinition::SemiMajor`] by its name.
    pub size_definition: Option<SizeDefinition>,
    /// Plain images: only `id` and the conditions are read, everything else of a row is that of a galaxy of unit
    /// flux and size.
    pub images: bool,
}

/// Names under which a role is looked for, in this order, without regard to case. The role's own
/// name is always tried first.
const ALIASES: &[(&str, &[&str])] = &[
    ("id", &["object_id", "source_id", "ident"]),
    ("half_light_radius", &["hlr", "flux_radius", "r50", "re"]),
    ("semi_major", &["hlr_major", "a"]),
    ("flux", &[]),
    ("magnitude", &["mag", "mag_auto"]),
    ("position_angle", &["pa", "theta", "phi"]),
    ("g1", &[]),
    ("g2", &[]),
    // Not `mu`, which is a surface brightness or a distance modulus elsewhere.
    ("magnification", &[]),
    ("axis_ratio", &["q", "ba", "b_a"]),
    ("concentration", &["c"]),
    ("sersic", &["n", "sersic_n"]),
];

/// Spellings of TUNIT that mean arcsec.
const ARCSEC: &[&str] = &["arcsec", "arcsecs", "arcsecond", "arcseconds", "asec"];
/// Spellings of TUNIT that mean degrees.
const DEGREES: &[&str] = &["deg", "degs", "degree", "degrees"];

/// Spellings of TUNIT of a pure number.
const PURE: &[&str] = &["1", "none", "dimensionless"];

/// Roles that every catalogue may have; the conditions come on top.
const FIXED: &[&str] = &[
    "id",
    "half_light_radius",
    "semi_major",
    "flux",
    "magnitude",
    "position_angle",
    "g1",
    "g2",
    "magnification",
];

/// Where the value of a role comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// Position among the picked columns, and the name in the file.
    Column(usize, String),
    /// One value for all rows.
    Constant(f64),
}

#[derive(Debug)]
pub(super) struct ConditionSource {
    pub name: String,
    pub origin: Origin,
    pub map: Option<Formula>,
    pub classes: Vec<String>,
}

/// Every role settled.
#[derive(Debug)]
pub(super) struct Roles {
    /// Columns to read, in the order that [`Origin::Column`] counts.
    pub columns: Vec<ColumnRef>,
    pub id: Option<Origin>,
    pub size: Origin,
    pub definition: SizeDefinition,
    pub flux: Origin,
    /// Set if `flux` holds magnitudes.
    pub zero_point: Option<f64>,
    pub position_angle: Origin,
    pub g1: Origin,
    pub g2: Origin,
    pub magnification: Origin,
    pub conditions: Vec<ConditionSource>,
    pub notices: Vec<String>,
}

fn names_of(role: &str) -> Vec<String> {
    let aliases = ALIASES
        .iter()
        .find(|(r, _)| *r == role)
        .map_or(&[][..], |(_, a)| a);
    std::iter::once(role)
        .chain(aliases.iter().copied())
        .map(String::from)
        .collect()
}

struct Resolver<'a> {
    table: &'a Table,
    spec: &'a CatalogSpec,
    columns: Vec<ColumnRef>,
    notices: Vec<String>,
}

impl Resolver<'_> {
    fn overridden(&self, role: &str) -> Option<&str> {
        // The last one counts, as on a command line.
        self.spec
            .overrides
            .iter()
            .rev()
            .find(|(r, _)| r == role)
            .map(|(_, c)| c.as_str())
    }

    /// The origin of a role, `None` if no column has one of its names.
    fn find(&mut self, role: &str) -> Result<Option<Origin>, CatalogError> {
        if let Some(column) = self.overridden(role) {
            let column = column.to_string();
            return match (self.table.find_optional(&column)?, column.parse()) {
                (Some(found), _) => Ok(Some(self.pick(found))),
                (None, Ok(value)) => Ok(Some(Origin::Constant(value))),
                (None, Err(_)) => Err(self.table.find(&column).expect_err("just absent").into()),
            };
        }
        for name in names_of(role) {
            match self.table.find_optional(&name) {
                Ok(Some(found)) => return Ok(Some(self.pick(found))),
                Ok(None) => {}
                // Nobody asked for this column: it only happens to have a usual name.
                Err(TableError::NotScalar { column, found, .. }) => self.notices.push(format!(
                    "column `{column}` is not used for {role}: it holds {found}"
                )),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(None)
    }

    fn pick(&mut self, column: ColumnRef) -> Origin {
        let name = &self.table.columns()[column.index];
        let at = self
            .columns
            .iter()
            .position(|c| *c == column)
            .unwrap_or_else(|| {
                self.columns.push(column);
                self.columns.len() - 1
            });
        Origin::Column(at, name.clone())
    }

    fn or_default(&mut self, role: &str, default: f64) -> Result<Origin, CatalogError> {
        Ok(self.find(role)?.unwrap_or(Origin::Constant(default)))
    }

    /// A column whose unit is declared must have the one that the role is read in.
    fn check_unit(
        &self,
        role: &str,
        origin: &Origin,
        expected: &'static str,
        spellings: &[&str],
    ) -> Result<(), CatalogError> {
        let Origin::Column(at, column) = origin else {
            return Ok(());
        };
        let unit = self.table.unit(self.columns[*at]);
        if unit.is_empty() || spellings.iter().any(|s| s.eq_ignore_ascii_case(unit)) {
            return Ok(());
        }
        Err(CatalogError::Unit {
            path: self.table.path().into(),
            role: role.into(),
            column: column.clone(),
            unit: unit.into(),
            expected,
        })
    }

    fn missing(&self, roles: &[&str]) -> CatalogError {
        let tried: Vec<String> = roles.iter().flat_map(|r| names_of(r)).collect();
        CatalogError::MissingRole {
            path: self.table.path().into(),
            role: roles[0].into(),
            closest: roles.iter().find_map(|r| closest(r, self.table.columns())),
            tried,
            present: self.table.columns().to_vec(),
        }
    }

    fn size(&mut self) -> Result<(Origin, SizeDefinition), CatalogError> {
        let definition = self.spec.size_definition.unwrap_or_default();
        // An override of one kind wins over a column that happens to have the other's usual name.
        let major_first = self.overridden("semi_major").is_some()
            && self.overridden("half_light_radius").is_none();
        if !major_first && let Some(origin) = self.find("half_light_radius")? {
            return Ok((origin, definition));
        }
        match self.find("semi_major")? {
            Some(origin) => {
                if !major_first {
                    self.notices.push(format!(
                        "sizes are the semi-major half-light radii of {}",
                        origin.describe()
                    ));
                }
                Ok((origin, SizeDefinition::SemiMajor))
            }
            None => Err(self.missing(&["half_light_radius", "semi_major"])),
        }
    }

    /// The origin of the flux, and the zero point if it holds magnitudes.
    fn flux(&mut self) -> Result<(Origin, Option<f64>), CatalogError> {
        // Who gives a zero point means magnitudes.
        let zero_point = self.spec.zero_point;
        let asked = self.overridden("magnitude").is_some() || zero_point.is_some();
        if asked
            && self.overridden("flux").is_none()
            && let Some(origin) = self.find("magnitude")?
        {
            let mut usual = names_of("flux").into_iter();
            if let Some(flux) = usual.find(|n| matches!(self.table.find_optional(n), Ok(Some(_)))) {
                let magnitudes = origin.describe();
                self.notices.push(format!(
                    "fluxes are those of {magnitudes}, not of the column `{flux}`"
                ));
            }
            return self.magnitudes(origin);
        }
        if let Some(origin) = self.find("flux")? {
            if let Origin::Column(at, _) = &origin
                && self
                    .table
                    .unit(self.columns[*at])
                    .to_lowercase()
                    .contains("mag")
            {
                let expected = "a linear unit (--column magnitude=COLUMN, with a --zero-point, for magnitudes)";
                self.check_unit("flux", &origin, expected, &[])?;
            }
            return Ok((origin, None));
        }
        match self.find("magnitude")? {
            Some(origin) => self.magnitudes(origin),
            None => Err(self.missing(&["flux", "magnitude"])),
        }
    }

    fn magnitudes(&self, origin: Origin) -> Result<(Origin, Option<f64>), CatalogError> {
        match self.spec.zero_point {
            Some(zero_point) => Ok((origin, Some(zero_point))),
            None => Err(CatalogError::NoZeroPoint {
                path: self.table.path().into(),
                column: origin.describe(),
            }),
        }
    }

    /// The roles of a catalogue of plain images.
    fn images(mut self, id: Option<Origin>) -> Result<Roles, CatalogError> {
        let spec = self.spec;
        let conditions = spec.conditions.iter().map(|c| self.condition(c));
        let conditions = conditions.collect::<Result<_, _>>()?;
        let all = Origin::Constant;
        Ok(Roles {
            conditions,
            columns: self.columns,
            id,
            size: all(1.0),
            definition: SizeDefinition::default(),
            flux: all(1.0),
            zero_point: None,
            position_angle: all(0.0),
            g1: all(0.0),
            g2: all(0.0),
            magnification: all(1.0),
            notices: self.notices,
        })
    }

    fn condition(&mut self, condition: &Condition) -> Result<ConditionSource, CatalogError> {
        let name = condition.name.clone();
        if !condition.classes.is_empty() {
            return Ok(ConditionSource {
                origin: self.class(condition)?,
                name,
                map: None,
                classes: condition.classes.clone(),
            });
        }
        let direct = self.overridden(&name).is_some();
        let instead = condition.instead.as_ref();
        let instead_named = instead.is_some_and(|(role, _)| self.overridden(role).is_some());
        if (direct || !instead_named)
            && let Some(origin) = self.find(&name)?
        {
            return Ok(ConditionSource {
                name,
                origin,
                map: None,
                classes: Vec::new(),
            });
        }
        if let Some((role, map)) = instead
            && let Some(origin) = self.find(role)?
        {
            self.notices.push(format!(
                "{name} is computed from {role}, {}",
                origin.describe()
            ));
            return Ok(ConditionSource {
                name,
                origin,
                map: Some(*map),
                classes: Vec::new(),
            });
        }
        let roles: Vec<&str> = std::iter::once(name.as_str())
            .chain(instead.map(|(role, _)| role.as_str()))
            .collect();
        Err(self.missing(&roles))
    }

    /// A column of names of classes, or one class for all rows.
    fn class(&mut self, condition: &Condition) -> Result<Origin, CatalogError> {
        let name = &condition.name;
        let Some(given) = self.overridden(name) else {
            let found = self.find(name)?;
            return found.ok_or_else(|| self.missing(&[name]));
        };
        let given = given.to_string();
        if let Some(column) = self.table.find_optional(&given)? {
            return Ok(self.pick(column));
        }
        let position = condition.classes.iter().position(|c| *c == given);
        let class = position.map(|p| Origin::Constant(p as f64));
        class.ok_or_else(|| CatalogError::UnknownClass {
            condition: name.clone(),
            found: given,
            classes: condition.classes.clone(),
        })
    }

    fn check_overrides(&self) -> Result<(), CatalogError> {
        let conditions = self.spec.conditions.iter().flat_map(|c| {
            std::iter::once(c.name.clone()).chain(c.instead.iter().map(|(role, _)| role.clone()))
        });
        let fixed = if self.spec.images { &["id"] } else { FIXED };
        let roles: Vec<String> = fixed
            .iter()
            .map(|s| s.to_string())
            .chain(conditions)
            .collect();
        match self
            .spec
            .overrides
            .iter()
            .find(|(role, _)| !roles.contains(role))
        {
            None => Ok(()),
            Some((role, column)) => Err(CatalogError::UnknownRole {
                role: role.clone(),
                column: column.clone(),
                closest: closest(role, &roles),
                roles,
            }),
        }
    }
}

impl Origin {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Column(_, name) => format!("column `{name}`"),
            Self::Constant(value) => format!("the number {value}"),
        }
    }
}

impl Roles {
    pub(super) fn resolve(table: &Table, spec: &CatalogSpec) -> Result<Self, CatalogError> {
        let mut r = Resolver {
            table,
            spec,
            columns: Vec::new(),
            notices: Vec::new(),
        };
        r.check_overrides()?;
        let id = r.find("id")?;
        if id.is_none() {
            r.notices
                .push("no id column: the id of a row is its number, counted from 0".into());
        }
        if spec.images {
            return r.images(id);
        }
        let (size, definition) = r.size()?;
        let (flux, zero_point) = r.flux()?;
        let position_angle = match r.find("position_angle")? {
            Some(origin) => origin,
            None => {
                r.notices
                    .push("no position_angle column: every galaxy is drawn at 0 degrees".into());
                Origin::Constant(0.0)
            }
        };
        r.check_unit("half_light_radius", &size, "arcsec", ARCSEC)?;
        r.check_unit("position_angle", &position_angle, "deg", DEGREES)?;
        let g1 = r.or_default("g1", 0.0)?;
        let g2 = r.or_default("g2", 0.0)?;
        let magnification = r.or_default("magnification", 1.0)?;
        r.check_unit("magnification", &magnification, "a pure number", PURE)?;
        let conditions = spec
            .conditions
            .iter()
            .map(|c| r.condition(c))
            .collect::<Result<Vec<_>, _>>()?;
        let (columns, notices) = (r.columns, r.notices);
        Ok(Self {
            columns,
            id,
            size,
            definition,
            flux,
            zero_point,
            position_angle,
            g1,
            g2,
            magnification,
            conditions,
            notices,
        })
    }

    pub(super) fn id_column(&self) -> String {
        match &self.id {
            Some(Origin::Column(_, name)) => name.clone(),
            Some(Origin::Constant(_)) | None => "id".into(),
        }
    }
}
