//! The changes of one transaction, and who waits for each.

use async_channel::Sender;

use crate::job::JobId;

use super::Error;
use super::store::{Applied, Change};

/// Changes in one transaction, so that the first one of a flood is answered soon.
pub(super) const GROUP: usize = 1_024;

/// Where an answer goes: room for one message, and one is sent.
pub(super) type Answer = Sender<Result<Applied, Error>>;

/// The changes of one transaction and who waits for each.
#[derive(Default)]
pub(super) struct Group {
    pub(super) changes: Vec<Change>,
    pub(super) answers: Vec<Option<Answer>>,
}

impl Group {
    /// Before all others.
    pub(super) fn put_first(&mut self, change: Change) {
        self.changes.insert(0, change);
        self.answers.insert(0, None);
    }

    pub(super) fn push(&mut self, change: Change, answer: Option<Answer>) {
        self.changes.push(change);
        self.answers.push(answer);
    }
}

/// The job that is to be cancelled if nobody takes this answer.
pub(super) fn orphan(change: &Change, applied: &Result<Applied, Error>) -> Option<JobId> {
    match (change, applied) {
        (Change::Submit { job, .. }, Ok(Applied::Submitted(submitted)))
            if job.dies_with_its_connection() =>
        {
            Some(submitted.job.id)
        }
        _ => None,
    }
}
