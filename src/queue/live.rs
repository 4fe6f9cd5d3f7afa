//! The live log: events of running jobs in memory, read by any number of subscribers.

use std::sync::Arc;

use crate::job::{JobId, SequenceEvent};

/// Shared log of all running jobs.
#[derive(Clone, Default)]
pub struct LiveLog {}

/// Reads one job's events from the beginning; never blocks the writer.
pub struct Subscription {}

impl LiveLog {
    /// Starts (or restarts) the log of a job; done at submit, so that a subscriber is never too early.
    pub fn open(&self, _job: JobId) {
        todo!()
    }

    pub fn append(&self, _event: Arc<SequenceEvent>) {
        todo!()
    }

    /// The job is terminal in the store: subscribers read to the end and then get `None`.
    pub fn close(&self, _job: JobId) {
        todo!()
    }

    /// Events from the first on. A job without a log (already terminal) gives a closed subscription.
    pub fn subscribe(&self, _job: JobId) -> Subscription {
        todo!()
    }
}

impl Subscription {
    /// The next event; `None` when the job is terminal in the store.
    pub async fn next(&mut self) -> Option<Arc<SequenceEvent>> {
        todo!()
    }
}
