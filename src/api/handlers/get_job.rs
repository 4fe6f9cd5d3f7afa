//! `GET /v1/jobs/{id}`: one job, with its result when it has one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::body::json_response;
use crate::api::job_view::view;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

use super::{IdInPath, visible_job};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_job(&shared, caller, id).await?;
    let estimate = match row.state.is_terminal() {
        true => None,
        false => shared.queue.outlook().await?.of(&row),
    };
    Ok(json_response(
        StatusCode::OK,
        &view(&row, estimate, Vec::new()),
    ))
}
