//! `galgen-train fit`.

use crate::data::set::TrainingSet;
use crate::fit::Trainer;
use crate::recipe::Recipe;
use crate::samples::Samples;
use candle_core::Device;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

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
    let recipe = Recipe::load(&args.recipe).map_err(|e| e.to_string())?;
    let device = open_device(args.device)?;
    let sets = recipe
        .data
        .sets
        .iter()
        .map(|name| TrainingSet::load(args.data.join(name)).map_err(|e| e.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let samples = Samples::new(&sets, &recipe.data.conditions, recipe.data.validation)?;
    if !args.quiet {
        eprintln!(
            "{} stamps for training, {} for validation; output in {}",
            samples.training.len(),
            samples.validation.len(),
            args.out.display()
        );
    }
    let mut trainer = Trainer::new(&recipe, &samples, &args.out, &device, args.resume, args.quiet)
        .map_err(|e| e.to_string())?;
    if !args.quiet {
        eprintln!("{} weights", trainer.state.parameters.count());
    }
    let finished = trainer.run(args.max_steps).map_err(|e| e.to_string())?;
    if !finished && !args.quiet {
        eprintln!("stopped after --max-steps; continue with --resume");
    }
    Ok(())
}

fn open_device(choice: DeviceChoice) -> Result<Device, String> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda => Device::new_cuda(0).map_err(|e| {
            format!("no CUDA device can be used ({e}): build with `--features cuda` on a machine with a GPU, or use --device cpu")
        }),
    }
}
