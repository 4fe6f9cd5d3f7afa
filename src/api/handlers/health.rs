//! `GET /health`: 200 while jobs are being served; 503 with a reason before and after.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::body::json_response;
use crate::api::lifecycle::Phase;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::protocol::{Health, HealthStatus};

pub(in crate::api) async fn handle(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let served = shared.model.get();
    let (status, reason) = match (shared.lifecycle.phase(), &served) {
        (Phase::Serving, Some(_)) => (HealthStatus::Ok, shared.model.remark()),
        (Phase::Serving, None) => (HealthStatus::Warming, shared.model.remark()),
        (Phase::Draining | Phase::Stopped, _) => (
            HealthStatus::Draining,
            Some("the daemon is stopping and takes no new work".to_owned()),
        ),
    };
    let counts = shared.queue.counts().await?;
    let health = Health {
        status,
        reason,
        progress_percent: (status == HealthStatus::Warming).then(|| shared.model.percent()),
        paused: shared.queue.read(|reader| reader.paused()).await?,
        model: served.map(|served| served.info.name.clone()),
        jobs: counts
            .into_iter()
            .map(|(state, count)| (state.as_str().to_owned(), count))
            .collect(),
    };
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Ok(json_response(code, &health))
}
