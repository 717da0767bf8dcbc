//! `galgen-train fit`.

use crate::data::images::ImageSamples;
use crate::data::set::TrainingSet;
use crate::export;
use crate::fit::flow_vae::Trainer;
use crate::fit::{Run, Start, Training, density, pixel_cnn, vae};
use crate::recipe::{
    DensityPreset, DensityRecipe, Family, ImageData, ImageRecipe, PixelCnnRecipe, Recipe,
};
use crate::samples::Samples;
use candle_core::Device;
use clap::{Args, ValueEnum};
use galgen_core::models::{FlowPreset, MadePreset};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

/// Where the training computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The first CUDA device; needs a build with `--features cuda`.
    Cuda,
}

/// Train a model from a recipe.
#[derive(Args)]
pub struct FitArgs {
    /// The recipe, a TOML file; recipes/ in the repository has examples
    pub recipe: PathBuf,
    /// Directory of the training sets that the recipe names (made by `galgen-train prepare`)
    #[arg(long, default_value = ".")]
    pub data: PathBuf,
    /// Directory for the checkpoint, loss curves, sample sheets and the finished model
    #[arg(long)]
    pub out: PathBuf,
    /// A finished model of the recipe's sizes and conditions: its weights come first, instead of random ones
    #[arg(long, value_name = "MODEL")]
    pub start: Option<PathBuf>,
    /// Continue the checkpoint in --out; the result is the same as without the interruption
    #[arg(long)]
    pub resume: bool,
    /// Stop after this many steps, with a checkpoint to resume from
    #[arg(long)]
    pub max_steps: Option<u64>,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: DeviceChoice,
    /// Only errors on the terminal
    #[arg(long)]
    pub quiet: bool,
}

/// Runs the command.
pub fn run(args: &FitArgs) -> Result<(), String> {
    let family = Family::of(&args.recipe).map_err(|e| e.to_string())?;
    let device = open_device(args.device)?;
    let start = args.start.as_deref().map(Start::open).transpose()?;
    let run = Run {
        directory: &args.out,
        device: &device,
        start: start.as_ref(),
        resume: args.resume,
        quiet: args.quiet,
    };
    match family {
        Family::FlowVae => run_flow_vae(args, &run),
        Family::Vae | Family::Autoencoder => run_vae(args, &run),
        Family::Flow => run_density::<FlowPreset>(args, &run),
        Family::Made => run_density::<MadePreset>(args, &run),
        Family::PixelCnn => run_pixel_cnn(args, &run),
    }
}

fn run_density<P: DensityPreset>(args: &FitArgs, run: &Run) -> Result<(), String> {
    let recipe = DensityRecipe::<P>::load(&args.recipe).map_err(|e| e.to_string())?;
    let samples = ImageSamples::load(&recipe.data, &args.data)?;
    announce(args, samples.training.len(), samples.validation.len());
    let mut trainer = density::Trainer::new(&recipe, &samples, run).map_err(|e| e.to_string())?;
    let start = Instant::now();
    let done = trainer.run(args.max_steps).map_err(|e| e.to_string())?;
    if !finished(args, done) {
        return Ok(());
    }
    let path = args.out.join(MODEL);
    let mut provenance = provenance(&recipe, &trainer.training, start.elapsed().as_secs());
    provenance["data"] = json!(recipe.data.credit);
    provenance["training_objects"] = json!(samples.training.len());
    provenance["validation_objects"] = json!(samples.validation.len());
    provenance["storage"] = json!("f32");
    export::density::export(&trainer, provenance, &path).map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("model: {}", path.display());
    }
    Ok(())
}

fn run_pixel_cnn(args: &FitArgs, run: &Run) -> Result<(), String> {
    let recipe = PixelCnnRecipe::load(&args.recipe).map_err(|e| e.to_string())?;
    let mut samples = ImageSamples::load(&recipe.data, &args.data)?;
    if let Some(levels) = recipe.model.head.levels() {
        samples.round_to(levels)?;
    }
    announce(args, samples.training.len(), samples.validation.len());
    let trainer = pixel_cnn::Trainer::new(&recipe, &samples, run);
    let mut trainer = trainer.map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("{} weights", trainer.training.state.parameters.count());
    }
    let start = Instant::now();
    let done = trainer.run(args.max_steps).map_err(|e| e.to_string())?;
    if !finished(args, done) {
        return Ok(());
    }
    let seconds = start.elapsed().as_secs();
    let provenance = image_provenance(&recipe, &recipe.data, &samples, &trainer.training, seconds);
    let path = args.out.join(MODEL);
    export::pixel_cnn::export(&trainer, provenance, &path).map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("model: {}", path.display());
    }
    Ok(())
}

