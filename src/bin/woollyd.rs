//! `woollyd`: the daemon. Reads its options and its configuration, and starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use woolly::config::Config;
use woolly::daemon::{self, EXIT_CONFIGURATION, Failure};

/// Works through a queue of prompts with a language model on CPU, and loses nothing.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Without --config the first of ~/.config/woolly/woolly.toml (not for root) and /etc/woolly/woolly.toml counts.

Exit codes: 0 clean, 1 failed, 74 input or output (a restart may help), 78 configuration (it does not)."
)]
struct Options {
    /// The configuration file
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
        Err(error) => {
            // Help and version are printed too; a mistake is one of configuration.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("woollyd: {failure}");
            failure.exit_code()
        }
    }
}

fn start(options: &Options) -> Result<(), Failure> {
    let config = Config::load(options.config.as_deref())?;
    if options.print_config {
        print!("{}", config.to_toml());
        Ok(())
    } else if options.check {
        println!("{}", daemon::check(&config)?);
        Ok(())
    } else {
        daemon::run(&config)
    }
}
