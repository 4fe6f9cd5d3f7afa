//! `GET /v1/files?limit=20&after=file-9`: files, newest first.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::pages::{Pairs, page};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::queue::batch::FileId;

const LARGEST_LIMIT: usize = 10_000;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    pairs: Pairs,
) -> Result<Response, Refusal> {
    let (page, limit) = page(
        pairs,
        caller,
        LARGEST_LIMIT,
        |id: FileId| id.0,
        &["order", "purpose"],
    )?;
    let rows = shared.queue.read(move |reader| reader.files(page)).await?;
    let files = rows.iter().map(batch_view::file).collect();
    let list = batch_view::listing(files, limit, |file| &file.id);
    Ok(json_response(StatusCode::OK, &list))
}
