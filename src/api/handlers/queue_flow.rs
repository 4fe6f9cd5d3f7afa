//! `POST /v1/queue/pause`, `/v1/queue/drain` and `/v1/queue/resume`: whether jobs start, and whether new ones are taken
//! in. A queue can be both paused and drained, and is neither after a resume. Running jobs go on, and a restart changes
//! nothing. For administrators.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::queue::FlowChange;

pub(in crate::api) async fn pause(
    state: State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    set(state, caller, body, FlowChange::Pause).await
}

pub(in crate::api) async fn drain(
    state: State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    set(state, caller, body, FlowChange::Drain).await
}

pub(in crate::api) async fn resume(
    state: State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    set(state, caller, body, FlowChange::Resume).await
}

async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    // Nothing in it matters, but a connection that closes over unread bytes loses the answer too.
    _body: RequestBody,
    change: FlowChange,
) -> Result<Response, Refusal> {
    if !caller.is_admin() {
        return Err(Refusal::forbidden(
            "only administrators may pause, drain and resume the queue",
        ));
    }
    let flow = shared.queue.set_flow(change).await?;
    Ok(json_response(
        StatusCode::OK,
        &json!({ "object": "queue", "paused": flow.paused, "draining": flow.draining }),
    ))
}
