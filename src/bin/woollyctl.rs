//! The client of the daemon.

use std::process::ExitCode;

use clap::Parser;
use woolly::cli::Ctl;

fn main() -> ExitCode {
    Ctl::parse().run()
}
