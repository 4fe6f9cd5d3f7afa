//! Follows a job to its end, through restarts of the daemon.
//!
//! After a restart the stream begins again with the same bytes, so what was already given out is skipped by length.
//! Under another model they are others: then all that was given out is void, and everything is given out again. The
//! daemon tells so where it had stored something of the job, and else the bytes themselves do.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::time::Instant;

use crate::job::JobId;

use super::client::Streamed;
use super::reconnect::{Backoff, Link};
use super::{Error, wire};

/// Takes what is new. An error ends the watch.
pub(super) trait Viewer {
    /// New text of one choice, in order.
    fn text(&mut self, choice: usize, text: &str) -> Result<(), Error>;
    /// A whole chunk that brought new text or no text at all; comes after its [`Viewer::text`].
    fn chunk(&mut self, chunk: &Value) -> Result<(), Error>;
    /// What was given out of the job is void, and everything follows from the beginning.
    fn restarted(&mut self, id: JobId) -> Result<(), Error>;
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

    fn restarted(&mut self, _id: JobId) -> Result<(), Error> {
        Ok(())
    }
}

/// What of each choice was given out.
#[derive(Debug, Default)]
struct Replay {
    /// The text given out at all, and its bytes seen since the stream began (again).
    texts: HashMap<usize, (String, usize)>,
    /// Choices given out to their end.
    ended: HashSet<usize>,
}

impl Replay {
    fn rewind(&mut self) {
        self.texts.values_mut().for_each(|(_, seen)| *seen = 0);
    }

    /// The part of `text` that was not given out before.
    fn fresh<'a>(&mut self, choice: usize, text: &'a str) -> &'a str {
        let (given, seen) = self.texts.entry(choice).or_default();
        let known = given.len().saturating_sub(*seen).min(text.len());
        *seen += text.len();
        let fresh = text.get(known..).unwrap_or(text);
        given.push_str(fresh);
        fresh
    }

    /// Whether `text` is another than what was given out in its place.
    fn differs(&self, choice: usize, text: &str) -> bool {
        let Some((given, seen)) = self.texts.get(&choice) else {
            return false;
        };
        let given = given.bytes().skip(*seen);
        given.zip(text.bytes()).any(|(given, new)| given != new)
    }

    /// Forgets everything, and tells the viewer if it was given anything.
    fn void(&mut self, id: JobId, viewer: &mut impl Viewer) -> Result<(), Error> {
        let was = std::mem::take(self);
        match was.ended.is_empty() && was.texts.values().all(|(given, _)| given.is_empty()) {
            true => Ok(()),
            false => viewer.restarted(id),
        }
    }

    /// Whether the text of a result is another than what was given out. Only asked of what the last stream did not
    /// bring: the job may have run again, under another model, and ended before this client was back.
    fn contradicts(&self, choice: usize, result: &str) -> bool {
        let Some((given, seen)) = self.texts.get(&choice) else {
            return false;
        };
        let agrees = match self.ended.contains(&choice) {
            true => result.ends_with(given),
            false => result.starts_with(given),
        };
        *seen < given.len() && !agrees
    }
}

/// Why a connection is over.
enum Ended {
    /// With `[DONE]`.
    Done,
    /// It began in the middle of what turned out to be void: another one gives everything.
    Void,
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
            Ok(Ended::Done) => link.job(id).await?,
            Ok(Ended::Void) => continue,
            Err(error) => {
                link.pause(&mut backoff, started, error).await?;
                continue;
            }
        };
        if ended.state.is_terminal() {
            finish(&ended, &mut replay, viewer)?;
            return Ok(ended);
        }
        // The stream ended in good order and the job has not.
        let socket = link.client().socket().display().to_string();
        let stopping = Error::Stopping { socket, job: id };
        link.pause(&mut backoff, started, stopping).await?;
    }
}

