//! The reading thread: answers from a connection of its own, so that a commit never delays a `get`.

use std::sync::Arc;

use async_channel::{Receiver, Sender};

use super::Error;
use super::shared::Shared;
use super::store::JobReader;

/// One question: it tells a fault of the store, and answers itself.
pub(super) type Read = Box<dyn FnOnce(&mut dyn JobReader, &Shared) + Send>;

/// A question whose answer goes to a channel with room for one message.
pub(super) fn question<T: Send + 'static>(
    read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
    answer: Sender<Result<T, Error>>,
) -> Read {
    Box::new(move |reader, shared| {
        let result = read(reader);
        // First: who hears of the fault must not take it for one of the question alone.
        if let Err(error @ Error::Store { .. }) = &result {
            shared.fail(error.clone());
        }
        // The error means that nobody waits any longer.
        let _ = answer.try_send(result);
    })
}

/// Runs until the channel is closed and empty.
pub(super) fn run(mut reader: Box<dyn JobReader>, reads: &Receiver<Read>, shared: &Arc<Shared>) {
    while let Ok(read) = reads.recv_blocking() {
        read(&mut *reader, shared);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::super::SqliteStore;
    use super::super::store::JobStore;
    use super::*;

    /// Notes at the moment of the answer whether the queue has failed.
    struct Listener {
        shared: Shared,
        had_failed: AtomicBool,
    }

    impl Wake for Listener {
        fn wake(self: Arc<Self>) {
            let failed = self.shared.failure().is_some();
            self.had_failed.store(failed, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_fault_of_the_store_is_known_before_it_is_answered() {
        let root = tempfile::tempdir().unwrap();
        let mut reader = SqliteStore::open(root.path()).unwrap().reader().unwrap();
        let fault = Error::Store {
            path: "queue.db".to_owned(),
            problem: "disk I/O error".to_owned(),
        };
        for (error, fails) in [(Error::NotFound, false), (fault, true)] {
            let listener = Arc::new(Listener {
                shared: Shared::new(),
                had_failed: AtomicBool::new(false),
            });
            let (answer, receiver) = async_channel::bounded(1);
            let told = error.clone();
            let read = question::<()>(move |_| Err(told), answer);
            let mut waiting = pin!(receiver.recv());
            let waker = Waker::from(listener.clone());
            let mut context = Context::from_waker(&waker);
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            read(&mut *reader, &listener.shared);
            assert_eq!(listener.had_failed.load(Ordering::Relaxed), fails);
            assert!(waiting.as_mut().poll(&mut context).is_ready());
        }
    }
}
