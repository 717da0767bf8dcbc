//! The program `galgen-train`.

use clap::{Parser, Subcommand};
use galgen_train::{evaluate_command, fit_command, prepare, sersic_command};
use std::process::ExitCode;

/// Trains galgen models: real galaxies in, one model file out.
#[derive(Parser)]
#[command(name = "galgen-train", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn pictures of galaxies into a training set: sky, neighbours, shape, size, orientation
    Prepare(Box<prepare::PrepareArgs>),
    /// Train a model from a recipe and write its model file
    Fit(fit_command::FitArgs),
    /// Compare a model's galaxies with held-out real ones: a report, and figures for its card
    Evaluate(evaluate_command::EvaluateArgs),
    /// Best-fit Sersic galaxies of a training set, observed as its galaxies were, as a set of their own
    Sersic(sersic_command::SersicArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Prepare(args) => prepare::run(&args).map_err(|e| e.to_string()),
        Command::Fit(args) => fit_command::run(&args),
        Command::Sersic(args) => sersic_command::run(&args),
        Command::Evaluate(args) => evaluate_command::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("galgen-train: {message}");
            ExitCode::FAILURE
        }
    }
}
