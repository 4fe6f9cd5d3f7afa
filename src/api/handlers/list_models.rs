//! `GET /v1/models`: the one model that is served.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

pub(in crate::api) async fn handle(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let served = shared.served()?;
    let model = json!({
        "id": served.info.name,
        "object": "model",
        // OpenAI's clients want a number; when a model was trained is not known here.
        "created": 0,
        "owned_by": "woolly",
        "context_length": served.max_positions,
        "vocab_size": served.info.vocab,
        "fingerprint": served.info.fingerprint,
    });
    Ok(json_response(
        StatusCode::OK,
        &json!({"object": "list", "data": [model]}),
    ))
}
