//! `woollyd`: the daemon. Reads its options and its configuration, and starts.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use woolly::config::Config;
use woolly::daemon::{self, EXIT_CONFIGURATION, Failure};

const EXIT_CODES: &str = "Exit codes: 0 clean, 1 failed, 74 input or output (a restart may help), \
78 configuration (it does not).";

/// Works through a queue of prompts with a language model on CPU, and loses nothing.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Options {
    /// The configuration file; else the first there is of ~/.config/woolly/woolly.toml (not for root) and
    /// /etc/woolly/woolly.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and the model file, print one line, and stop
    #[arg(long)]
    check: bool,

    /// Print the effective configuration as TOML, and stop
    #[arg(long, conflicts_with = "check")]
    print_config: bool,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(answer) => {
            // Help and version come this way too; a mistake is one of configuration.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() {
                EXIT_CONFIGURATION
            } else {
                0
            });
        }
    };
    let Err(failure) = start(&options) else {
        return ExitCode::SUCCESS;
    };
    let _ = writeln!(io::stderr(), "woollyd: {failure}");
    failure.exit_code()
}

fn start(options: &Options) -> Result<(), Failure> {
    let config = Config::load(options.config.as_deref())?;
    match (options.print_config, options.check) {
        (true, _) => print!("{}", config.to_toml()),
        (false, true) => println!("{}", daemon::check(&config)?),
        (false, false) => daemon::run(&config)?,
    }
    Ok(())
}
