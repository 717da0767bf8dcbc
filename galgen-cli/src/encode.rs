//! `galgen encode` and `galgen reconstruct`: stamps to latents, and through the latent back to stamps.

use crate::args::{EncodeArgs, ReconstructArgs};
use crate::decode::{StampRow, Stamps};
use crate::failure::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::paths;
use crate::source::Entry;
use crate::stamps;
use crate::table::{self, Column, Format, Row, Table, Values};
use galgen_infer::{DrawError, Session};
use galgen_io::atomic::AtomicFile;

/// Runs `galgen encode`.
pub fn run(args: &EncodeArgs) -> Result<Outcome, Failure> {
    let format = Format::of(&args.out)?;
    paths::distinct_stamps(&args.stamps, None, [Some(&args.out)])?;
    let file = ModelFile::open(args.stamps.model.as_deref())?;
    has_latent(&file)?;
    let mut source = stamps::open(&args.stamps, &file, None)?;
    let mut out = AtomicFile::create(&args.out)?;
    let latent = file.model.latent();
    let numbers =
        |prefix: &'static str| (0..latent).map(move |i| Column::number(format!("{prefix}{i}"), ""));
    let conditions = file.model.card().conditions.list.iter();
    let mut table = Table {
        name: "LATENTS",
        columns: numbers("z")
            .chain(numbers("ln_variance"))
            .chain(conditions.map(Column::condition))
            .collect(),
        rows: Vec::new(),
        draws: None,
    };
    let work = |session: &mut Session, _: &Entry, asked: &[f32], stamp: &[f32]| {
        let (mut mean, mut spread) = (vec![0.0; latent], vec![0.0; latent]);
        let flags = session.encode(stamp, asked, &mut mean, &mut spread)?;
        mean.extend(spread);
        Ok((mean, flags))
    };
    let failed = stamps::for_each(&args.stamps, &file, &mut source, &work, |done| {
        let values = done.result.map(|(conditions, (code, flags))| {
            let code = code.into_iter().map(f64::from);
            // Minus infinity is no number of a table: a plain autoencoder has no spread.
            let code = code.map(|v| if v.is_finite() { v } else { f64::NAN });
            Values {
                values: code.chain(conditions).collect(),
                flags,
            }
        });
        table.rows.push(Row {
            row: done.row,
            id: done.id,
            values,
        });
        Ok(())
    })?;
    out.put(&table::encode(format, &table, &file))?;
    out.commit()?;
    Ok(Outcome::after(failed))
}

/// An error for a model without a latent.
pub fn has_latent(file: &ModelFile) -> Result<(), Failure> {
    match file.model.head() {
        Some(_) => Err(Failure::Usage(DrawError::NoLatent.to_string())),
        None => Ok(()),
    }
}

/// Runs `galgen reconstruct`.
pub fn reconstruct(args: &ReconstructArgs) -> Result<Outcome, Failure> {
    paths::distinct_stamps(&args.stamps, None, [Some(&args.out), args.png.as_ref()])?;
    let file = ModelFile::open(args.stamps.model.as_deref())?;
    let mut source = stamps::open(&args.stamps, &file, None)?;
    let mut out = Stamps::create(&args.out, args.png.as_deref(), &file)?;
    let work = |session: &mut Session, _: &Entry, asked: &[f32], stamp: &[f32]| {
        let mut made = vec![0.0; stamp.len()];
        let flags = session.reconstruct(stamp, asked, &mut made)?;
        Ok((made, flags))
    };
    let failed = stamps::for_each(&args.stamps, &file, &mut source, &work, |done| {
        out.push(StampRow {
            row: done.row,
            id: done.id,
            result: done.result.map(|(c, (stamp, flags))| (c, stamp, flags)),
        })
    })?;
    out.finish("reconstructions")?;
    Ok(Outcome::after(failed))
}
