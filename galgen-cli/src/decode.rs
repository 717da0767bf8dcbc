//! `galgen decode`: a table of latents to stamps; and the file of stamps that it and `reconstruct` write.

use crate::args::DecodeArgs;
use crate::encode::has_latent;
use crate::failure::{Failure, Outcome};
use crate::flags;
use crate::generate::index::{GALAXY_FRAME, PROBLEM, condition_cell, condition_column};
use crate::generate::is_image;
use crate::generate::picture::Picture;
use crate::model_file::ModelFile;
use crate::paths;
use crate::problems::Problems;
use crate::progress::Progress;
use galgen_core::condition::{Conditions, Flags};
use galgen_infer::Session;
use galgen_io::stamps::{CardValue, Cell, CellKind, Column, Provenance, StampLayout, StampWriter};
use galgen_io::table::{ColumnRef, Table, Value};
use std::path::Path;

/// Rows of the table read at a time.
const CHUNK: usize = 256;

/// A stamp to be written.
pub struct StampRow {
    /// Number of the row of the input, from 0.
    pub row: u64,
    pub id: u64,
    /// Conditions, pixels and flags, or what went wrong.
    pub result: Result<(Vec<f64>, Vec<f32>, Flags), String>,
}

/// A file of stamps on the model's grid that is being written, and a sheet of the first.
pub struct Stamps {
    writer: StampWriter,
    picture: Option<Picture>,
    conditions: Conditions,
    pixels: usize,
    name: String,
    made: u64,
}

impl Stamps {
    /// Begins both files.
    pub fn create(out: &Path, png: Option<&Path>, file: &ModelFile) -> Result<Self, Failure> {
        let bands = &file.model.card().geometry.bands;
        Self::planes(out, png, file, bands)
    }

    /// The same with other planes than the model's bands; `names` says what they are.
    pub fn planes(
        out: &Path,
        png: Option<&Path>,
        file: &ModelFile,
        names: &[String],
    ) -> Result<Self, Failure> {
        let card = file.model.card();
        let (geometry, conditions) = (&card.geometry, &card.conditions);
        let mut columns = vec![
            Column::new("id", CellKind::U64, "", ""),
            Column::new("row", CellKind::I64, "", "row of the input, from 0"),
            Column::new(
                "status",
                CellKind::I32,
                "",
                "0 made, 1 failed (blank stamp)",
            ),
            Column::new("flags", CellKind::I32, "", "bits: cards GGFLAGnn"),
        ];
        columns.extend(conditions.list.iter().map(condition_column));
        columns.push(Column::new(
            "problem",
            CellKind::Text(PROBLEM),
            "",
            "why it failed",
        ));
        let layout = StampLayout {
            bands: names.len(),
            height: geometry.side,
            width: geometry.side,
            columns,
        };
        let text = |s: &str| CardValue::Text(s.into());
        let frame = if is_image(file) {
            "image"
        } else {
            GALAXY_FRAME
        };
        let mut extra = vec![
            ("GGFRAME".into(), text(frame), "galaxy or image".into()),
            (
                "GGPSF".into(),
                text(&card.psf),
                "PSF within the model".into(),
            ),
        ];
        if names != geometry.bands {
            for (i, name) in names.iter().enumerate() {
                extra.push((format!("GGPLANE{i}"), text(name), "what a plane is".into()));
            }
        }
        for (bit, meaning) in flags::meanings(conditions) {
            extra.push((format!("GGFLAG{bit:02}"), text(&meaning), String::new()));
        }
        let provenance = Provenance {
            origin: format!("galgen {}", env!("CARGO_PKG_VERSION")),
            model: card.name.clone(),
            model_hash: file.hash.clone(),
            seed: None,
            shard: None,
            numeric_path: None,
            unit: None,
            pixel_scale: None,
            extra,
        };
        let side = geometry.side;
        let picture = png.map(|png| Picture::create(png, side, side, is_image(file)));
        Ok(Stamps {
            picture: picture.transpose()?,
            writer: StampWriter::create(out, layout, &provenance)?,
            conditions: conditions.clone(),
            pixels: names.len() * side * side,
            name: card.name.clone(),
            made: 0,
        })
    }

