//! `galgen generate`: the galaxies of a catalogue, drawn on several threads and written in order.

mod draw;
pub mod index;
pub mod picture;
pub mod psf;
mod rows;

use crate::args::{Frame, GenerateArgs, Pixels};
use crate::failure::{Failure, Outcome};
use crate::flags;
use crate::model_file::ModelFile;
use crate::ordered::map_ordered;
use crate::paths;
use crate::problems::Problems;
use crate::progress::Progress;
use draw::{Batch, Drawer, Output};
use galgen_core::condition::{Conditions, concentration_from_sersic};
use galgen_infer::Session;
use galgen_infer::render::{Grid, Noise, PhotonNoise, Renderer};
use galgen_io::catalog::{Catalog, CatalogSpec, Condition};
use galgen_io::stamps::{Cell, StampWriter};
use picture::Picture;
use rows::{Counted, Rows, Source, range_of_job};
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

/// Bytes of the stamps of a batch at most (or one stamp), and the stamps in it at most.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ROWS: usize = 64;

/// Runs the command.
pub fn run(args: &GenerateArgs) -> Result<Outcome, Failure> {
    check_paths(args)?;
    let file = ModelFile::open(args.model.as_deref())?;
    let output = output(args, &file)?;
    let source = source(args, &file)?;
    let range = match args.njobs.zip(args.job) {
        Some((njobs, job)) => {
            let rows = match (&source, &args.catalog) {
                (Source::Counted(counted), _) => counted.count,
                (Source::Catalog(_), Some(path)) => rows::count(path)?,
                (Source::Catalog(_), None) => unreachable!("a catalogue has a path"),
            };
            range_of_job(rows, njobs, job)?
        }
        None => match &source {
            Source::Catalog(catalog) => 0..catalog.rows().unwrap_or(u64::MAX),
            Source::Counted(counted) => 0..counted.count,
        },
    };
    let (size_definition, notices) = match &source {
        Source::Catalog(catalog) => (catalog.size_definition(), catalog.notices().to_vec()),
        Source::Counted(_) => Default::default(),
    };
    let size_definition = draw::size_definition(size_definition);
    let layout = index::layout(&file, &output);
    if args.png.is_some() && file.model.card().geometry.is_columns() {
        let problem = "--png: the model draws rows of numbers, which are no pictures";
        return Err(Failure::Usage(problem.into()));
    }
    let provenance = index::provenance(args, &file, &output, size_definition);
    let picture = args
        .png
        .as_deref()
        .map(|png| Picture::create(png, layout.height, layout.width, is_image(&file)));
    let sink = Sink {
        picture: picture.transpose()?,
        writer: StampWriter::create(&args.out, layout, &provenance)?,
        conditions: file.model.card().conditions.clone(),
        image: is_image(&file),
        rows: file.model.card().geometry.is_columns(),
        problems: Problems::default(),
        drawn: 0,
        extrapolated: 0,
        sizes: [f64::INFINITY, 0.0],
    };
    if !args.quiet {
        notices
            .iter()
            .for_each(|notice| eprintln!("galgen: {notice}"));
    }
    let workers = drawers(args, &file, &output, size_definition);
    let stamp_bytes = 4 * workers[0].stamp_len();
    let batch = (BATCH_BYTES / stamp_bytes).clamp(1, BATCH_ROWS);
    let sink = draw_all(args, workers, Rows::new(source, range, batch), sink)?;
    finish(args, &file, sink)
}

/// Inputs and outputs are different files.
fn check_paths(args: &GenerateArgs) -> Result<(), Failure> {
    let psf = match &args.psf {
        Some(psf::PsfArg::Image { path, .. }) => Some(path),
        Some(psf::PsfArg::Gaussian { .. } | psf::PsfArg::Moffat { .. }) | None => None,
    };
    let inputs = [args.catalog.as_ref(), args.model.as_ref(), psf];
    paths::distinct(inputs, [Some(&args.out), args.png.as_ref()])
}

fn spec(args: &GenerateArgs, file: &ModelFile) -> CatalogSpec {
    let conditions = file.model.card().conditions.list.iter().map(|c| {
        let mut condition = Condition::new(&c.name);
        condition.classes = c.classes.clone();
        if c.name == "concentration" {
            condition.instead = Some(("sersic".into(), concentration_from_sersic));
        }
        condition
    });
    CatalogSpec {
        overrides: args.columns.clone(),
        conditions: conditions.collect(),
        zero_point: args.zero_point,
        size_definition: args.size_definition.map(Into::into),
        images: is_image(file),
    }
}

