//! `woollyctl cancel`.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use crate::job::JobId;

use super::mishaps::Mishaps;
use super::reconnect::Link;
use super::{Error, render, wire};

#[derive(Debug, Args)]
#[command(
    after_help = "A job that has already ended stays as it is. Where one is refused, the others are cancelled all the same, and the
exit code is the highest. --all leaves the requests of batches to `woollyctl batch cancel`, and jobs that are
submitted meanwhile in the queue; it may be repeated.

Examples:
  woollyctl cancel job_12 job_13
  woollyctl cancel --all"
)]
pub(super) struct Cancel {
    /// The jobs, as job_12 or 12
    #[arg(value_name = "ID", required_unless_present = "all", value_parser = super::wait::job_id)]
    ids: Vec<JobId>,

    /// All jobs of yours that have not ended; for administrators, those of everybody
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

pub(super) async fn run(link: &Link, args: Cancel, json: bool) -> Result<(), Error> {
    if args.all {
        return all(link, json).await;
    }
    let mut mishaps = Mishaps::among(args.ids.len(), json);
    for &id in &args.ids {
        let job = match link.cancel(id).await {
            Ok(job) => job,
            Err(error) => {
                mishaps.add(error)?;
                continue;
            }
        };
        let mut out = io::stdout().lock();
        render::read_or_not(match json {
            true => render::json_line(&mut out, &job.raw),
            false => writeln!(out, "{} {}", job.id, job.state.as_str()),
        })?;
    }
    mishaps.sum_up("could not be cancelled")
}

/// In steps, between which others' requests are answered.
async fn all(link: &Link, json: bool) -> Result<(), Error> {
    let mut cancelled = 0;
    let mut before: Option<String> = None;
    loop {
        let path = wire::cancel_all_path(before.as_deref());
        let answer = match link.client().post(&path, "{}".to_owned(), None).await {
            Ok(answer) => answer,
            Err(error) => {
                link.say(&format!("{cancelled} jobs cancelled, others not"));
                return Err(error);
            }
        };
        cancelled += answer["cancelled"].as_u64().unwrap_or(0);
        before = answer["more_before"].as_str().map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    let mut out = io::stdout().lock();
    render::read_or_not(match json {
        true => render::json_line(&mut out, &json!({ "cancelled": cancelled })),
        false => writeln!(out, "{cancelled} jobs cancelled"),
    })?;
    Ok(())
}
