//! A model in this process, without a daemon.

use std::process::ExitCode;

use clap::Parser;
use woolly::cli::Woolly;

fn main() -> ExitCode {
    Woolly::parse().run()
}
