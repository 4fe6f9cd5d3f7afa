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

use crate::job::JobId;
use crate::queue::JobRow;

use super::access::Caller;
use super::refusal::Refusal;
use super::server::Shared;

/// The job with the id in the path, if there is one and the caller may see it.
async fn visible_job(shared: &Shared, caller: Caller, id: &str) -> Result<JobRow, Refusal> {
    let id: JobId = id.parse().map_err(|_| Refusal::no_such_job())?;
    let row = shared.queue.get(id).await?;
    if caller.may_see(row.uid) {
        Ok(row)
    } else {
        Err(Refusal::no_such_job())
    }
}
