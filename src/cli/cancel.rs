//! `woollyctl cancel`.

use std::io::{self, Write};

use clap::Args;

use crate::job::JobId;

use super::mishaps::Mishaps;
use super::reconnect::Link;
use super::{Error, render};

#[derive(Debug, Args)]
#[command(
    after_help = "A job that has already ended stays as it is. Where one is refused, the others are cancelled all the same, and the
exit code is the highest.

Example:
  woollyctl cancel job_12 job_13"
)]
pub(super) struct Cancel {
    /// The jobs, as job_12 or 12
    #[arg(value_name = "ID", required = true, value_parser = super::wait::job_id)]
    ids: Vec<JobId>,
}

pub(super) async fn run(link: &Link, args: Cancel, json: bool) -> Result<(), Error> {
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