/// One connection to its end.
async fn stream(
    link: &Link,
    id: JobId,
    replay: &mut Replay,
    viewer: &mut impl Viewer,
) -> Result<Ended, Error> {
    let mut events = link.client().events(&wire::events_path(id)).await?;
    link.answered();
    replay.rewind();
    let mut first = true;
    while let Some(event) = events.next().await? {
        if std::mem::take(&mut first) {
            link.works();
        }
        let chunk = match event {
            Streamed::Chunk(chunk) => chunk,
            Streamed::Restarted => {
                replay.void(id, viewer)?;
                continue;
            }
        };
        let mut texts = 0;
        let mut fresh_texts = 0;
        for (choice, text) in wire::chunk_texts(&chunk).filter(|(_, text)| !text.is_empty()) {
            if replay.differs(choice, text) {
                replay.void(id, viewer)?;
                return Ok(Ended::Void);
            }
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
    Ok(Ended::Done)
}

/// Gives out what the result has and the stream had not. A choice that the stream brought to its end is
/// complete, though its text in the result may be longer: with `echo` the prompt stands before it.
fn finish(job: &wire::Job, replay: &mut Replay, viewer: &mut impl Viewer) -> Result<(), Error> {
    let texts = job.texts();
    if (texts.iter().enumerate()).any(|(choice, text)| replay.contradicts(choice, text)) {
        replay.void(job.id, viewer)?;
    }
    replay.rewind();
    for (choice, text) in texts.into_iter().enumerate() {
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
        replay.rewind();
        // The pieces may be cut differently.
        assert_eq!(replay.fresh(0, "on"), "");
        assert_eq!(replay.fresh(0, "e two"), "two");
        assert_eq!(replay.fresh(1, "other "), " ");
        replay.rewind();
        assert_eq!(replay.fresh(0, "one two three"), " three");
    }

    #[test]
    fn another_text_is_told_from_the_same_and_from_a_new_one() {
        let mut replay = Replay::default();
        assert!(!replay.differs(0, "one"));
        replay.fresh(0, "one two");
        assert!(!replay.differs(0, " three"), "it goes on");
        replay.rewind();
        assert!(!replay.differs(0, "one"));
        assert!(!replay.differs(0, "one two three"));
        replay.fresh(0, "one ");
        assert!(!replay.differs(0, "two three"));
        assert!(replay.differs(0, "tea"));
    }

    struct Collect(String);

    impl Viewer for Collect {
        fn text(&mut self, _choice: usize, text: &str) -> Result<(), Error> {
            self.0.push_str(text);
            Ok(())
        }

        fn chunk(&mut self, _chunk: &Value) -> Result<(), Error> {
            Ok(())
        }

        fn restarted(&mut self, id: JobId) -> Result<(), Error> {
            self.0.push_str(&format!("<{id} anew>"));
            Ok(())
        }
    }

    /// What is given out at the end of a job with these texts.
    fn finished(replay: &mut Replay, texts: [&str; 2]) -> String {
        let choices = texts.map(|text| serde_json::json!({ "text": text }));
        let job = serde_json::json!({"id": "job_1", "status": "completed", "result": {"choices": choices}});
        let mut viewer = Collect(String::new());
        finish(&wire::Job::read(job).unwrap(), replay, &mut viewer).unwrap();
        viewer.0
    }

    #[test]
    fn a_prompt_that_is_echoed_in_the_result_is_not_taken_for_missing_text() {
        let mut replay = Replay::default();
        replay.fresh(0, " upon");
        replay.ended.insert(0);
        replay.fresh(1, "cut");
        replay.rewind();
        assert_eq!(finished(&mut replay, ["Once upon", "cut off"]), " off");
    }

    #[test]
    fn a_result_that_does_not_go_on_from_what_was_given_out_is_given_out_whole() {
        for ended in [false, true] {
            let mut replay = Replay::default();
            replay.fresh(0, "one");
            replay.fresh(1, "two");
            replay.ended.extend(ended.then_some(1));
            replay.rewind();
            let text = finished(&mut replay, ["one more", "second"]);
            assert_eq!(text, "<job_1 anew>one moresecond");
        }
        let mut nothing_given = Replay::default();
        assert_eq!(finished(&mut nothing_given, ["a", "b"]), "ab");
    }
}
