//! The reading thread: answers from a connection of its own, so that a commit never delays a `get`.

use std::sync::Arc;

use async_channel::{Receiver, Sender};

use super::Error;
use super::shared::Shared;
use super::store::JobReader;

/// One question: it answers itself, and tells a fault of the store.
pub(super) type Read = Box<dyn FnOnce(&mut dyn JobReader) -> Option<Error> + Send>;

/// A question whose answer goes to a channel with room for one message.
pub(super) fn question<T: Send + 'static>(
    read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
    answer: Sender<Result<T, Error>>,
) -> Read {
    Box::new(move |reader| {
        let result = read(reader);
        let fault = match &result {
            Err(error @ Error::Store { .. }) => Some(error.clone()),
            _ => None,
        };
        // The error means that nobody waits any longer.
        let _ = answer.try_send(result);
        fault
    })
}

/// Runs until the channel is closed and empty.
pub(super) fn run(mut reader: Box<dyn JobReader>, reads: &Receiver<Read>, shared: &Arc<Shared>) {
    while let Ok(read) = reads.recv_blocking() {
        if let Some(fault) = read(&mut *reader) {
            shared.fail(fault);
        }
    }
}
