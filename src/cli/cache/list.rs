//! `woollyctl cache list`: what lies in a cache directory.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::cache::{Item, Kind};
use crate::cli::{Error, render};

use super::place::Place;

#[derive(Debug, Args)]
#[command(after_help = "Example:
  woollyctl cache list --json

A file is in use while a process has it mapped. Files whose names end in .bad were damaged and set aside.")]
pub(in crate::cli) struct List {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &List, json: bool) -> Result<(), Error> {
    let mut items = super::survey(&args.place.cache()?.dir)?;
    items.retain(|item| !matches!(item.kind, Kind::Record { .. } | Kind::Lock));
    let mut out = io::stdout().lock();
    if json {
        for item in &items {
            render::json_line(&mut out, &object(item))?;
        }
        return Ok(());
    }
    let now = render::now();
    let rows: Vec<_> = items.iter().map(|item| row(item, now)).collect();
    let head = ["FILE", "SIZE", "PARAMETERS", "WRITTEN", "USED", "STATE"];
    render::table(&mut out, &head, &rows)?;
    for item in &items {
        if let Kind::Refused(problem) = &item.kind {
            writeln!(out, "{problem}")?;
        }
    }
    Ok(())
}

/// One word for what a file is.
fn state(item: &Item) -> &'static str {
    match item.kind {
        Kind::Cache(_) if item.in_use => "in use",
        Kind::Cache(_) => "ready",
        // The reason is a sentence, and follows the table.
        Kind::Refused(_) => "refused",
        Kind::Quarantined => "quarantined",
        Kind::Temporary if item.in_use => "being written",
        Kind::Temporary => "unfinished",
        Kind::Lock => "lock",
        Kind::Record { .. } => "record",
    }
}

fn row(item: &Item, now: u64) -> Vec<String> {
    let ago = |time| render::age(now.saturating_sub(render::unix_seconds(time)));
    let parameters = match &item.kind {
        Kind::Cache(summary) => summary.parameters.to_string(),
        _ => String::new(),
    };
    vec![
        item.name.clone(),
        render::bytes(item.bytes),
        parameters,
        ago(item.modified),
        ago(item.used),
        state(item).to_owned(),
    ]
}

fn object(item: &Item) -> Value {
    let mut object = json!({
        "file": item.path.display().to_string(),
        "bytes": item.bytes,
        "modified": render::unix_seconds(item.modified),
        "used": render::unix_seconds(item.used),
        "in_use": item.in_use,
        "state": state(item),
        "valid": matches!(item.kind, Kind::Cache(_)),
    });
    object["summary"] = match &item.kind {
        Kind::Cache(summary) => json!({
            "source": summary.source,
            "source_bytes": summary.source_bytes,
            "layout": summary.layout,
            "tensors": summary.tensors,
            "parameters": summary.parameters,
        }),
        Kind::Refused(problem) => json!({ "problem": problem.to_string() }),
        _ => Value::Null,
    };
    object
}
