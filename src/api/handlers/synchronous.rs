//! A completion that the connection waits for: a job like any other, attached to the connection.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};

use crate::api::access::Peer;
use crate::api::body::{RequestBody, json_text_response};
use crate::api::model_slot::Served;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::sse::{self, EventWriter, Gone};
use crate::api::submission;
use crate::api::waiting::{self, Attachment, Ended};
use crate::job::{Endpoint, SequenceEvent};
use crate::protocol::{self, ResponseMeta, StreamState};
use crate::queue::{JobRow, NewJob, Times};

pub(super) async fn answer(
    shared: Shared,
    peer: Peer,
    headers: &HeaderMap,
    endpoint: Endpoint,
    body: RequestBody,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let served = shared.served()?;
    let key = submission::idempotency_key(headers)?;
    if key.is_some() {
        // A key gives access to a stored answer, so its owner must be somebody.
        shared.rights.caller(peer.uid)?;
    }
    let body = body.0;
    let seed = submission::seed(endpoint, &body)?;
    let streamed = protocol::wants_stream(endpoint, &body).then(|| body.clone());
    let has_key = key.is_some();
    let job = NewJob {
        endpoint,
        body,
        seed,
        max_tokens: None,
        priority: 0,
        idempotency_key: key,
        uid: peer.uid,
        attached: true,
        metadata: None,
        created_at_ms: submission::now_ms(),
        times: Times::default(),
        refuse_late: false,
    };
    // A connection that goes while the job is being committed cancels it in the queue; from here on it is
    // the attachment that does.
    let (row, spec) = submission::submit(&shared, Arc::clone(&served), job).await?;
    let attachment = Attachment::new(shared.queue.clone(), row.id, has_key);
    match streamed {
        Some(body) => {
            let state = spec.map(|spec| StreamState::new(&spec, &body));
            Ok(stream(shared, served, row, state, attachment))
        }
        None => wait(&shared, &row, attachment).await,
    }
}

async fn wait(shared: &Shared, row: &JobRow, attachment: Attachment) -> Result<Response, Refusal> {
    match waiting::to_the_end(shared, row.id).await? {
        Ended::Terminal(row) => {
            attachment.delivered();
            waiting::result(*row).map(|result| json_text_response(StatusCode::OK, result))
        }
        Ended::Stopping => {
            attachment.abandoned();
            Err(Refusal::draining())
        }
    }
}

fn stream(
    shared: Shared,
    served: Arc<Served>,
    row: JobRow,
    state: Option<StreamState>,
    attachment: Attachment,
) -> Response {
    let meta = ResponseMeta {
        job: row.id,
        endpoint: row.endpoint,
        created: row.created_at_ms.div_euclid(1000),
    };
    let mut chunks = Chunks {
        served,
        meta,
        state,
    };
    // Before the task starts: a short job could be over by then, and its tokens gone.
    let mut events = shared.queue.live().subscribe(row.id);
    sse::response(async move |writer: EventWriter| {
        // Falls out of scope, and cancels the job, as soon as the client is gone.
        let attachment = attachment;
        let (mut sent, voided) = (0_usize, events.voided());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = writer.gone() => return Err(Gone),
                () = shared.lifecycle.stopped() => {
                    attachment.abandoned();
                    return writer.data(&Refusal::draining().json()).await;
                }
            };
            let Some(event) = event else { break };
            if events.voided() != voided {
                // Nothing that was sent can be taken back.
                let message = "a fault showed in what was sent: ask again";
                return writer.data(&Refusal::failed(message).json()).await;
            }
            for data in chunks.of(&event) {
                writer.data(&data).await?;
                sent += 1;
            }
        }
        let result = shared
            .queue
            .get(row.id)
            .await
            .map_err(Refusal::from)
            .and_then(waiting::result);
        attachment.delivered();
        match result {
            Ok(result) => {
                // The same request was answered before: its tokens are gone, its result is not.
                if sent == 0 {
                    writer.data(&as_one_chunk(&result, row.endpoint)).await?;
                }
                writer.done().await
            }
            Err(refusal) => writer.data(&refusal.json()).await,
        }
    })
}

/// Renders events as the chunks of one response.
struct Chunks {
    served: Arc<Served>,
    meta: ResponseMeta,
    /// `None`: the model that is served cannot have given them.
    state: Option<StreamState>,
}

impl Chunks {
    fn of(&mut self, event: &SequenceEvent) -> Vec<String> {
        let context = self.served.context();
        let render = |state| protocol::render_event(&context, &self.meta, state, event);
        self.state.as_mut().map(render).unwrap_or_default()
    }
}

/// A whole response as the only chunk of a stream. Completions have the same form in both; chat has a
/// `delta` where the response has a `message`.
fn as_one_chunk(result: &[u8], endpoint: Endpoint) -> String {
    let text = String::from_utf8_lossy(result).into_owned();
    let Ok(Value::Object(mut response)) = serde_json::from_slice(result) else {
        return text;
    };
    if endpoint == Endpoint::Completions {
        return text;
    }
    response.insert("object".to_owned(), "chat.completion.chunk".into());
    if let Some(Value::Array(choices)) = response.get_mut("choices") {
        for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
            let renamed =
                std::mem::take(choice)
                    .into_iter()
                    .map(|(key, value)| match key.as_str() {
                        "message" => ("delta".to_owned(), value),
                        _ => (key, value),
                    });
            *choice = renamed.collect::<Map<_, _>>();
        }
    }
    Value::Object(response).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_chat_answer_becomes_one_chunk() {
        let stored = br#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
        assert_eq!(
            as_one_chunk(stored, Endpoint::ChatCompletions),
            r#"{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#
        );
    }

    #[test]
    fn a_stored_completion_is_a_chunk_already() {
        let stored = r#"{"object":"text_completion","choices":[{"text":"Hi"}]}"#;
        assert_eq!(
            as_one_chunk(stored.as_bytes(), Endpoint::Completions),
            stored
        );
    }
}
