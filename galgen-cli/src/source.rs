//! Stamps with the ids, conditions and sky noise that their file gives.

use crate::args::StampArgs;
use crate::conditions::{Given, Measure};
use crate::failure::Failure;
use crate::generate::index::GALAXY_FRAME;
use crate::psf::StampPsf;
use crate::set::TrainingSet;
use galgen_core::card::Card;
use galgen_core::condition::Condition;
use galgen_core::stamp::binarise;
use galgen_infer::{Model, Session};
use galgen_io::columns::Columns;
use galgen_io::fits::file_of;
use galgen_io::idx;
use galgen_io::stamps::StampFile;
use galgen_io::table::{ColumnRef, Table, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Column that is read for the sky noise if none is named.
const SKY_COLUMN: &str = "sky_sigma";
/// Rows of an index read at a time.
const CHUNK: usize = 4096;

/// Consecutive stamps with what is known about them.
pub struct Batch {
    pub entries: Vec<Entry>,
    /// Row-major `[entries, bands, side, side]`.
    pub stamps: Vec<f32>,
}

/// What is known about a stamp.
pub struct Entry {
    pub row: u64,
    pub id: u64,
    /// For each condition of the model its value, or what to measure instead.
    pub conditions: Vec<Given>,
    /// Sky noise of a pixel, in the stamp's unit.
    pub sky: Option<f64>,
    /// Point-spread function and its side, if the stamp has one.
    pub psf: Option<(Vec<f32>, usize)>,
}

impl Entry {
    /// The sky noise for a likelihood that takes it.
    pub fn sky_for(&self, session: &Session) -> Option<f64> {
        self.sky.filter(|_| session.model().takes_sky())
    }
}

enum Stamps {
    File(StampFile),
    Set(TrainingSet),
    /// Rows of numbers, in memory.
    Rows(Vec<f32>),
}

/// An open file of stamps and its columns, which are held in memory: 8 bytes per stamp each.
pub struct Source {
    path: PathBuf,
    stamps: Stamps,
    count: usize,
    stamp_len: usize,
    ids: Option<Vec<u64>>,
    /// For each condition of the model.
    conditions: Vec<Origin>,
    sky: Sky,
    psf: Option<StampPsf>,
    /// Seed of their bits, if pixels become 0 or 1.
    binarise: Option<u64>,
    notices: Vec<String>,
}

enum Origin {
    Column(Vec<f64>),
    Measured(Measure),
}

enum Sky {
    Column(Vec<f64>),
    Same(f64),
    Typical,
}

impl Source {
    /// Opens a file and checks that the model can score it.
    pub fn open(args: &StampArgs, model: &Model, sky: Option<&str>) -> Result<Self, Failure> {
        let card = model.card();
        let path = args.stamps.as_path();
        let mut source = if card.geometry.is_columns() {
            let columns = Columns::read(path, &card.geometry.bands)
                .map_err(|e| Failure::Failed(e.to_string()))?;
            let shape = [columns.rows(), columns.names.len(), 1, 1];
            Self::empty(path, shape, Stamps::Rows(columns.values))
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            let set = TrainingSet::open(path)
                .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
            Self::empty(path, set.shape, Stamps::Set(set))
        } else {
            let file = StampFile::open(path)?;
            let (bands, height, width) = file.shape();
            Self::empty(
                path,
                [file.count(), bands, height, width],
                Stamps::File(file),
            )
        };
        source.check_geometry(card)?;
        source.ids = source.read_ids()?;
        source.psf = source.find_psf(args.psf.as_deref(), model)?;
        for condition in &card.conditions.list {
            let origin = source.condition(condition, args.labels.as_deref())?;
            source.conditions.push(origin);
        }
        source.binarise = args.binarise;
        if card.geometry.half_light_radius.is_some() {
            source.sky = source.find_sky(sky, model.takes_sky())?;
        } else if sky.is_some() {
            let problem = "--sky-sigma is for galaxies, the model is of plain images";
            return Err(Failure::Usage(problem.into()));
        }
        Ok(source)
    }

    fn empty(path: &Path, [count, bands, height, width]: [usize; 4], stamps: Stamps) -> Self {
        Self {
            path: path.into(),
            stamps,
            count,
            stamp_len: bands * height * width,
            ids: None,
            conditions: Vec::new(),
            sky: Sky::Typical,
            psf: None,
            binarise: None,
            notices: Vec::new(),
        }
    }

    /// Number of stamps.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the user should know about where the numbers come from.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    fn fail<T>(&self, problem: impl std::fmt::Display) -> Result<T, Failure> {
        Err(Failure::Failed(format!(
            "{}: {problem}",
            self.path.display()
        )))
    }

    fn check_geometry(&self, card: &Card) -> Result<(), Failure> {
        let found = match &self.stamps {
            Stamps::File(file) => file.shape(),
            Stamps::Set(set) => (set.shape[1], set.shape[2], set.shape[3]),
            // Read as the model's columns.
            Stamps::Rows(_) => return Ok(()),
        };
        let g = &card.geometry;
        if found != (g.bands.len(), g.side, g.side) {
            let (bands, height, width) = found;
            let (own, side) = (g.bands.len(), g.side);
            return self.fail(format!(
                "stamps of {bands} band(s), {height} x {width} pixels, the model has {own} band(s), \
                 {side} x {side}: resample them (`galgen-train prepare`), draw them with \
                 `galgen generate --frame galaxy`, or use another --model"
            ));
        }
        let wanted = match g.half_light_radius {
            Some(_) => GALAXY_FRAME,
            None => "image",
        };
        let frame = match &self.stamps {
            Stamps::File(file) => file.primary_header().and_then(|h| h.str("GGFRAME")),
            Stamps::Set(_) | Stamps::Rows(_) => None,
        };
        match frame {
            Some(frame) if frame != wanted => self.fail(format!(
                "its stamps are in the frame `{frame}` (GGFRAME), the model takes the frame `{wanted}`: \
                 draw them with this model, galaxies with `galgen generate --frame galaxy`"
            )),
            _ => Ok(()),
        }
    }

    /// All values of a column of numbers; `None` if there is none of that name.
    fn column(&mut self, name: &str) -> Result<Option<Vec<f64>>, Failure> {
        let path = &self.path;
        match &mut self.stamps {
            Stamps::Set(set) => set
                .column(name)
                .map_err(|e| Failure::Failed(format!("{}: {e}", path.display()))),
            Stamps::File(_) | Stamps::Rows(_) => {
                let values = self.values(name)?;
                Ok(values.map(|c| c.iter().map(number).collect()))
            }
        }
    }

    /// All values of a column that must be there.
    pub fn named_column(&mut self, name: &str) -> Result<Vec<f64>, Failure> {
        match self.column(name)? {
            Some(values) => Ok(values),
            None => self.fail(format!(
                "no column `{name}`, neither in a table INDEX nor as a tensor of a training set"
            )),
        }
    }

    /// All values of a column of the table beside the stamps; `None` if there is none of that name.
    fn values(&mut self, name: &str) -> Result<Option<Vec<Value>>, Failure> {
        match &mut self.stamps {
            Stamps::File(file) => match file.index()? {
                Some(table) => table_column(table, name),
                None => Ok(None),
            },
            Stamps::Rows(_) if !Columns::is_array(&self.path) => {
                table_column(Table::open(&self.path)?, name)
            }
            Stamps::Rows(_) | Stamps::Set(_) => Ok(None),
        }
    }

    fn read_ids(&mut self) -> Result<Option<Vec<u64>>, Failure> {
        let path = self.path.display().to_string();
        match &mut self.stamps {
            Stamps::Set(set) => set
                .ids()
                .map_err(|e| Failure::Failed(format!("{path}: {e}"))),
            Stamps::File(_) | Stamps::Rows(_) => {
                let Some(values) = self.values("id")? else {
                    return Ok(None);
                };
                let read = |(row, value): (usize, &Value)| {
                    value.u64().ok_or_else(|| {
                        Failure::Failed(format!(
                            "{path}: row {row}: id = {value}: expected a whole number, 0 or more"
                        ))
                    })
                };
                values
                    .iter()
                    .enumerate()
                    .map(read)
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
        }
    }

    fn find_psf(
        &mut self,
        file: Option<&Path>,
        model: &Model,
    ) -> Result<Option<StampPsf>, Failure> {
        let side = model.card().geometry.side;
        if let Some(file) = file {
            if !model.takes_psf() {
                let name = file.display();
                let problem =
                    "the model was trained on stamps with their blur inside and takes none";
                return Err(Failure::Usage(format!("--psf {name}: {problem}")));
            }
            return StampPsf::read(file, self.count, side).map(Some);
        }
        let path = self.path.display();
        match &mut self.stamps {
            Stamps::Set(set) if model.takes_psf() => {
                let found = set
                    .psf()
                    .map_err(|e| Failure::Failed(format!("{path}: {e}")))?;
                Ok(found.map(|(values, side)| StampPsf { values, side }))
            }
            _ => {
                if model.takes_psf() {
                    let notice = "no point-spread function: the stamps are taken as galaxies in front of the telescope \
                                  (--psf says otherwise)";
                    self.notices.push(notice.into());
                }
                Ok(None)
            }
        }
    }

    fn condition(
        &mut self,
        condition: &Condition,
        labels: Option<&Path>,
    ) -> Result<Origin, Failure> {
        let name = &condition.name;
        if let Some(path) = labels {
            let ids: Vec<u64> = (0..self.count).map(|row| self.id(row)).collect();
            let values = read_labels(path, condition, &ids)?;
            return Ok(Origin::Column(values));
        }
        // A training set's own measurements are of the blurred galaxy.
        let blurred = matches!(self.stamps, Stamps::Set(_)) && self.psf.is_some();
        if let (true, Some(measure)) = (blurred, Measure::of(name)) {
            let notice = format!("{name}: measured on each stamp's reconstruction without PSF");
            self.notices.push(notice);
            return Ok(Origin::Measured(measure));
        }
        let values = match &mut self.stamps {
            Stamps::File(_) | Stamps::Rows(_) if !condition.classes.is_empty() => {
                let values = self.values(name)?;
                values.map(|v| v.iter().map(|v| class(condition, v)).collect())
            }
            Stamps::File(_) | Stamps::Rows(_) | Stamps::Set(_) => self.column(name)?,
        };
        if let Some(values) = values {
            return Ok(Origin::Column(values));
        }
        match Measure::of(name) {
            Some(measure) => {
                let on = if self.psf.is_some() {
                    "each stamp's reconstruction without PSF"
                } else {
                    "each stamp"
                };
                self.notices
                    .push(format!("{name}: no such column, measured on {on}"));
                Ok(Origin::Measured(measure))
            }
            None => self.fail(format!(
                "no column `{name}` in a table INDEX, and it cannot be measured: add the column, or give a file \
                 with --labels"
            )),
        }
    }

    /// The sky noise for what is measured on stamps, and for the likelihood if it `counts` there.
    fn find_sky(&mut self, asked: Option<&str>, counts: bool) -> Result<Sky, Failure> {
        if let Some(text) = asked
            && let Ok(value) = text.parse::<f64>()
        {
            if value.is_finite() && value >= 0.0 {
                return Ok(Sky::Same(value));
            }
            return Err(Failure::Usage(format!(
                "--sky-sigma {text}: expected a number, 0 or more"
            )));
        }
        match (self.column(asked.unwrap_or(SKY_COLUMN))?, asked) {
            (Some(values), _) => Ok(Sky::Column(values)),
            (None, Some(name)) => self.fail(format!("no column `{name}` for --sky-sigma")),
            (None, None) if !counts => Ok(Sky::Typical),
            (None, None) => {
                let notice =
                    "sky noise: no column sky_sigma, that of a typical training stamp is used";
                self.notices.push(notice.into());
                Ok(Sky::Typical)
            }
        }
    }

    /// `rows` stamps from `first` on.
    pub fn batch(&mut self, first: usize, rows: usize) -> Result<Batch, Failure> {
        let mut stamps = vec![0.0; rows * self.stamp_len];
        let path = &self.path;
        match &mut self.stamps {
            Stamps::File(file) => file.read(first, &mut stamps)?,
            Stamps::Set(set) => set
                .read(first, &mut stamps)
                .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?,
            Stamps::Rows(values) => {
                let len = self.stamp_len;
                stamps.copy_from_slice(&values[first * len..(first + rows) * len]);
            }
        }
        if let Some(seed) = self.binarise {
            for (row, stamp) in (first..).zip(stamps.chunks_exact_mut(self.stamp_len)) {
                if let Some(found) = stamp.iter().find(|p| !(0.0..=1.0).contains(*p)) {
                    return self.fail(format!(
                        "row {row}: a pixel is {found}, expected 0 to 1 for --binarise"
                    ));
                }
                binarise(stamp, seed, self.id(row));
            }
        }
        let entries = (first..first + rows).map(|row| self.entry(row)).collect();
        Ok(Batch { entries, stamps })
    }

    /// The id of a stamp: that of the file, or its row.
    fn id(&self, row: usize) -> u64 {
        self.ids.as_ref().map_or(row as u64, |ids| ids[row])
    }

    fn entry(&self, row: usize) -> Entry {
        let given = |origin: &Origin| match origin {
            Origin::Column(values) => Given::Value(values[row]),
            Origin::Measured(measure) => Given::Measured(*measure),
        };
        Entry {
            row: row as u64,
            id: self.id(row),
            conditions: self.conditions.iter().map(given).collect(),
            sky: match &self.sky {
                Sky::Column(values) => Some(values[row]),
                Sky::Same(value) => Some(*value),
                Sky::Typical => None,
            },
            psf: self.psf.as_ref().map(|psf| psf.of(row)),
        }
    }
}

/// What is no number becomes NaN, which fails the stamp by name.
fn number(value: &Value) -> f64 {
    value.f64().unwrap_or(f64::NAN)
}

/// The position of a class; NaN, which fails the stamp, for what is none.
fn class(condition: &Condition, value: &Value) -> f64 {
    condition.value(&value.text()).map_or(f64::NAN, f64::from)
}

/// The values of a condition for stamps of these ids: an IDX array with the class of each, in their order, or a table with a
/// column of the condition's name, by its column `id` if it has one, else in their order.
fn read_labels(path: &Path, condition: &Condition, ids: &[u64]) -> Result<Vec<f64>, Failure> {
    let name = path.display();
    let fail = |problem: String| Failure::Failed(format!("{name}: {problem}"));
    let mut start = [0; 4];
    std::fs::File::open(file_of(path))
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .map_err(|e| fail(format!("cannot read: {e}")))?;
    let values: Vec<Value> = if idx::is_idx(&start) {
        if condition.classes.is_empty() {
            return Err(fail(format!(
                "an IDX array of classes, and `{}` is a number: give a table with a column of that name",
                condition.name
            )));
        }
        let array = idx::read(path).map_err(|e| Failure::Failed(e.to_string()))?;
        let byte = |&v: &u8| Value::Int(i128::from(v));
        array.values.iter().map(byte).collect()
    } else {
        let table = Table::open(path)?;
        let value = table.find(&condition.name)?;
        match table.find_optional("id")? {
            Some(id) => by_id(table, [id, value], ids)?,
            None => column_values(table, value)?,
        }
    };
    if values.len() != ids.len() {
        let found = values.len();
        return Err(fail(format!(
            "{found} labels, expected one for each of the {} stamps",
            ids.len()
        )));
    }
    let mut numbers = Vec::with_capacity(ids.len());
    for (row, value) in values.iter().enumerate() {
        let number = condition.value(&value.text());
        numbers.push(f64::from(
            number.map_err(|e| fail(format!("row {row}: {e}")))?,
        ));
    }
    Ok(numbers)
}

/// The values of the rows with these ids, of a table with the columns id and value.
fn by_id(mut table: Table, columns: [ColumnRef; 2], ids: &[u64]) -> Result<Vec<Value>, Failure> {
    let mut all = HashMap::new();
    while let Some(chunk) = table.next_whole(&columns, CHUNK)? {
        for row in chunk.values.chunks_exact(2) {
            all.extend(row[0].u64().map(|id| (id, row[1].clone())));
        }
    }
    let value = |id: &u64| {
        let found = all.get(id).cloned();
        found.ok_or_else(|| {
            let name = table.path().display();
            Failure::Failed(format!("{name}: no row has the id {id} of a stamp"))
        })
    };
    ids.iter().map(value).collect()
}

/// A column of a table.
fn table_column(table: Table, name: &str) -> Result<Option<Vec<Value>>, Failure> {
    let column = table.find_optional(name)?;
    column.map(|c| column_values(table, c)).transpose()
}

/// All values of a column.
fn column_values(mut table: Table, column: ColumnRef) -> Result<Vec<Value>, Failure> {
    let mut values = Vec::new();
    while let Some(chunk) = table.next_whole(&[column], CHUNK)? {
        values.extend(chunk.values);
    }
    Ok(values)
}
