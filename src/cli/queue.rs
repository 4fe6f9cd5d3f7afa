//! `woollyctl queue pause`, `drain` and `resume`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;

use super::client::Client;
use super::{Error, render};

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// Start no further jobs; running ones go on, and jobs are accepted
    #[command(
        after_help = "The queue stays paused over restarts of the daemon. For administrators.

Example:
  woollyctl queue pause"
    )]
    Pause,
    /// Take no new jobs and batches; those that are there run to their end
    #[command(
        after_help = "Who submits is told to come back later (503). The queue stays so over restarts of the daemon, until it is
resumed. For administrators.

Example:
  woollyctl queue drain --wait && systemctl stop woollyd"
    )]
    Drain {
        /// Return when nothing waits or runs any more
        #[arg(long)]
        wait: bool,
    },
    /// Start jobs again, and take new ones
    #[command(after_help = "Example:
  woollyctl queue resume")]
    Resume,
}

/// Between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, verb: Queue, json: bool) -> Result<(), Error> {
    let (path, done) = match &verb {
        Queue::Pause => ("/v1/queue/pause", "no further jobs start"),
        Queue::Drain { .. } => ("/v1/queue/drain", "no new jobs are taken in"),
        Queue::Resume => (
            "/v1/queue/resume",
            "jobs start again, and new ones are taken in",
        ),
    };
    let answer = client.post(path, String::new(), None).await?;
    match json {
        true => render::json_line(&mut io::stdout().lock(), &answer)?,
        false => writeln!(io::stdout(), "{done}")?,
    }
    if let Queue::Drain { wait: true } = verb {
        wait_until_empty(client).await?;
    }
    Ok(())
}

/// Says now and then how much is left.
async fn wait_until_empty(client: &Client) -> Result<(), Error> {
    let mut told = None;
    loop {
        let health = client.get_any("/health").await?.body;
        let jobs = |state: &str| health["jobs"][state].as_u64().unwrap_or(0);
        let left = jobs("queued") + jobs("running");
        let batches = health["open_batches"].as_u64().unwrap_or(0);
        if left == 0 && batches == 0 {
            return Ok(());
        }
        if told != Some((left, batches)) {
            render::say(format_args!(
                "woollyctl: {left} jobs and {batches} batches left"
            ));
            told = Some((left, batches));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
