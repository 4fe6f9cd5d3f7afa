//! `POST /v1/batches`: the lines of a file become jobs. With an idempotency key that was used before, it is that batch.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::RequestBody;
use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission;
use crate::protocol::BatchRequest;
use crate::protocol::batches::PURPOSE_BATCH;
use crate::queue::batch::{FileId, NewBatch};

use super::file_if_visible;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let idempotency_key = submission::idempotency_key(&headers)?;
    let (request, warnings) = BatchRequest::parse(&body.0)?;
    let file_name = &request.input_file_id;
    let no_file = || {
        let problem = format!("there is no file {file_name} to read requests from");
        Refusal::bad_field("input_file_id", problem)
    };
    let input_file: FileId = file_name.parse().map_err(|_| no_file())?;
    let window_ms = i64::try_from(request.window_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let batch = NewBatch {
        uid: caller.uid,
        endpoint: request.endpoint,
        input_file,
        deadline_ms: submission::now_ms().saturating_add(window_ms),
        priority: request.priority,
        metadata: request.metadata_text(),
        completion_window: request.completion_window.clone(),
        output_kept_s: request.output_kept_s,
        idempotency_key,
    };
    // The input of one that was made before may be gone.
    let row = match shared.queue.batch_made_before(&batch).await? {
        Some(before) => before,
        None => {
            let input = file_if_visible(&shared, caller, file_name).await?;
            let is_input = input.is_some_and(|row| row.file.purpose == PURPOSE_BATCH);
            if !is_input {
                return Err(no_file());
            }
            shared.queue.add_batch(batch).await?
        }
    };
    let view = batch_view::batch(&shared, &row, warnings);
    Ok(json_response(StatusCode::OK, &view))
}