/// Whether the model draws plain images.
pub fn is_image(file: &ModelFile) -> bool {
    file.model.card().geometry.half_light_radius.is_none()
}

/// The rows of the catalogue, or the images that are counted.
fn source(args: &GenerateArgs, file: &ModelFile) -> Result<Source, Failure> {
    match (&args.catalog, args.count) {
        (Some(path), _) => {
            let catalog = Catalog::open(path, &spec(args, file))?;
            Ok(Source::Catalog(Box::new(catalog)))
        }
        (None, Some(count)) if is_image(file) => Ok(Source::Counted(Counted {
            count: count.get(),
            conditions: counted_conditions(args, file)?,
            next: 0,
        })),
        (None, _) => Err(Failure::Usage(
            "the model draws galaxies: give their sizes, fluxes and conditions with --catalog"
                .into(),
        )),
    }
}

/// For each condition the value that --column gives, or all classes in turn.
fn counted_conditions(args: &GenerateArgs, file: &ModelFile) -> Result<Vec<Vec<f64>>, Failure> {
    let list = &file.model.card().conditions.list;
    if let Some((role, _)) = args
        .columns
        .iter()
        .find(|(role, _)| list.iter().all(|c| c.name != *role))
    {
        return Err(Failure::Usage(format!(
            "--column {role}: the model has no condition of that name, see `galgen inspect`"
        )));
    }
    let values = |c: &galgen_core::condition::Condition| {
        let given = args.columns.iter().rev().find(|(role, _)| *role == c.name);
        match given {
            Some((_, text)) => {
                let value = c.value(text).map_err(Failure::Usage)?;
                Ok(vec![f64::from(value)])
            }
            None if !c.classes.is_empty() => Ok((0..c.classes.len()).map(|k| k as f64).collect()),
            None => Err(Failure::Usage(format!(
                "--count needs a value of the condition `{0}`: give --column {0}=NUMBER",
                c.name
            ))),
        }
    };
    list.iter().map(values).collect()
}

fn output(args: &GenerateArgs, file: &ModelFile) -> Result<Output, Failure> {
    if is_image(file) {
        if args.pixel_scale.is_some() || args.frame != Frame::Sky || args.zero_point.is_some() {
            return Err(Failure::Usage(
                "the model draws plain images: --pixel-scale, --frame and --zero-point are for galaxies"
                    .into(),
            ));
        }
        let usual = match file.model.head() {
            Some(_) => Pixels::Drawn,
            None => Pixels::Mean,
        };
        return Ok(Output::Image(args.pixels.unwrap_or(usual).into()));
    }
    if args.pixels.is_some_and(|pixels| pixels != Pixels::Mean) {
        return Err(Failure::Usage(
            "the model draws galaxies: --pixels is for plain images, add noise with --noise-sigma"
                .into(),
        ));
    }
    let Some((pixel_scale, size)) = args.pixel_scale.zip(args.size) else {
        return Ok(match args.frame {
            Frame::Sky => Output::Sky,
            Frame::Galaxy => Output::Galaxy,
        });
    };
    let geometry = &file.model.card().geometry;
    let psf = args.psf.as_ref().map(psf::PsfArg::load).transpose()?;
    let grid = Grid {
        width: size,
        height: size,
        pixel_scale,
    };
    let renderer = Renderer::new(geometry.side, geometry.bands.len(), grid, psf.as_ref())?;
    let photons = args
        .gain
        .zip(args.sky_level)
        .map(|(gain, sky_level)| PhotonNoise { gain, sky_level });
    let noise = Noise::new(args.noise_sigma.unwrap_or(0.0), photons)?;
    let noise = (args.noise_sigma.is_some() || photons.is_some()).then_some(noise);
    Ok(Output::Rendered {
        renderer: Box::new(renderer),
        noise,
    })
}

/// Threads at most: more than the largest machines have, and each costs memory.
const MAX_THREADS: usize = 512;

/// Number of threads asked for, or of processors; the result does not depend on it.
pub fn threads(asked: Option<NonZeroUsize>) -> usize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(MAX_THREADS)
}

fn drawers(
    args: &GenerateArgs,
    file: &ModelFile,
    output: &Output,
    size_definition: galgen_core::object::SizeDefinition,
) -> Vec<Drawer> {
    let drawer = |_| Drawer {
        session: Session::new(file.model.clone()),
        output: output.clone(),
        seed: args.seed,
        size_definition,
    };
    (0..threads(args.threads)).map(drawer).collect()
}

