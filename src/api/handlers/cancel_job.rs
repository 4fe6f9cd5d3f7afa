//! `POST /v1/jobs/{id}/cancel`: the job as it is afterwards. A job that is over stays as it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::body::{RequestBody, json_response};
use crate::api::job_view::view;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;

use super::{IdInPath, visible_job};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
    // Nothing in it matters, but a connection that closes over unread bytes loses the answer too.
    _body: RequestBody,
) -> Result<Response, Refusal> {
    let row = visible_job(&shared, caller, id).await?;
    let cancelled = shared.queue.cancel(row.id).await?;
    Ok(json_response(
        StatusCode::OK,
        &view(&cancelled, None, Vec::new()),
    ))
}
