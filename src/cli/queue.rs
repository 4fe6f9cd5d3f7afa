//! `woollyctl queue pause` and `resume`.

use std::io::{self, Write};

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
    /// Start jobs again
    #[command(after_help = "Example:
  woollyctl queue resume")]
    Resume,
}

pub(super) async fn run(client: &Client, verb: Queue, json: bool) -> Result<(), Error> {
    let (path, done) = match verb {
        Queue::Pause => ("/v1/queue/pause", "no further jobs start"),
        Queue::Resume => ("/v1/queue/resume", "jobs start again"),
    };
    let answer = client.post(path, String::new(), None).await?;
    match json {
        true => Ok(render::json_line(&mut io::stdout().lock(), &answer)?),
        false => Ok(writeln!(io::stdout(), "{done}")?),
    }
}
