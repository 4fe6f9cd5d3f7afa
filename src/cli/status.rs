//! `woollyctl status`: one job, or the daemon as a whole.

use std::io;

use clap::Args;

use crate::job::JobId;

use super::reconnect::Link;
use super::{Error, health, render};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl status
  woollyctl status job_12 --json")]
pub(super) struct Status {
    /// The job, as job_12 or 12; without it the daemon tells about itself
    #[arg(value_name = "ID", value_parser = super::wait::job_id)]
    id: Option<JobId>,
}

pub(super) async fn run(link: &Link, args: Status, json: bool) -> Result<(), Error> {
    let Some(id) = args.id else {
        return health::show(link, json).await.map(|_serving| ());
    };
    let job = link.job(id).await?;
    let mut out = io::stdout().lock();
    if json {
        render::json_line(&mut out, &job.raw)?;
    } else {
        render::fields(&mut out, &job.raw)?;
    }
    Ok(())
}
