//! `woollyctl cache prune`: removes what is of no use any more, and what is too old or too much.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use crate::cache::{Directory, Limits, prunable};
use crate::cli::{Error, render};
use crate::config;

use super::failed;
use super::place::Place;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl cache prune --dry-run
  woollyctl cache prune --older-than 30d
  woollyctl cache prune --max-bytes 10GiB --dir /var/cache/woolly

Without a limit go: files that were set aside as damaged or would be refused, what a killed process left, and
files whose model is gone or was replaced. Cache files over the limit go in the order of their last use.
A file that a process has mapped stays, whatever is asked for.")]
pub(in crate::cli) struct Prune {
    /// Also remove cache files that were not used for this long: 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,

    /// Also remove the least recently used until the rest is this small; the configuration's max_bytes without it
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,

    /// Remove everything
    #[arg(long)]
    all: bool,

    /// Only say what would go
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    place: Place,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds =
        config::seconds_of(text).ok_or("expected a number of seconds, or one with s, m, h or d")?;
    Ok(Duration::from_secs(seconds))
}

fn size(text: &str) -> Result<u64, String> {
    let expected = "expected a number of bytes, or one with KiB, MiB or GiB";
    config::bytes_of(text).ok_or_else(|| expected.to_owned())
}

pub(super) fn run(args: &Prune, json: bool) -> Result<(), Error> {
    let cache = args.place.cache()?;
    let items = super::survey(&cache.dir)?;
    let limits = Limits {
        older_than: args.older_than,
        max_bytes: args.max_bytes.or(cache.max_bytes),
        nothing: args.all,
    };
    let chosen = prunable(&items, limits, SystemTime::now());
    let directory = match chosen.is_empty() {
        // A directory that is not there stays so.
        true => None,
        false => Some(Directory::open(&cache.dir).map_err(failed)?),
    };
    let mut out = io::stdout().lock();
    let (mut files, mut freed) = (0, 0);
    for (item, reason) in chosen {
        let gone = match &directory {
            Some(directory) if !args.dry_run => directory.remove(item).map_err(failed)?,
            _ => true,
        };
        if !gone {
            // A process has mapped it since.
            continue;
        }
        files += 1;
        freed += item.bytes;
        if json {
            let (file, reason) = (item.path.display().to_string(), reason.to_string());
            let line = json!({"file": file, "bytes": item.bytes, "reason": reason, "removed": !args.dry_run});
            render::json_line(&mut out, &line)?;
        } else {
            let (name, size) = (&item.name, render::bytes(item.bytes));
            writeln!(out, "{name}: {size}, {reason}")?;
        }
    }
    if json {
        let sum = json!({"files": files, "freed_bytes": freed, "dry_run": args.dry_run});
        render::json_line(&mut out, &sum)?;
    } else {
        let would = if args.dry_run { "would give" } else { "gave" };
        let size = render::bytes(freed);
        writeln!(
            out,
            "{would} {size} of room in {}: {files} files",
            cache.dir.display()
        )?;
    }
    Ok(())
}
