//! The reading thread: answers from a connection of its own, so that a commit never delays a `get`.

use std::sync::Arc;

use async_channel::{Receiver, Sender};

use crate::job::{JobId, State};

use super::shared::Shared;
use super::store::JobReader;
use super::{Error, Filter, JobRow};

/// Where an answer goes: room for one message, and one is sent.
type Answer<T> = Sender<Result<T, Error>>;

pub(super) enum Read {
    Get(JobId, Answer<JobRow>),
    List(Filter, Answer<Vec<JobRow>>),
    Counts(Answer<Vec<(State, u64)>>),
}

/// Runs until the channel is closed and empty.
pub(super) fn run(mut reader: Box<dyn JobReader>, reads: &Receiver<Read>, shared: &Arc<Shared>) {
    while let Ok(read) = reads.recv_blocking() {
        match read {
            Read::Get(id, answer) => send(&answer, reader.get(id), shared),
            Read::List(filter, answer) => send(&answer, reader.list(&filter), shared),
            Read::Counts(answer) => send(&answer, reader.counts(), shared),
        }
    }
}

fn send<T>(answer: &Answer<T>, result: Result<T, Error>, shared: &Shared) {
    if let Err(error @ Error::Store { .. }) = &result {
        shared.fail(error.clone());
    }
    // The error means that nobody waits any longer.
    let _ = answer.try_send(result);
}
