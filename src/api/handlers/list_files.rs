//! `GET /v1/files?limit=20&after=file-9&purpose=batch`: files, newest first, without those whose time is over.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::json_response;
use crate::api::pages::{Pairs, page};
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::now_ms;
use crate::queue::JobReader;
use crate::queue::batch::FileId;

const LARGEST_LIMIT: usize = 10_000;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    pairs: Pairs,
) -> Result<Response, Refusal> {
    let mut purpose = None;
    let of_files = |name: &str, value: &str| match name {
        "purpose" => {
            purpose = Some(value.to_owned());
            Ok(true)
        }
        "order" if value == "desc" => Ok(true),
        "order" => Err(Refusal::bad_field("order", "order must be desc")),
        _ => Ok(false),
    };
    let (page, limit) = page(pairs, caller, LARGEST_LIMIT, |id: FileId| id.0, of_files)?;
    let read = move |reader: &mut dyn JobReader| reader.files(page, purpose.as_deref(), now_ms());
    let rows = shared.queue.read(read).await?;
    let files = rows.iter().map(batch_view::file).collect();
    let list = batch_view::listing(files, limit, |file| &file.id);
    Ok(json_response(StatusCode::OK, &list))
}