    /// Writes a stamp, a blank one where it failed.
    pub fn push(&mut self, row: StampRow) -> Result<(), Failure> {
        let blank = || {
            (
                vec![f64::NAN; self.conditions.len()],
                vec![0.0; self.pixels],
                Flags(0),
            )
        };
        let status = i32::from(row.result.is_err());
        let problem = row.result.as_ref().err().cloned().unwrap_or_default();
        let (values, stamp, flags) = row.result.unwrap_or_else(|_| blank());
        let mut cells = vec![
            Cell::U64(row.id),
            Cell::I64(row.row as i64),
            Cell::I32(status),
            Cell::I32(flags.0 as i32),
        ];
        let named = self.conditions.list.iter().zip(values);
        cells.extend(named.map(|(c, value)| condition_cell(c, value)));
        cells.push(Cell::Text(problem));
        if status == 0 {
            self.made += 1;
            if let Some(picture) = &mut self.picture {
                picture.add(|| row.id.to_string(), &stamp);
            }
        }
        self.writer.push(&stamp, &cells)?;
        Ok(())
    }

    /// Puts both files in place; `what` is said in the sheet's title.
    pub fn finish(self, what: &str) -> Result<(), Failure> {
        if self.made == 0 {
            return Err(Failure::Failed(
                "no stamp can be made, nothing was written: correct what is listed above".into(),
            ));
        }
        let title = format!("{}, {what}", self.name);
        let picture = self
            .picture
            .map(|p| p.draw(&title, self.made))
            .transpose()?;
        self.writer.finish()?;
        if let Some(picture) = picture {
            picture.commit()?;
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(args: &DecodeArgs) -> Result<Outcome, Failure> {
    let inputs = [Some(&args.latents), args.model.as_ref()];
    paths::distinct(inputs, [Some(&args.out), args.png.as_ref()])?;
    let file = ModelFile::open(args.model.as_deref())?;
    has_latent(&file)?;
    let mut table = Table::open(&args.latents)?;
    let columns = Columns::find(&table, &file)?;
    let mut out = Stamps::create(&args.out, args.png.as_deref(), &file)?;
    let mut session = Session::new(file.model.clone());
    let progress = Progress::new(args.quiet);
    let mut problems = Problems::default();
    let mut row = 0;
    while let Some(chunk) = table.next_chunk(&columns.all, CHUNK)? {
        for i in 0..chunk.rows {
            let cells = chunk.row(i);
            let malformed = chunk.malformed.iter().find(|(row, _)| *row == i);
            let result = match malformed {
                Some((_, found)) => Err(found.clone()),
                None => columns.decode(cells, &mut session),
            };
            if let Err(problem) = &result {
                let name = args.latents.display();
                problems.add(&format!("{name}: row {row}: {problem}"), &progress);
            }
            let id = columns.id.and_then(|at| cells[at].u64()).unwrap_or(row);
            out.push(StampRow { row, id, result })?;
            row += 1;
        }
        progress.set(row, table.progress());
    }
    progress.finish();
    out.finish("decoded latents")?;
    Ok(Outcome::after(problems.count()))
}

/// Where the latents and conditions of a table stand.
struct Columns {
    all: Vec<ColumnRef>,
    latent: usize,
    conditions: usize,
    id: Option<usize>,
}

impl Columns {
    fn find(table: &Table, file: &ModelFile) -> Result<Self, Failure> {
        let card = file.model.card();
        let latent = file.model.latent();
        let names = (0..latent).map(|i| format!("z{i}"));
        let names = names.chain(card.conditions.list.iter().map(|c| c.name.clone()));
        let all = names
            .map(|name| table.find(&name))
            .collect::<Result<Vec<_>, _>>();
        let mut all = all?;
        let id = table.find_optional("id")?;
        all.extend(id);
        Ok(Columns {
            latent,
            conditions: card.conditions.len(),
            id: id.map(|_| all.len() - 1),
            all,
        })
    }

    fn decode(
        &self,
        cells: &[Value],
        session: &mut Session,
    ) -> Result<(Vec<f64>, Vec<f32>, Flags), String> {
        let model = session.model().clone();
        let z = cells[..self.latent].iter().enumerate().map(|(i, cell)| {
            let number = cell.f64().map(|v| v as f32).filter(|v| v.is_finite());
            number.ok_or_else(|| format!("z{i} is {cell}, expected a number"))
        });
        let z = z.collect::<Result<Vec<f32>, _>>()?;
        let given = &cells[self.latent..self.latent + self.conditions];
        let named = model.card().conditions.list.iter().zip(given);
        let values = named.map(|(c, cell)| c.value(&cell.text()));
        let values = values.collect::<Result<Vec<f32>, _>>()?;
        let mut stamp = vec![0.0; model.stamp_len()];
        let flags = session
            .decode(&z, &values, &mut stamp)
            .map_err(|e| e.to_string())?;
        Ok((values.into_iter().map(f64::from).collect(), stamp, flags))
    }
}
