//! `GET /health`: 200 while jobs are being served; 503 with a reason before and after.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, json};

use crate::api::body::json_response;
use crate::api::lifecycle::Phase;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

pub(in crate::api) async fn handle(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let served = shared.model.get();
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, mut body) = match (shared.lifecycle.phase(), &served) {
        (Phase::Serving, Some(served)) => (
            StatusCode::OK,
            json!({"status": "ok", "model": served.info.name}),
        ),
        (Phase::Serving, None) => (
            unavailable,
            json!({
                "status": "warming",
                "reason": "the model is being loaded; jobs are accepted and wait",
                "progress_percent": shared.model.percent(),
            }),
        ),
        (Phase::Draining | Phase::Stopped, _) => (
            unavailable,
            json!({"status": "draining", "reason": "the daemon is stopping and takes no new work"}),
        ),
    };
    let counts = shared.queue.counts().await?;
    body["jobs"] = counts
        .into_iter()
        .map(|(state, count)| (state.as_str().to_owned(), count.into()))
        .collect::<Map<_, _>>()
        .into();
    Ok(json_response(status, &body))
}