fn run_vae(args: &FitArgs, run: &Run) -> Result<(), String> {
    let recipe = ImageRecipe::load(&args.recipe).map_err(|e| e.to_string())?;
    let samples = ImageSamples::load(&recipe.data, &args.data)?;
    announce(args, samples.training.len(), samples.validation.len());
    let mut trainer = vae::Trainer::new(&recipe, &samples, run).map_err(|e| e.to_string())?;
    let start = Instant::now();
    let done = trainer.run(args.max_steps).map_err(|e| e.to_string())?;
    if !finished(args, done) {
        return Ok(());
    }
    let path = args.out.join(MODEL);
    let seconds = start.elapsed().as_secs();
    let provenance = image_provenance(&recipe, &recipe.data, &samples, &trainer.training, seconds);
    export::vae::export(&trainer, provenance, &path).map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("model: {}", path.display());
    }
    Ok(())
}

fn announce(args: &FitArgs, training: usize, validation: usize) {
    if !args.quiet {
        eprintln!(
            "{training} stamps for training, {validation} for validation; output in {}",
            args.out.display()
        );
    }
}

/// Passes on whether the training is `done`, and says how to go on if it is not.
fn finished(args: &FitArgs, done: bool) -> bool {
    if !done && !args.quiet {
        eprintln!("stopped after --max-steps; continue with --resume");
    }
    done
}

fn run_flow_vae(args: &FitArgs, run: &Run) -> Result<(), String> {
    let recipe = Recipe::load(&args.recipe).map_err(|e| e.to_string())?;
    let sets = recipe
        .data
        .sets
        .iter()
        .map(|name| TrainingSet::load(args.data.join(name)).map_err(|e| e.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let samples = Samples::new(&sets, &recipe.data.conditions, recipe.data.validation)?
        .with_noise_correlation(recipe.data.noise_correlation)
        .with_likelihood(recipe.data.likelihood);
    crate::evaluate::enough(&samples)?;
    announce(args, samples.training.len(), samples.validation.len());
    let mut trainer = Trainer::new(&recipe, &samples, run).map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("{} weights", trainer.training.state.parameters.count());
    }
    let start = Instant::now();
    let done = trainer.run(args.max_steps).map_err(|e| e.to_string())?;
    if !finished(args, done) {
        return Ok(());
    }
    let path = args.out.join(MODEL);
    let mut provenance = provenance(&recipe, &trainer.training, start.elapsed().as_secs());
    let data: Vec<_> = sets.iter().map(|set| &set.description).collect();
    provenance["data"] = json!(data);
    provenance["training_stamps"] = json!(trainer.setup.samples.training.len());
    provenance["validation_stamps"] = json!(trainer.setup.samples.validation.len());
    provenance["storage"] = json!("weights of encoder and decoder f16, the rest f32");
    export::flow_vae::export(&trainer, provenance, &path).map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("model: {}", path.display());
    }
    Ok(())
}

/// Name of the finished model in the output directory.
pub const MODEL: &str = "model.safetensors";

/// How a model of images was trained, with its data.
fn image_provenance(
    recipe: &impl Serialize,
    data: &ImageData,
    samples: &ImageSamples,
    training: &Training,
    seconds: u64,
) -> serde_json::Value {
    let mut provenance = provenance(recipe, training, seconds);
    provenance["data"] = json!(data.credit);
    provenance["training_images"] = json!(samples.training.len());
    provenance["validation_images"] = json!(samples.validation.len());
    provenance["storage"] = json!("f32");
    provenance
}

/// How the model was trained, for its card; the data come on top.
fn provenance(recipe: &impl Serialize, training: &Training, seconds: u64) -> serde_json::Value {
    let mut provenance = json!({
        "program": concat!("galgen-train ", env!("CARGO_PKG_VERSION")),
        "commit": std::env::var("GALGEN_COMMIT").ok(),
        "date": today(),
        "recipe": recipe,
        "weights": training.state.parameters.count(),
        "device": if training.on_cpu() { "cpu" } else { "cuda" },
        "threads": crate::ops::threads(),
        "seconds_of_last_run": seconds,
        "history": training.state.history,
    });
    if let Some(start) = &training.start {
        provenance["start"] = start.clone();
    }
    provenance
}

/// The date as year-month-day (UTC), from the days since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn today() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let days = (now.as_secs() / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(feature = "cuda")]
use crate::cuda::device as cuda_device;

#[cfg(not(feature = "cuda"))]
fn cuda_device() -> candle_core::Result<Device> {
    Device::new_cuda(0)
}

fn open_device(choice: DeviceChoice) -> Result<Device, String> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda if !cfg!(feature = "cuda") => Err(
            "this galgen-train was built without CUDA: build it with `--features cuda` (see \
             tools/cuda/README.md), or use --device cpu"
                .into(),
        ),
        DeviceChoice::Cuda => cuda_device().map_err(|e| {
            // What follows the first line is a stack trace.
            let cause = e.to_string();
            let cause = cause.lines().next().unwrap_or("no reason given");
            format!(
                "no CUDA device can be used ({cause}): needs an NVIDIA GPU, driver 580 or newer, \
                 cuBLAS and cuRAND of CUDA 13; or use --device cpu"
            )
        }),
    }
}
