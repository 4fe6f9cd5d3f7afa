//! `woollyctl health`: whether jobs are being served.

use std::io;

use clap::Args;

use super::reconnect::Link;
use super::{Error, render};

#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when jobs are being served, with 1 while the model loads and when the daemon is stopping, and with 3
when there is no daemon, or one that does not answer within 30 seconds. After `woollyctl queue pause` and
`queue drain` it ends with 0, too: the daemon does what it was told, and `paused` and `draining` say so.

Example:
  woollyctl health --json"
)]
pub(super) struct Health {}

pub(super) async fn run(link: &Link, json: bool) -> Result<(), Error> {
    if show(link, json).await? {
        Ok(())
    } else {
        Err(Error::Failed("woollyd is not serving jobs".into()))
    }
}

/// Prints what the daemon says of itself; true when it serves jobs.
pub(super) async fn show(link: &Link, json: bool) -> Result<bool, Error> {
    let answer = link.client().get_any("/health").await?;
    let mut out = io::stdout().lock();
    render::read_or_not(match json {
        true => render::json_line(&mut out, &answer.body),
        false => render::fields(&mut out, &answer.body),
    })?;
    Ok(answer.status == 200)
}
