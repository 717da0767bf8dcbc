//! `galgen-train evaluate`.

use crate::data::set::TrainingSet;
use crate::evaluate::{Options, card_file, evaluate};
use crate::export::PARITY;
use crate::recipe::Recipe;
use crate::samples::Samples;
use clap::Args;
use galgen_infer::{LoadError, Model};
use std::path::{Path, PathBuf};

/// Seed of an evaluation if none is asked for.
pub const SEED: u64 = 1;

/// Compare a model's galaxies with held-out real ones.
#[derive(Args)]
pub struct EvaluateArgs {
    /// The model file
    #[arg(long)]
    pub model: PathBuf,
    /// Directory of the training sets that the recipe names (made by `galgen-train prepare`)
    #[arg(long, default_value = ".")]
    pub data: PathBuf,
    /// The recipe that the model was trained with: it names the sets and says which galaxies were held out
    #[arg(long)]
    pub recipe: PathBuf,
    /// Directory for report.html, evaluation.json and samples.png
    #[arg(long)]
    pub out: PathBuf,
    /// Seed of the drawn galaxies, the noise and the random splits
    #[arg(long, default_value_t = SEED)]
    pub seed: u64,
    /// Judge the held-out galaxies' own reconstructions in place of drawn galaxies: what is missing in these, the autoencoder has
    /// not learned; what is missing only in drawn ones, the density of its latent
    #[arg(long)]
    pub reconstructions: bool,
    /// Write the summary into the model's card (`galgen inspect --json`, key `evaluation`)
    #[arg(long, conflicts_with = "reconstructions")]
    pub write_card: bool,
    /// Only errors on the terminal
    #[arg(long)]
    pub quiet: bool,
}

/// Runs the command.
pub fn run(args: &EvaluateArgs) -> Result<(), String> {
    let recipe = Recipe::load(&args.recipe).map_err(|e| e.to_string())?;
    let model = Model::open(&args.model).map_err(|e| match e {
        LoadError::Io { .. } => e.to_string(),
        _ => format!("{}: {e}", args.model.display()),
    })?;
    let sets = recipe
        .data
        .sets
        .iter()
        .map(|name| TrainingSet::load(args.data.join(name)).map_err(|e| e.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let samples = Samples::new(&sets, &recipe.data.conditions, recipe.data.validation)?;
    drop(sets);
    let command = command(&args.model, &args.recipe, args.seed);
    let options = Options {
        seed: args.seed,
        command: match args.reconstructions {
            true => format!("{command} --reconstructions"),
            false => command,
        },
        reconstructions: args.reconstructions,
        quiet: args.quiet,
    };
    let evaluation = evaluate(&model, &samples, &options)?;
    evaluation.write(&args.out)?;
    if args.write_card {
        card_file::write(&args.model, &evaluation.summary(), &[PARITY])?;
    }
    if !args.quiet {
        let goals = evaluation.goals();
        let met = goals.iter().filter(|g| g.met).count();
        eprintln!(
            "{} held-out galaxies, {met} of {} goals met; report: {}",
            samples.validation.len(),
            goals.len(),
            args.out.join("report.html").display()
        );
    }
    Ok(())
}

/// The command that repeats an evaluation, without the directories of one machine.
pub fn command(model: &Path, recipe: &Path, seed: u64) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    format!(
        "galgen-train evaluate --model {} --recipe {} --data DIR --out DIR --seed {seed}",
        name(model),
        name(recipe)
    )
}