/// Where results go, in the order of the catalogue.
struct Sink {
    writer: StampWriter,
    picture: Option<Picture>,
    conditions: Conditions,
    image: bool,
    /// Whether images are rows of numbers.
    rows: bool,
    problems: Problems,
    drawn: u64,
    extrapolated: u64,
    /// Smallest and largest half-light radius asked for: pixels taken for arcsec show here.
    sizes: [f64; 2],
}

impl Sink {
    /// The cells of a row of numbers that was drawn; none of an image.
    fn columns(&self, stamp: &[f32]) -> Vec<Cell> {
        match self.rows {
            true => stamp.iter().map(|&v| Cell::F32(v)).collect(),
            false => Vec::new(),
        }
    }

    fn take(&mut self, batch: &Batch, progress: &Progress) -> Result<(), Failure> {
        let len = batch.stamps.len() / batch.galaxies.len();
        for (result, stamp) in batch.galaxies.iter().zip(batch.stamps.chunks_exact(len)) {
            match result {
                Ok(galaxy) => {
                    let unusual = flags::extrapolated(galaxy.drawn.flags);
                    let size = galaxy.row.half_light_radius;
                    self.sizes = [self.sizes[0].min(size), self.sizes[1].max(size)];
                    self.drawn += 1;
                    self.extrapolated += u64::from(unusual);
                    let mark = if unusual { "!" } else { "" };
                    if let Some(picture) = &mut self.picture {
                        let conditions = &self.conditions;
                        let caption =
                            || format!("{}{mark}{}", galaxy.row.id, classes(galaxy, conditions));
                        picture.add(caption, stamp);
                    }
                    let mut row = index::drawn_row(galaxy, &self.conditions, self.image);
                    row.extend(self.columns(stamp));
                    self.writer.push(stamp, &row)?;
                }
                Err(problem) => {
                    self.problems.add(problem, progress);
                    let mut row = index::failed_row(problem, &self.conditions, self.image);
                    row.extend(self.columns(stamp));
                    self.writer.push(stamp, &row)?;
                }
            }
        }
        Ok(())
    }
}

/// The classes of a row as the end of a caption.
fn classes(galaxy: &draw::Galaxy, conditions: &Conditions) -> String {
    let values = conditions.list.iter().zip(&galaxy.row.conditions);
    let named = values.filter_map(|(c, &value)| c.classes.get(value as usize));
    named.map(|class| format!(" {class}")).collect()
}

fn draw_all(
    args: &GenerateArgs,
    workers: Vec<Drawer>,
    rows: Rows,
    mut sink: Sink,
) -> Result<Sink, Failure> {
    let progress = Progress::new(args.quiet);
    let start = Instant::now();
    let rows = RefCell::new(rows);
    let workers = workers
        .into_iter()
        .map(|mut drawer| move |items| drawer.draw(items))
        .collect();
    let next = || rows.borrow_mut().next_batch();
    map_ordered(workers, next, |batch| {
        sink.take(&batch, &progress)?;
        let done = sink.writer.count();
        progress.set(done, rows.borrow().progress(done));
        Ok::<_, Failure>(())
    })?;
    progress.finish();
    if !args.quiet && sink.drawn > 0 {
        let seconds = start.elapsed().as_secs_f64();
        let rate = sink.drawn as f64 / seconds;
        let [smallest, largest] = sink.sizes;
        let (what, sizes) = match sink.image {
            true => ("images", String::new()),
            false => (
                "galaxies",
                format!("; half-light radii {smallest} to {largest} arcsec"),
            ),
        };
        eprintln!(
            "galgen: {} {what} drawn in {seconds:.1} s, {rate:.0} per second{sizes}; {} outside the trained range \
             (column flags); {} rows failed",
            sink.drawn,
            sink.extrapolated,
            sink.problems.count()
        );
    }
    Ok(sink)
}

/// Puts the files in place: both are complete before the first appears.
fn finish(args: &GenerateArgs, file: &ModelFile, sink: Sink) -> Result<Outcome, Failure> {
    if sink.drawn == 0 {
        let name = args.catalog.as_deref().unwrap_or(Path::new("--count"));
        let name = name.display();
        return Err(Failure::Failed(format!(
            "{name}: none of its {} rows can be drawn, nothing was written: correct the column above, \
             or name another with --column",
            sink.problems.count()
        )));
    }
    let title = format!("{}, seed {}", file.model.card().name, args.seed);
    let picture = sink
        .picture
        .map(|p| p.draw(&title, sink.drawn))
        .transpose()?;
    sink.writer.finish()?;
    if let Some(picture) = picture {
        picture.commit()?;
    }
    Ok(Outcome::after(sink.problems.count()))
}
