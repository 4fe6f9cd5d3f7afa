//! `GET /v1/jobs/{id}/events`: the tokens of a job from the first on, as server-sent events.
//!
//! Every event is a chunk as in a stream of the job's endpoint, reduced to the text:
//! `{"id", "object", "choices": [{"index", "text" or "delta", "finish_reason"}]}`. After the last one
//! comes `[DONE]`; a stream that ends without it was cut off, for example by a stop of the daemon. A job
//! that is over for a while has no tokens to stream any more, only a result.
//!
//! Every event has an id: how many events there were of each sequence, as in `12.7.30`. A client that comes back with
//! `Last-Event-ID` gets what follows, and nothing twice; also after a crash of the daemon, because a job that runs again
//! gives the same events. If the model or its settings have changed meanwhile it does not: then an event `restarted`
//! comes first, and everything from the beginning.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::access::Caller;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::sse::{self, EventWriter, Gone};
use crate::job::{Endpoint, Event, SequenceEvent};

use super::{IdInPath, visible_job};

/// The name of the event that voids what a client has.
const RESTARTED: &str = "restarted";
const LAST_EVENT_ID: &str = "last-event-id";

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let mut had = last_event_id(&headers)?;
    let row = visible_job(&shared, caller, id).await?;
    let (mut seen, mut told): (Vec<usize>, bool) = (vec![], false);
    let mut events = shared.queue.live().subscribe(row.id);
    Ok(sse::response(async move |writer: EventWriter| {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = writer.gone() => return Err(Gone),
                () = shared.lifecycle.stopped() => return Ok(()),
            };
            match event {
                Some(event) => {
                    if !told && events.was_restarted() {
                        told = true;
                        // What the client has came from another model.
                        had.clear();
                        writer.named(RESTARTED, "{}").await?;
                    }
                    let sequence = event.sequence;
                    if seen.len() <= sequence {
                        seen.resize(sequence + 1, 0);
                    }
                    seen[sequence] += 1;
                    let is_new = had.get(sequence).is_none_or(|had| seen[sequence] > *had);
                    if let Some(chunk) = chunk(row.endpoint, &event).filter(|_| is_new) {
                        let id = event_id(&seen, &had);
                        writer.data_with_id(&chunk.to_string(), &id).await?;
                    }
                }
                None => return writer.done().await,
            }
        }
    }))
}

/// Events of each sequence that a client has.
fn last_event_id(headers: &HeaderMap) -> Result<Vec<usize>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(vec![]);
    };
    let counts = value.to_str().ok().and_then(|text| {
        let counts = text.split('.').map(|count| count.parse().ok());
        counts.collect::<Option<Vec<usize>>>()
    });
    counts.ok_or_else(|| {
        Refusal::bad_field(
            "Last-Event-ID",
            "Last-Event-ID must be the id of an event, such as 12.7.30",
        )
    })
}

/// What a client has after this event: the events that were seen now, or in an earlier stream.
fn event_id(seen: &[usize], had: &[usize]) -> String {
    let count = |sequence: usize| {
        let of = |counts: &[usize]| counts.get(sequence).copied().unwrap_or(0);
        of(seen).max(of(had)).to_string()
    };
    let counts: Vec<String> = (0..seen.len().max(had.len())).map(count).collect();
    counts.join(".")
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
    use crate::job::{FinishReason, JobId, Token};

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
        assert_eq!(event_id(&[1], &[]), "1");
        assert_eq!(event_id(&[1, 0, 3], &[5, 2]), "5.2.3");
        assert_eq!(event_id(&[1], &[0, 9]), "1.9");
        let read = |text: &str| {
            let value = axum::http::HeaderValue::from_str(text).unwrap();
            last_event_id(&HeaderMap::from_iter([(
                LAST_EVENT_ID.parse().unwrap(),
                value,
            )]))
        };
        assert_eq!(read("5.2.3").unwrap(), [5, 2, 3]);
        for text in ["", "x", "1.", "-1", "1..2", "99999999999999999999"] {
            assert!(read(text).is_err(), "{text}");
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
