//! `DELETE /v1/files/{id}`: refused while a batch needs the file.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::protocol::batches::Deleted;
use crate::queue::BatchChange;

use super::{IdInPath, visible_file};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    id: IdInPath,
) -> Result<Response, Refusal> {
    let row = visible_file(&shared, caller, id).await?;
    shared
        .queue
        .change_batch(BatchChange::RemoveFile(row.id))
        .await?;
    let deleted = Deleted {
        id: row.id.to_string(),
        object: "file".to_owned(),
        deleted: true,
    };
    Ok(json_response(StatusCode::OK, &deleted))
}
