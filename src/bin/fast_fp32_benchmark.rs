//! The benchmark: what this machine reaches, as ratios within one run.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use woolly::bench::{Speed, Verb};

/// Measures woolly on this machine, each figure beside its yardstick.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    /// Print one JSON object instead of tables
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    speed: Speed,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let verb = options.verb.unwrap_or(Verb::Speed(options.speed));
    match verb.run(&[], options.json) {
        // Whoever closed standard output early has read enough.
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("fast_fp32_benchmark: cannot write to standard output: {problem}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        },
        Err(error) => {
            eprintln!("fast_fp32_benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}
