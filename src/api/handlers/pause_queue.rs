//! `POST /v1/queue/pause` and `/v1/queue/resume`: whether further jobs start. Jobs are accepted all the same, running
//! ones go on, and a restart changes nothing. For administrators.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

pub(in crate::api) async fn pause(
    state: State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    set(state, caller, body, true).await
}

pub(in crate::api) async fn resume(
    state: State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    set(state, caller, body, false).await
}

async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    // Nothing in it matters, but a connection that closes over unread bytes loses the answer too.
    _body: RequestBody,
    paused: bool,
) -> Result<Response, Refusal> {
    if !caller.is_admin() {
        return Err(Refusal::forbidden(
            "only administrators may pause and resume the queue",
        ));
    }
    shared.queue.pause(paused).await?;
    Ok(json_response(
        StatusCode::OK,
        &json!({ "object": "queue", "paused": paused }),
    ))
}
