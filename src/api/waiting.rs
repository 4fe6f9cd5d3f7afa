//! Waiting for a job on behalf of a connection.

use crate::job::{JobId, State};
use crate::queue::{JobRow, Queue};

use super::refusal::Refusal;
use super::server::Shared;

/// Cancels an attached job unless it is told that the job came to its end: the connection that waited for
/// it is gone, and nobody would read the answer.
pub(super) struct Attachment {
    queue: Queue,
    job: Option<JobId>,
}

impl Attachment {
    /// A job with an idempotency key is not cancelled: the client may ask again for the same answer.
    pub(super) fn new(queue: Queue, job: JobId, has_key: bool) -> Self {
        Attachment {
            queue,
            job: (!has_key).then_some(job),
        }
    }

    /// The job is over and its answer is handed to the connection.
    pub(super) fn delivered(mut self) {
        if let Some(job) = self.job.take() {
            self.queue.delivered(job);
        }
    }

    /// The daemon stops before the job is done: what happens to the job is decided by the next start.
    pub(super) fn abandoned(mut self) {
        self.job = None;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.queue.cancel_detached(job);
        }
    }
}

/// How waiting for a job ended.
pub(super) enum Ended {
    /// The job is terminal.
    Terminal(Box<JobRow>),
    /// The daemon stops first.
    Stopping,
}

/// Returns when the job is terminal, or when the daemon stops.
pub(super) async fn to_the_end(shared: &Shared, job: JobId) -> Result<Ended, Refusal> {
    let mut events = shared.queue.live().subscribe(job);
    loop {
        tokio::select! {
            event = events.next() => if event.is_none() {
                return Ok(Ended::Terminal(Box::new(shared.queue.get(job).await?)));
            },
            () = shared.lifecycle.stopped() => return Ok(Ended::Stopping),
        }
    }
}

/// The response body of a terminal job, or why there is none.
pub(super) fn result(row: JobRow) -> Result<Vec<u8>, Refusal> {
    match (row.state, row.result) {
        (State::Completed, Some(result)) => Ok(result),
        (State::Cancelled, _) => Err(Refusal::cancelled()),
        (State::Expired, _) => Err(Refusal::failed("the job expired before it was done")),
        (_, _) => Err(Refusal::failed(
            row.error
                .unwrap_or_else(|| "the job has no result".to_owned()),
        )),
    }
}
