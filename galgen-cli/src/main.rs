//! The program `galgen`: draws the galaxies of a catalogue, scores, compares, encodes, decodes and completes stamps,
//! shows model cards.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod complete;
mod conditions;
mod decode;
mod encode;
mod failure;
mod flags;
mod generate;
mod inspect;
mod model_file;
mod ordered;
mod panels;
mod paths;
mod problems;
mod progress;
mod psf;
mod score;
mod set;
mod source;
mod stamps;
mod table;

use args::{Args, Command};
use clap::Parser;
use failure::{Failure, Outcome};
use std::process::ExitCode;

/// Exit code of a program that was interrupted: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    let interrupt = ctrlc::set_handler(|| {
        galgen_io::atomic::abort_all();
        eprintln!("\ngalgen: interrupted: nothing was written, a former file stays as it was");
        std::process::exit(INTERRUPTED);
    });
    let result = match interrupt {
        Err(e) => Err(Failure::Failed(format!(
            "no handler for interrupts can be installed: {e}"
        ))),
        Ok(()) => match &args.command {
            Command::Generate(args) => generate::run(args),
            Command::Score(args) => score::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Encode(args) => encode::run(args),
            Command::Decode(args) => decode::run(args),
            Command::Reconstruct(args) => encode::reconstruct(args),
            Command::Complete(args) => complete::run(args),
            Command::Inspect(args) => inspect::run(args),
        },
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(3),
        Err(failure) => {
            eprintln!("galgen: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
