//! `woollyctl cancel`.

use std::io::{self, Write};

use clap::Args;

use crate::job::JobId;

use super::reconnect::Link;
use super::{Error, render};

#[derive(Debug, Args)]
#[command(after_help = "A job that has already ended stays as it is.

Example:
  woollyctl cancel job_12 job_13")]
pub(super) struct Cancel {
    /// The jobs, as job_12 or 12
    #[arg(value_name = "ID", required = true, value_parser = super::wait::job_id)]
    ids: Vec<JobId>,
}

pub(super) async fn run(link: &Link, args: Cancel, json: bool) -> Result<(), Error> {
    for &id in &args.ids {
        let job = link.cancel(id).await?;
        let mut out = io::stdout().lock();
        if json {
            render::json_line(&mut out, &job.raw)?;
        } else {
            writeln!(out, "{} {}", job.id, job.state.as_str())?;
        }
    }
    Ok(())
}
