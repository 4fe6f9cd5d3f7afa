//! One file for each verb of the API.

pub(super) mod cancel_job;
pub(super) mod chat_completions;
pub(super) mod completions;
pub(super) mod detokenize;
pub(super) mod get_job;
pub(super) mod health;
pub(super) mod job_events;
pub(super) mod list_jobs;
pub(super) mod list_models;
pub(super) mod submit_job;
mod synchronous;
pub(super) mod tokenize;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::job::JobId;
use crate::queue::{self, JobRow};

use super::access::Caller;
use super::refusal::Refusal;
use super::server::Shared;

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
