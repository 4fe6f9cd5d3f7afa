//! `woollyctl cache list`: what lies in a cache directory.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::cache::{Directory, Entry};
use crate::cli::{Error, render};

use super::failed;
use super::place::Place;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl cache list --json")]
pub(in crate::cli) struct List {
    #[command(flatten)]
    place: Place,
}

/// Cache files by name; a directory that is not there holds none.
pub(super) fn run(args: &List, json: bool) -> Result<(), Error> {
    let dir = &args.place.cache()?.dir;
    let entries = if dir.exists() {
        let directory = Directory::open(dir).map_err(failed)?;
        directory.entries().map_err(failed)?
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
