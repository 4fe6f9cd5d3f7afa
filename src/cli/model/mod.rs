//! `woollyctl model`: looking at model files, without a daemon. A file per verb.

mod inspect;

use clap::Subcommand;

use super::Error;

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// Tell what a model file is, how much memory it takes, and whether it runs
    Inspect(inspect::Inspect),
}

pub(super) fn run(verb: &Model, json: bool) -> Result<(), Error> {
    match verb {
        Model::Inspect(args) => inspect::run(args, json),
    }
}
