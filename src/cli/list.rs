//! `woollyctl list`: jobs, newest first.

use std::io;

use clap::Args;
use serde_json::Value;

use crate::job::{JobId, State};

use super::reconnect::Link;
use super::wire::{self, Job};
use super::{Error, render};

#[derive(Debug, Args)]
#[command(
    after_help = "How many jobs run before one that waits, and when it will start, tells `woollyctl status ID`.

Examples:
  woollyctl list --status running
  woollyctl list --limit 100 --before job_500 --json"
)]
pub(super) struct List {
    /// Only jobs in this state: queued, running, completed, failed, cancelled or expired
    #[arg(long, value_name = "STATE", value_parser = state)]
    status: Option<State>,

    /// At most this many jobs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Only jobs older than this one
    #[arg(long, value_name = "ID", value_parser = super::wait::job_id)]
    before: Option<JobId>,
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| {
        let names: Vec<&str> = State::ALL.into_iter().map(State::as_str).collect();
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) async fn run(link: &Link, args: List, json: bool) -> Result<(), Error> {
    let path = path(&args);
    let answer = link.retry(async || link.client().get(&path).await).await?;
    let jobs = answer
        .get("data")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut out = io::stdout().lock();
    if json {
        for job in &jobs {
            render::json_line(&mut out, job)?;
        }
        return Ok(());
    }
    let now = render::now();
    let rows: Vec<_> = jobs
        .into_iter()
        .filter_map(Job::read)
        .map(|job| render::job_row(&job, now))
        .collect();
    render::table(&mut out, &render::JOB_HEAD, &rows)?;
    Ok(())
}

/// Every value is a number or a lower-case word, so nothing needs escaping.
fn path(args: &List) -> String {
    let mut path = format!("{}?limit={}", wire::JOBS, args.limit);
    if let Some(state) = args.status {
        path += &format!("&status={}", state.as_str());
    }
    if let Some(id) = args.before {
        path += &format!("&before={id}");
    }
    path
}
