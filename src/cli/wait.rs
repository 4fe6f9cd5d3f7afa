//! `woollyctl wait`: blocks until jobs are terminal.

use std::io::{self, Write};

use clap::Args;

use crate::job::{JobId, State};

use super::mishaps::Mishaps;
use super::reconnect::Link;
use super::{Error, render, watch};

#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when all jobs completed, and with 1 when one failed, expired or was cancelled. Where one is refused,
the others are waited for all the same, and the exit code is 4.

Example:
  woollyctl wait job_12 job_13 && echo both done"
)]
pub(super) struct Wait {
    /// The jobs, as job_12 or 12
    #[arg(value_name = "ID", required = true, value_parser = job_id)]
    ids: Vec<JobId>,
}

pub(super) async fn run(link: &Link, args: Wait, json: bool) -> Result<(), Error> {
    let mut mishaps = Mishaps::among(args.ids.len(), json);
    for &id in &args.ids {
        let job = match watch::to_the_end(link, id, &mut watch::Silent).await {
            Ok(job) => job,
            Err(error) => {
                mishaps.add(error)?;
                continue;
            }
        };
        let mut out = io::stdout().lock();
        render::read_or_not(match job.state {
            _ if json => render::json_line(&mut out, &job.raw),
            State::Completed => writeln!(out, "{} {}", job.id, job.state.as_str()),
            _ => writeln!(out, "{}", job.problem()),
        })?;
        if job.state != State::Completed {
            mishaps.count();
        }
    }
    mishaps.sum_up("did not complete")
}

/// A job id with or without its prefix.
pub(super) fn job_id(text: &str) -> Result<JobId, String> {
    let full = if text.starts_with("job_") {
        text.to_owned()
    } else {
        format!("job_{text}")
    };
    full.parse()
        .map_err(|error: crate::job::InvalidJobId| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_an_id_may_be_left_out() {
        assert_eq!(job_id("12"), Ok(JobId(12)));
        assert_eq!(job_id("job_12"), Ok(JobId(12)));
        for bad in ["", "job_", "-1", "job_1x", "99999999999999999999"] {
            assert!(job_id(bad).is_err(), "{bad}");
        }
    }
}
