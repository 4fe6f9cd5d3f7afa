//! `woollyctl status`: one job, or the daemon as a whole.

use std::io;

use clap::Args;
use serde_json::Value;

use crate::job::JobId;

use super::reconnect::Link;
use super::{Error, calendar, health, render};

#[derive(Debug, Args)]
#[command(after_help = "Times are in UTC; with --json they are Unix seconds.

Examples:
  woollyctl status
  woollyctl status job_12 --json")]
pub(super) struct Status {
    /// The job, as job_12 or 12; without it the daemon tells about itself
    #[arg(value_name = "ID", value_parser = super::wait::job_id)]
    id: Option<JobId>,
}

/// The fields of a job that are times, and the one of its result.
const TIMES: [&str; 8] = [
    "/created_at",
    "/started_at",
    "/finished_at",
    "/estimated_start_at",
    "/estimated_finish_at",
    "/not_before",
    "/deadline",
    "/result/created",
];

pub(super) async fn run(link: &Link, args: Status, json: bool) -> Result<(), Error> {
    let Some(id) = args.id else {
        return health::show(link, json).await.map(|_serving| ());
    };
    let job = link.job(id).await?;
    let mut out = io::stdout().lock();
    if json {
        render::json_line(&mut out, &job.raw)?;
    } else {
        render::fields(&mut out, &readable(job.raw, render::now()))?;
    }
    Ok(())
}

/// The job with its times as sentences.
fn readable(mut job: Value, now: u64) -> Value {
    for pointer in TIMES {
        if let Some(field) = job.pointer_mut(pointer)
            && let Some(time) = field.as_u64()
        {
            *field = calendar::sentence(time, now).into();
        }
    }
    job
}
