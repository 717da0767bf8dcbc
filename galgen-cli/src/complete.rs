//! `galgen complete`: the missing pixels of stamps, drawn.

use crate::args::CompleteArgs;
use crate::decode::{StampRow, Stamps};
use crate::failure::{Failure, Outcome};
use crate::model_file::ModelFile;
use crate::panels::Panels;
use crate::paths;
use crate::source::Entry;
use crate::stamps;
use galgen_infer::{DrawError, Session};
use galgen_io::stamps::StampFile;
use std::path::Path;

/// Which pixels are kept.
enum Given {
    /// The same of all stamps.
    Same(Vec<bool>),
    /// Of each stamp.
    Each(Vec<bool>),
}

impl Given {
    fn of(&self, row: u64, len: usize) -> &[bool] {
        match self {
            Given::Same(mask) => mask,
            Given::Each(masks) => &masks[row as usize * len..][..len],
        }
    }

    fn new(args: &CompleteArgs, side: usize, count: usize) -> Result<Self, Failure> {
        if let Some(path) = &args.mask {
            return Self::read(path, side, count);
        }
        let rows = args.rows.unwrap_or(side / 2);
        if rows > side {
            return Err(Failure::Usage(format!(
                "--rows {rows}: the stamps have {side} rows"
            )));
        }
        Ok(Given::Same(
            (0..side * side).map(|i| i / side < rows).collect(),
        ))
    }

    fn read(path: &Path, side: usize, count: usize) -> Result<Self, Failure> {
        let mut file = StampFile::open(path)?;
        let found = (file.count(), file.shape());
        if found.1 != (1, side, side) || found.0 != 1 && found.0 != count {
            let (masks, (bands, height, width)) = found;
            let name = path.display();
            return Err(Failure::Failed(format!(
                "{name}: {masks} mask(s) of {bands} band(s), {height} x {width} pixels, expected 1 or {count} of \
                 1 band, {side} x {side}"
            )));
        }
        let mut values = vec![0.0; found.0 * side * side];
        file.read(0, &mut values)?;
        let mask = values.iter().map(|&v| v != 0.0).collect();
        Ok(match found.0 {
            1 => Given::Same(mask),
            _ => Given::Each(mask),
        })
    }
}

/// Runs the command.
pub fn run(args: &CompleteArgs) -> Result<Outcome, Failure> {
    let outputs = [Some(&args.out), args.png.as_ref()];
    paths::distinct_stamps(&args.stamps, args.mask.as_ref(), outputs)?;
    let file = ModelFile::open(args.stamps.model.as_deref())?;
    if file.model.head().is_none() {
        return Err(Failure::Usage(DrawError::NotAutoregressive.to_string()));
    }
    let mut source = stamps::open(&args.stamps, &file, None)?;
    let side = file.model.card().geometry.side;
    let given = Given::new(args, side, source.count())?;
    let mut out = Stamps::create(&args.out, None, &file)?;
    let titles = ["kept", "completed", "stamps"];
    let png = args.png.as_deref();
    let mut sheet = png
        .map(|png| Panels::create(png, side, &titles))
        .transpose()?;
    let work = |session: &mut Session, entry: &Entry, asked: &[f32], stamp: &[f32]| {
        let mut made = vec![0.0; stamp.len()];
        let given = given.of(entry.row, stamp.len());
        let flags = session.complete(args.seed, entry.id, asked, stamp, given, &mut made)?;
        Ok((stamp.to_vec(), made, flags))
    };
    let failed = stamps::for_each(&args.stamps, &file, &mut source, &work, |done| {
        if let (Some(sheet), Ok((_, (stamp, made, _)))) = (&mut sheet, &done.result) {
            let given = given.of(done.row, stamp.len());
            let dark = stamp.iter().copied().fold(f32::INFINITY, f32::min);
            let shown = stamp.iter().zip(given);
            let kept: Vec<f32> = shown
                .map(|(&v, &keep)| if keep { v } else { dark })
                .collect();
            sheet.add(&[&kept, made, stamp]);
        }
        out.push(StampRow {
            row: done.row,
            id: done.id,
            result: done.result.map(|(c, (_, made, flags))| (c, made, flags)),
        })
    })?;
    out.finish("completions")?;
    if let Some(sheet) = sheet {
        sheet.finish(&file.model.card().name)?;
    }
    Ok(Outcome::after(failed))
}
