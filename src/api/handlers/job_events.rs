//! `GET /v1/jobs/{id}/events`: the tokens of a job from the first on, as server-sent events.
//!
//! Every event is a chunk as in a stream of the job's endpoint, reduced to the text:
//! `{"id", "object", "choices": [{"index", "text" or "delta", "finish_reason"}]}`. After the last one
//! comes `[DONE]`; a stream that ends without it was cut off, for example by a stop of the daemon. A job
//! that is over has no tokens to stream any more, only a result.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::access::Caller;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::sse::{self, EventWriter, Gone};
use crate::job::{Endpoint, Event, SequenceEvent};

use super::{IdInPath, visible_job};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_job(&shared, caller, id).await?;
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
                    if let Some(chunk) = chunk(row.endpoint, &event) {
                        writer.data(&chunk.to_string()).await?;
                    }
                }
                None => return writer.done().await,
            }
        }
    }))
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
