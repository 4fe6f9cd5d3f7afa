//! `woollyctl follow`: the text of one job from its first token, as it comes.

use clap::Args;

use crate::job::{JobId, State};

use super::reconnect::Link;
use super::submit::Printer;
use super::{Error, watch};

#[derive(Debug, Args)]
#[command(after_help = "Ctrl-C stops following; the job goes on.

Example:
  woollyctl follow job_12")]
pub(super) struct Follow {
    /// The job, as job_12 or 12
    #[arg(value_name = "ID", value_parser = super::wait::job_id)]
    id: JobId,
}

pub(super) async fn run(link: &Link, args: Follow, json: bool) -> Result<(), Error> {
    let mut printer = Printer {
        stream: true,
        json,
        at_line_start: true,
    };
    let job = watch::to_the_end(link, args.id, &mut printer).await?;
    printer.end(&job)?;
    match job.state {
        State::Completed => Ok(()),
        _ => Err(Error::Failed(job.problem())),
    }
}
