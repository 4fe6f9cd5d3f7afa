//! `GET /v1/batches?limit=20&after=batch_9`: batches, newest first.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::pages::{Pairs, page};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::queue::batch::BatchId;

const LARGEST_LIMIT: usize = 100;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    pairs: Pairs,
) -> Result<Response, Refusal> {
    let (page, limit) = page(
        pairs,
        caller,
        LARGEST_LIMIT,
        |id: BatchId| id.0,
        |_, _| Ok(false),
    )?;
    let rows = shared
        .queue
        .read(move |reader| reader.batches(page))
        .await?;
    let batches = rows
        .iter()
        .map(|row| batch_view::batch(&shared, row, vec![]));
    let list = batch_view::listing(batches.collect(), limit, |batch| &batch.id);
    Ok(json_response(StatusCode::OK, &list))
}
