//! `woollyctl cache`: FP32 cache files, without a daemon. A file per verb.
//!
//! Invariant: what a cache file is and what may be done with it is decided in `crate::cache`; here it is asked
//! for and told.

mod list;
mod model;
mod place;
mod prune;
mod repair;
mod subject;
mod unpack;
mod verify;
mod warm;

use std::path::Path;

use clap::Subcommand;

use crate::cache::{self, Directory, Item};
use crate::weights;

use super::Error;

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// Convert a GGUF file or a model folder, so that the daemon starts in milliseconds
    Warm(warm::Warm),
    /// List cache files
    List(list::List),
    /// Read every value of cache files and compare it with its checksum
    Verify(verify::Verify),
    /// Remove what is of no use any more, and what is too old or too much
    Prune(prune::Prune),
    /// Write the weights as a plain file that other tools load
    Unpack(unpack::Unpack),
}

pub(super) fn run(verb: Cache, json: bool) -> Result<(), Error> {
    match verb {
        Cache::Warm(args) => warm::run(&args, json),
        Cache::List(args) => list::run(&args, json),
        Cache::Verify(args) => verify::run(&args, json),
        Cache::Prune(args) => prune::run(&args, json),
        Cache::Unpack(args) => unpack::run(&args, json),
    }
}

/// Every file of a cache directory. One that is not there holds none, and is not made.
fn survey(dir: &Path) -> Result<Vec<Item>, Error> {
    if !dir.exists() {
        return Ok(vec![]);
    }
    Directory::open(dir)
        .and_then(|directory| directory.survey())
        .map_err(failed)
}

/// An error of the weights or their cache; its sentence names the file.
fn failed(problem: impl Into<weights::Error>) -> Error {
    match problem.into() {
        weights::Error::Cache(cache::Error::Stopped) => Error::Interrupted,
        problem => Error::Failed(problem.to_string()),
    }
}
