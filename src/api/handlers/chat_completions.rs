//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::api::access::Peer;
use crate::api::body::RequestBody;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::job::Endpoint;

use super::synchronous;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    peer: Peer,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, Refusal> {
    synchronous::answer(shared, peer, &headers, Endpoint::ChatCompletions, body).await
}
