//! Follows a job to its end, through restarts of the daemon.
//!
//! After a restart the stream begins again with the same bytes, so what was already given out is skipped by length.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::time::Instant;

use crate::job::JobId;

use super::reconnect::{Backoff, Link};
use super::{Error, wire};

/// Takes what is new. An error ends the watch.
pub(super) trait Viewer {
    /// New text of one choice, in order.
    fn text(&mut self, choice: usize, text: &str) -> Result<(), Error>;
    /// A whole chunk that brought new text or no text at all; comes after its [`Viewer::text`].
    fn chunk(&mut self, chunk: &Value) -> Result<(), Error>;
}

/// For those who only wait.
pub(super) struct Silent;

impl Viewer for Silent {
    fn text(&mut self, _choice: usize, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    fn chunk(&mut self, _chunk: &Value) -> Result<(), Error> {
        Ok(())
    }
}

/// What of each choice was given out.
#[derive(Debug, Default)]
struct Replay {
    /// Bytes given out at all, and seen since the stream began (again).
    bytes: HashMap<usize, (usize, usize)>,
    /// Choices given out to their end.
    ended: HashSet<usize>,
}

impl Replay {
    fn restart(&mut self) {
        self.bytes.values_mut().for_each(|(_, seen)| *seen = 0);
    }

    /// The part of `text` that was not given out before.
    fn fresh<'a>(&mut self, choice: usize, text: &'a str) -> &'a str {
        let (given, seen) = self.bytes.entry(choice).or_default();
        let known = given.saturating_sub(*seen).min(text.len());
        *seen += text.len();
        *given = (*given).max(*seen);
        text.get(known..).unwrap_or(text)
    }
}

/// Returns the job in its terminal state, with its result.
pub(super) async fn to_the_end(
    link: &Link,
    id: JobId,
    viewer: &mut impl Viewer,
) -> Result<wire::Job, Error> {
    let mut replay = Replay::default();
    let mut backoff = Backoff::default();
    loop {
        let started = Instant::now();
        let ended = match stream(link, id, &mut replay, viewer).await {
            Ok(()) => link.job(id).await?,
            Err(error) => {
                link.pause(&mut backoff, started, error).await?;
                continue;
            }
        };
        if ended.state.is_terminal() {
            finish(&ended, &mut replay, viewer)?;
            return Ok(ended);
        }
        // The stream ended in good order and the job has not: the daemon is draining.
        let socket = link.client().socket().display().to_string();
        let problem = "the stream ended before the job did".to_owned();
        link.pause(&mut backoff, started, Error::Lost { socket, problem })
            .await?;
    }
}

/// One connection, until `[DONE]`.
async fn stream(
    link: &Link,
    id: JobId,
    replay: &mut Replay,
    viewer: &mut impl Viewer,
) -> Result<(), Error> {
    let mut events = link.client().events(&wire::events_path(id)).await?;
    link.answered();
    replay.restart();
    while let Some(chunk) = events.next().await? {
        let mut texts = 0;
        let mut fresh_texts = 0;
        for (choice, text) in wire::chunk_texts(&chunk).filter(|(_, text)| !text.is_empty()) {
            texts += 1;
            let fresh = replay.fresh(choice, text);
            if !fresh.is_empty() {
                fresh_texts += 1;
                viewer.text(choice, fresh)?;
            }
        }
        if texts == 0 || fresh_texts > 0 {
            viewer.chunk(&chunk)?;
        }
        replay.ended.extend(wire::chunk_ends(&chunk));
    }
    Ok(())
}

/// Gives out what the result has and the stream had not. A choice that the stream brought to its end is
/// complete, though its text in the result may be longer: with `echo` the prompt stands before it.
fn finish(job: &wire::Job, replay: &mut Replay, viewer: &mut impl Viewer) -> Result<(), Error> {
    replay.restart();
    for (choice, text) in job.texts().into_iter().enumerate() {
        if replay.ended.contains(&choice) {
            continue;
        }
        let rest = replay.fresh(choice, text);
        if !rest.is_empty() {
            viewer.text(choice, rest)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_begins_again_gives_only_what_is_new() {
        let mut replay = Replay::default();
        assert_eq!(replay.fresh(0, "one "), "one ");
        assert_eq!(replay.fresh(1, "other"), "other");
        replay.restart();
        // The pieces may be cut differently.
        assert_eq!(replay.fresh(0, "on"), "");
        assert_eq!(replay.fresh(0, "e two"), "two");
        assert_eq!(replay.fresh(1, "other "), " ");
        replay.restart();
        assert_eq!(replay.fresh(0, "one two three"), " three");
    }

    #[test]
    fn a_prompt_that_is_echoed_in_the_result_is_not_taken_for_missing_text() {
        struct Collect(String);
        impl Viewer for Collect {
            fn text(&mut self, _choice: usize, text: &str) -> Result<(), Error> {
                self.0.push_str(text);
                Ok(())
            }
            fn chunk(&mut self, _chunk: &Value) -> Result<(), Error> {
                Ok(())
            }
        }
        let choices = serde_json::json!([{"text": "Once upon"}, {"text": "cut off"}]);
        let job = serde_json::json!({"id": "job_1", "status": "completed", "result": {"choices": choices}});
        let job = wire::Job::read(job).unwrap();
        let mut replay = Replay::default();
        replay.fresh(0, " upon");
        replay.ended.insert(0);
        replay.fresh(1, "cut");
        let mut viewer = Collect(String::new());
        finish(&job, &mut replay, &mut viewer).unwrap();
        assert_eq!(viewer.0, " off");
    }
}
