//! `POST /v1/batches/{id}/cancel`: what has run stays, the rest is cancelled.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::queue::{Applied, BatchChange};

use super::{IdInPath, visible_batch};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_batch(&shared, caller, id).await?;
    match shared
        .queue
        .change_batch(BatchChange::Cancel(row.id))
        .await?
    {
        Applied::Batch(row) => Ok(json_response(
            StatusCode::OK,
            &batch_view::batch(&shared, &row, vec![]),
        )),
        _ => Err(Refusal::failed("the store gave another answer")),
    }
}
