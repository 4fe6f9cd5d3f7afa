//! One file for each verb of the API.

pub(super) mod backup_queue;
pub(super) mod cancel_batch;
pub(super) mod cancel_job;
pub(super) mod cancel_jobs;
pub(super) mod chat_completions;
pub(super) mod completions;
pub(super) mod create_batch;
pub(super) mod delete_file;
pub(super) mod detokenize;
pub(super) mod file_content;
pub(super) mod get_batch;
pub(super) mod get_file;
pub(super) mod get_job;
pub(super) mod health;
pub(super) mod job_events;
pub(super) mod list_batches;
pub(super) mod list_files;
pub(super) mod list_jobs;
pub(super) mod list_models;
pub(super) mod queue_flow;
pub(super) mod submit_job;
mod synchronous;
pub(super) mod tokenize;
pub(super) mod upload_file;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::job::JobId;
use crate::queue::batch::{BatchId, BatchRow, FileId, FileRow};
use crate::queue::{self, JobRow};

use super::access::Caller;
use super::refusal::Refusal;
use super::server::Shared;
use super::submission::now_ms;

/// What stands for the id in a path; an error when it is no text at all.
type IdInPath = Result<Path<String>, PathRejection>;

/// The job with the id in the path, if there is one and the caller may see it.
async fn visible_job(shared: &Shared, caller: Caller, id: IdInPath) -> Result<JobRow, Refusal> {
    let Path(text) = id.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let id: JobId = text.parse().map_err(|_| Refusal::no_such_job(&text))?;
    match shared.queue.get(id).await {
        Ok(row) if caller.may_see(row.uid) => Ok(row),
        Ok(_) | Err(queue::Error::NotFound) => Err(Refusal::no_such_job(&text)),
        Err(error) => Err(error.into()),
    }
}

/// The file with the id in the path, if there is one and the caller may see it.
async fn visible_file(shared: &Shared, caller: Caller, id: IdInPath) -> Result<FileRow, Refusal> {
    let Path(text) = id.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let file = file_if_visible(shared, caller, &text).await?;
    file.ok_or_else(|| Refusal::unknown(format!("there is no file {text}")))
}

/// `None` when there is no file of this name that the caller may see, or its time is over. A store that cannot tell is an error: who asks
/// must not take the file for lost.
async fn file_if_visible(
    shared: &Shared,
    caller: Caller,
    name: &str,
) -> Result<Option<FileRow>, Refusal> {
    let Ok(id) = name.parse::<FileId>() else {
        return Ok(None);
    };
    match shared.queue.read(move |reader| reader.file(id)).await {
        Ok(row) => {
            let is_over = row.expires_at_ms().is_some_and(|time| time <= now_ms());
            Ok(Some(row).filter(|row| caller.may_see(row.file.uid) && !is_over))
        }
        Err(queue::Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same for batches.
async fn visible_batch(shared: &Shared, caller: Caller, id: IdInPath) -> Result<BatchRow, Refusal> {
    let Path(text) = id.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let unknown = || Refusal::unknown(format!("there is no batch {text}"));
    let id: BatchId = text.parse().map_err(|_| unknown())?;
    match shared.queue.read(move |reader| reader.batch(id)).await {
        Ok(row) if caller.may_see(row.batch.uid) => Ok(row),
        Ok(_) | Err(queue::Error::NotFound) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}
