//! `GET /v1/jobs/{id}/events`: the tokens of a job from the first on, as server-sent events.
//!
//! Every event is a chunk as in a stream of the job's endpoint, reduced to the text:
//! `{"id", "object", "choices": [{"index", "text" or "delta", "finish_reason"}]}`. After the last one of a job that has
//! completed comes `[DONE]`; after that of one that failed, was cancelled or has expired an error, as in a stream of the
//! endpoint. A stream that ends without either was cut off, for example by a stop of the daemon. The stream of a job that
//! has completed long ago is told out of its result.
//!
//! Every event has an id, as in `9f3a01c2-12.7.30`: what the events come from, and how many there were of each sequence.
//! A client that comes back with `Last-Event-ID` gets what follows, and nothing twice; also after a crash of the daemon,
//! because a job that runs again gives the same events. If the model or its settings have changed meanwhile it does not,
//! nor behind a fault that showed in what it gave: then comes an event `restarted`, and everything from the beginning.
//! Jobs that completed under a version of this program that kept no outline of their events have only a result: an event
//! `gone` says so, and no `[DONE]` follows.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::access::Caller;
use crate::api::cursor::Cursor;
use crate::api::event_id::EventId;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::sse::{self, EventWriter, Gone};
use crate::api::waiting;
use crate::job::{Endpoint, Event, JobId, SequenceEvent};

use super::{IdInPath, visible_job};

/// The name of the event that voids what a client has.
const RESTARTED: &str = "restarted";
/// The name of the event in whose place the rest would be.
const GONE: &str = "gone";
const LAST_EVENT_ID: &str = "last-event-id";

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let had = last_event_id(&headers)?;
    let row = visible_job(&shared, caller, id).await?;
    let (id, endpoint) = (row.id, row.endpoint);
    let mut events = Cursor::at_the_beginning(&shared.queue, row).await;
    Ok(sse::response(async move |writer: EventWriter| {
        let comes_back = had.is_some();
        let mut place = Place {
            had,
            seen: vec![],
            voided: None,
        };
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = writer.gone() => return Err(Gone),
                () = shared.lifecycle.stopped() => return Ok(()),
            };
            let Some(event) = event else { break };
            if place.is_void(&events) {
                writer.named(RESTARTED, "{}").await?;
            }
            let is_new = place.pass(event.sequence);
            if let Some(chunk) = chunk(endpoint, &event).filter(|_| is_new) {
                let id = place.id(&events);
                writer
                    .data_with_id(&chunk.to_string(), &id.to_string())
                    .await?;
            }
        }
        let is_gone = comes_back && events.is_void();
        end(&shared, id, is_gone, &writer).await
    }))
}

/// Says how the job ended. One that has not, or whose end cannot be read, is still to be followed: the client comes back.
async fn end(shared: &Shared, id: JobId, is_gone: bool, writer: &EventWriter) -> Result<(), Gone> {
    let row = shared.queue.get(id).await;
    let Some(row) = row.ok().filter(|row| row.state.is_terminal()) else {
        return Ok(());
    };
    match waiting::result(row) {
        Err(refusal) => writer.data(&refusal.json()).await,
        Ok(_) if is_gone => {
            let message =
                format!("the events of this job were not kept: its result is at /v1/jobs/{id}");
            let data = json!({ "message": message });
            writer.named(GONE, &data.to_string()).await
        }
        Ok(_) => writer.done().await,
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        Refusal::bad_field(
            "Last-Event-ID",
            "Last-Event-ID must be the id of an event, such as 9f3a01c2-12.7.30",
        )
    })
}

/// Where a stream stands.
struct Place {
    /// What the client had before.
    had: Option<EventId>,
    /// Events of each sequence in this stream, those that the client had included.
    seen: Vec<usize>,
    /// As often as the events were void by the last one of this stream; `None` before the first.
    voided: Option<usize>,
}

impl Place {
    /// Asked at each event. True if what the client has comes from something else; it then has nothing. At the first
    /// one, a client that names no event may have followed the job before all the same, and one that does may have it
    /// from a run that was void.
    fn is_void(&mut self, events: &Cursor) -> bool {
        let now = events.voided();
        let is_void = match (self.voided.replace(now), &self.had) {
            (Some(before), _) => before != now,
            (None, Some(had)) => now > 0 || had.fingerprint != events.origin().fingerprint,
            (None, None) => now > 0 || events.was_restarted(),
        };
        if is_void {
            self.had = None;
            self.seen.clear();
        }
        is_void
    }

    /// Counts an event. Whether it is new to the client.
    fn pass(&mut self, sequence: usize) -> bool {
        if self.seen.len() <= sequence {
            self.seen.resize(sequence + 1, 0);
        }
        self.seen[sequence] += 1;
        let had = self.had.as_ref().map_or(0, |had| had.count(sequence));
        self.seen[sequence] > had
    }

