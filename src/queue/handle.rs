//! What the rest of the daemon holds: async for the API, blocking for dispatch.

use std::path::Path;

use crate::config;
use crate::job::{JobId, Usage};

use super::{Claimed, Error, Filter, JobRow, LiveLog, NewJob, Submitted};

/// How a running job ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// The response body of the endpoint.
    Completed {
        result: Vec<u8>,
        usage: Usage,
    },
    Failed {
        error: String,
    },
}

/// A handle to the queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {}

impl Queue {
    /// Opens or creates `<state_dir>/queue.db`, requeues the running jobs of a dead daemon, and starts
    /// the writer thread. One process per directory, by a held lock.
    pub fn open(_state_dir: &Path, _config: &config::Queue) -> Result<Self, Error> {
        todo!()
    }

    /// Answers after the commit.
    pub async fn submit(&self, _job: NewJob) -> Result<Submitted, Error> {
        todo!()
    }

    pub async fn get(&self, _id: JobId) -> Result<JobRow, Error> {
        todo!()
    }

    pub async fn list(&self, _filter: Filter) -> Result<Vec<JobRow>, Error> {
        todo!()
    }

    /// Queued: terminal at once. Running: terminal at once too, and its id is told to the listener of
    /// [`Queue::cancellations`]. Terminal: unchanged.
    pub async fn cancel(&self, _id: JobId) -> Result<JobRow, Error> {
        todo!()
    }

    /// The same for a connection that is gone; does not wait.
    pub fn cancel_detached(&self, _id: JobId) {
        todo!()
    }

    /// Deletes an attached job whose result was delivered; does not wait.
    pub fn delivered(&self, _id: JobId) {
        todo!()
    }

    /// Jobs by state, for `/health` and `status`.
    pub async fn counts(&self) -> Result<Vec<(crate::job::State, u64)>, Error> {
        todo!()
    }

    /// Claims the next job in order, waiting for one. `None` when the queue is closed or claims are stopped.
    pub fn claim_blocking(&self) -> Option<Claimed> {
        todo!()
    }

    /// Publishes the end of a running job in one transaction. False when the job is no longer running
    /// (it was cancelled): then nothing is stored.
    pub fn finish_blocking(&self, _id: JobId, _completion: Completion) -> Result<bool, Error> {
        todo!()
    }

    /// Puts running jobs back to queued without counting an attempt (drain).
    pub fn requeue_blocking(&self, _ids: Vec<JobId>) -> Result<(), Error> {
        todo!()
    }

    /// Running jobs that were cancelled; the channel is bounded by the number of running jobs.
    pub fn cancellations(&self) -> async_channel::Receiver<JobId> {
        todo!()
    }

    /// No further claims; `claim_blocking` returns `None`.
    pub fn stop_claims(&self) {
        todo!()
    }

    pub fn live(&self) -> &LiveLog {
        todo!()
    }

    /// Commits what waits, checkpoints and closes the store, joins the writer.
    pub fn close(&self) {
        todo!()
    }
}
