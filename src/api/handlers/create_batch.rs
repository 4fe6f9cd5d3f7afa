//! `POST /v1/batches`: the lines of a file become jobs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::batch_view;
use crate::api::body::RequestBody;
use crate::api::body::json_response;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::api::submission::now_ms;
use crate::protocol::BatchRequest;
use crate::protocol::batches::PURPOSE_BATCH;
use crate::queue::batch::{FileId, NewBatch};
use crate::queue::{Applied, BatchChange, Error};

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    body: RequestBody,
) -> Result<Response, Refusal> {
    shared.takes_work()?;
    let (request, warnings) = BatchRequest::parse(&body.0)?;
    let unknown = || {
        let problem = format!(
            "there is no file {} to read requests from",
            request.input_file_id
        );
        Refusal::bad_field("input_file_id", problem)
    };
    let input_file: FileId = request.input_file_id.parse().map_err(|_| unknown())?;
    let file = shared
        .queue
        .read(move |reader| reader.file(input_file))
        .await;
    match file {
        Ok(row) if caller.may_see(row.file.uid) && row.file.purpose == PURPOSE_BATCH => {}
        Ok(_) | Err(Error::NotFound) => return Err(unknown()),
        // Whether there is such a file is not known, and the client must not take it for lost.
        Err(error) => return Err(error.into()),
    }
    let window_ms = i64::try_from(request.window_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let batch = NewBatch {
        uid: caller.uid,
        endpoint: request.endpoint,
        input_file,
        deadline_ms: now_ms().saturating_add(window_ms),
        priority: request.priority,
        metadata: request.metadata_text(),
        completion_window: request.completion_window,
    };
    match shared.queue.change_batch(BatchChange::Add(batch)).await? {
        Applied::Batch(row) => {
            let view = batch_view::batch(&row, warnings);
            Ok(json_response(StatusCode::OK, &view))
        }
        _ => Err(Refusal::failed("the store gave another answer")),
    }
}