    /// What the client has now: the events that were seen in this stream, or in an earlier one.
    fn id(&self, events: &Cursor) -> EventId {
        let origin = events.origin();
        let had = self.had.as_ref();
        let named = had.map_or(0, |had| had.counts.len().min(origin.sequences));
        let count = |sequence: usize| {
            let seen = self.seen.get(sequence).copied().unwrap_or(0);
            seen.max(had.map_or(0, |had| had.count(sequence)))
        };
        EventId {
            fingerprint: origin.fingerprint,
            counts: (0..self.seen.len().max(named)).map(count).collect(),
        }
    }
}

/// `None` for events that show nothing.
fn chunk(endpoint: Endpoint, event: &SequenceEvent) -> Option<Value> {
    let (text, reason) = match &event.event {
        Event::Token(token) if token.text.is_empty() => return None,
        Event::Token(token) => (&token.text, None),
        Event::Finished { reason, text } => (text, Some(reason)),
        Event::Scored(_) | Event::Failed { .. } | Event::Stopped => return None,
    };
    let id = event.job.to_string();
    let index = event.sequence;
    Some(match endpoint {
        Endpoint::Completions => json!({
            "id": id,
            "object": "text_completion",
            "choices": [{"index": index, "text": text, "finish_reason": reason}],
        }),
        Endpoint::ChatCompletions => json!({
            "id": id,
            "object": "chat.completion.chunk",
            "choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}],
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::job::{FinishReason, JobId, Token};
    use crate::queue::{LiveLog, Origin};

    use super::*;

    fn event(event: Event) -> SequenceEvent {
        SequenceEvent {
            job: JobId(4),
            sequence: 1,
            event,
        }
    }

    #[test]
    fn an_id_counts_what_a_client_has() {
        let live = LiveLog::default();
        live.open(JobId(4));
        let origin = Origin {
            fingerprint: 7,
            sequences: 3,
        };
        live.begin(JobId(4), origin);
        let events = Cursor::from(live.subscribe(JobId(4)));
        let id = |seen: &[usize], had: Option<&str>| {
            let mut place = Place {
                had: had.map(|had| had.parse().unwrap()),
                seen: vec![],
                voided: None,
            };
            let is_void = place.is_void(&events);
            place.seen = seen.to_vec();
            (is_void, place.id(&events).to_string())
        };
        let with = |counts: &str| format!("00000007-{counts}");
        assert_eq!(id(&[1], None), (false, with("1")));
        assert_eq!(id(&[1, 0, 3], Some("00000007-5.2")), (false, with("5.2.3")));
        assert_eq!(id(&[1], Some("00000007-0.9.1.1")), (false, with("1.9.1")));
        assert_eq!(id(&[1], Some("00000008-5.2")), (true, with("1")));
        live.restart(JobId(4));
        assert_eq!(id(&[1], Some("00000007-5")), (false, with("5")));
        assert_eq!(id(&[1], None), (true, with("1")));
    }

    #[tokio::test]
    async fn who_follows_a_job_hears_that_what_it_had_is_void() {
        let live = LiveLog::default();
        let token = |id| {
            Arc::new(event(Event::Token(Token {
                id,
                ..Token::default()
            })))
        };
        let with = |had: Option<&str>| Place {
            had: had.map(|had| had.parse().unwrap()),
            seen: vec![],
            voided: None,
        };
        live.open(JobId(4));
        let mut events = Cursor::from(live.subscribe(JobId(4)));
        let mut place = with(Some("00000000-0.1"));
        let mut next = async |events: &mut Cursor| {
            let event = events.next().await.unwrap();
            (place.is_void(events), place.pass(event.sequence))
        };
        live.append(token(1));
        live.append(token(2));
        assert_eq!(next(&mut events).await, (false, false));
        assert_eq!(next(&mut events).await, (false, true));
        live.open(JobId(4));
        live.append(token(1));
        live.append(token(3));
        assert_eq!(next(&mut events).await, (true, true));
        assert_eq!(next(&mut events).await, (false, true));
        // Who comes back cannot tell which run its events are from.
        for had in [None, Some("00000000-0.2")] {
            let mut events = Cursor::from(live.subscribe(JobId(4)));
            events.next().await.unwrap();
            assert!(with(had).is_void(&events));
        }
    }

    #[test]
    fn tokens_are_chunks_of_their_endpoint() {
        let token = event(Event::Token(Token {
            text: "Hi".to_owned(),
            ..Token::default()
        }));
        assert_eq!(
            chunk(Endpoint::Completions, &token).unwrap()["choices"],
            json!([{"index": 1, "text": "Hi", "finish_reason": null}])
        );
        assert_eq!(
            chunk(Endpoint::ChatCompletions, &token).unwrap()["choices"],
            json!([{"index": 1, "delta": {"content": "Hi"}, "finish_reason": null}])
        );
    }

    #[test]
    fn the_end_has_a_reason_and_silence_shows_nothing() {
        let end = event(Event::Finished {
            reason: FinishReason::Length,
            text: String::new(),
        });
        assert_eq!(
            chunk(Endpoint::Completions, &end).unwrap()["choices"][0]["finish_reason"],
            "length"
        );
        assert_eq!(
            chunk(
                Endpoint::Completions,
                &event(Event::Token(Token::default()))
            ),
            None
        );
        assert_eq!(chunk(Endpoint::Completions, &event(Event::Stopped)), None);
    }
}
