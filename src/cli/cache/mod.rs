//! `woollyctl cache`: FP32 cache files, without a daemon. A file per verb.
//!
//! Invariant: what a cache file is and what may be done with it is decided in `crate::cache`; here it is asked
//! for and told.

mod list;
mod model;
mod place;
mod subject;
mod unpack;
mod warm;

use clap::Subcommand;

use crate::{cache, weights};

use super::Error;

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// Convert a GGUF file or a model folder, so that the daemon starts in milliseconds
    Warm(warm::Warm),
    /// List cache files
    List(list::List),
    /// Write the weights as a plain file that other tools load
    Unpack(unpack::Unpack),
}

pub(super) fn run(verb: Cache, json: bool) -> Result<(), Error> {
    match verb {
        Cache::Warm(args) => warm::run(&args, json),
        Cache::List(args) => list::run(&args, json),
        Cache::Unpack(args) => unpack::run(&args, json),
    }
}

/// An error of the weights or their cache; its sentence names the file.
fn failed(problem: impl Into<weights::Error>) -> Error {
    match problem.into() {
        weights::Error::Cache(cache::Error::Stopped) => Error::Interrupted,
        problem => Error::Failed(problem.to_string()),
    }
}
