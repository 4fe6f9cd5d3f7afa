//! `woollyctl cache`: FP32 cache files, without a daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cache::{Directory, Entry};
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
    let progress = Conversion::of(model);
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
/// Cache files by name; a directory that is not there holds none.
fn list(dir: &Path, json: bool) -> Result<(), Error> {
    let entries = if dir.exists() {
        let failed = |problem: &dyn std::fmt::Display| Error::Failed(problem.to_string());
        let directory = Directory::open(dir).map_err(|problem| failed(&problem))?;
        directory.entries().map_err(|problem| failed(&problem))?
    } else {
        Vec::new()
    };
    let mut out = io::stdout().lock();
    if json {
        for entry in &entries {
            render::json_line(&mut out, &entry_json(entry))?;
        }
        return Ok(());
    }
    let now = render::now();
    let rows: Vec<_> = entries.iter().map(|entry| entry_row(entry, now)).collect();
    render::table(&mut out, &["FILE", "SIZE", "PARAMETERS", "WRITTEN"], &rows)?;
    for problem in entries
        .iter()
        .filter_map(|entry| entry.summary.as_ref().err())
    {
        writeln!(out, "{problem}")?;
    }
    Ok(())
}

fn entry_row(entry: &Entry, now: u64) -> Vec<String> {
    let contents = match &entry.summary {
        Ok(summary) => summary.parameters.to_string(),
        // The reason is a sentence, and follows the table.
        Err(_) => "refused".to_owned(),
    };
    let written = render::unix_seconds(entry.modified);
    vec![
        entry.name.clone(),
        render::bytes(entry.bytes),
        contents,
        render::age(now.saturating_sub(written)),
    ]
}

fn entry_json(entry: &Entry) -> Value {
    let mut object = json!({
        "file": entry.path.display().to_string(),
        "bytes": entry.bytes,
        "modified": render::unix_seconds(entry.modified),
        "valid": entry.summary.is_ok(),
    });
    object["summary"] = match &entry.summary {
        Ok(summary) => json!({
            "source": summary.source,
            "source_bytes": summary.source_bytes,
            "layout": summary.layout,
            "tensors": summary.tensors,
            "parameters": summary.parameters,
        }),
        Err(problem) => json!({ "problem": problem.to_string() }),
    };
    object
}
