//! `woollyctl cache`: FP32 cache files, without a daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::ModelSource;
use crate::weights;

use super::progress::Conversion;
use super::{Error, render, settings};

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// Convert a GGUF file, so that the daemon starts in milliseconds
    Warm(Warm),
    /// List cache files
    List(List),
}

/// Where cache files are.
#[derive(Debug, Args)]
struct Place {
    /// The cache directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Take the cache directory from this configuration; it needs no [model]
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl cache warm models/smollm2.gguf --dir /var/cache/woolly")]
pub(super) struct Warm {
    /// The GGUF file
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl cache list --json")]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
}

impl Place {
    fn directory(&self) -> Result<PathBuf, Error> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(settings::configuration(self.config.as_deref())?.cache.dir),
        }
    }
}

pub(super) fn run(verb: Cache, json: bool) -> Result<(), Error> {
    match verb {
        Cache::Warm(args) => warm(&args.model, &args.place.directory()?, json),
        Cache::List(args) => list(&args.place.directory()?, json),
    }
}

fn warm(model: &Path, dir: &Path, json: bool) -> Result<(), Error> {
    let progress = Conversion::new(format!("converting {}", model.display()));
    let loaded = weights::open(&ModelSource::Gguf(model.to_path_buf()), dir, &progress)
        .map_err(|problem| Error::Failed(problem.to_string()))?;
    let report = &loaded.report;
    let seconds = report.elapsed.as_secs_f64();
    let mut out = io::stdout().lock();
    if json {
        let answer = json!({
            "model": model.display().to_string(),
            "dir": dir.display().to_string(),
            "from_cache": report.from_cache,
            "parameters": report.parameters,
            "bytes": report.bytes,
            "seconds": seconds,
            "fingerprint": loaded.fingerprint,
        });
        render::json_line(&mut out, &answer)?;
    } else {
        let size = render::bytes(report.bytes);
        let found = if report.from_cache {
            "was already there"
        } else {
            "is written"
        };
        let (model, dir) = (model.display(), dir.display());
        writeln!(
            out,
            "the cache of {model} {found}: {size} in {dir} ({seconds:.2} s)"
        )?;
    }
    Ok(())
}
fn list(_dir: &Path, _json: bool) -> Result<(), Error> {
    Err(Error::Failed("x".into()))
}
