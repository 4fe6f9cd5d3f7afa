//! `GET /health`: 200 while jobs are being served; 503 with a reason before and after. A queue that is drained or paused
//! is served: its jobs can be followed and fetched, and its flags are in the answer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::body::json_response;
use crate::api::lifecycle::Phase;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::protocol::{Health, HealthStatus};
use crate::queue::JobReader;

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
    let read = |reader: &mut dyn JobReader| {
        let open_batches = reader.open_batches()?.len() as u64;
        Ok((reader.flow()?, reader.counts()?, open_batches))
    };
    let (flow, counts, open_batches) = shared.queue.read(read).await?;
    let health = Health {
        status,
        reason,
        progress_percent: (status == HealthStatus::Warming).then(|| shared.model.percent()),
        paused: flow.paused,
        draining: flow.draining,
        open_batches,
        model: served.map(|served| served.info.name.clone()),
        jobs: counts
            .into_iter()
            .map(|(state, count)| (state.as_str().to_owned(), count))
            .collect(),
    };
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    Ok(json_response(code, &health))
}
