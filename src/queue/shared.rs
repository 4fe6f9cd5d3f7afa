//! What the handle, the writer and the reader share beside their channels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_channel::{Receiver, Sender};

use crate::job::JobId;

use super::alarm::Alarm;
use super::bell::Bell;
use super::pace::Meter;
use super::{Error, LiveLog};

/// Jobs that nobody wants any more and nobody took notice of yet. Full: the id is dropped, the engine runs that job to
/// its end, and the store refuses the result; more slots than this would be needed to get there.
const CANCELLATIONS: usize = 4_096;

pub(super) struct Shared {
    pub(super) live: LiveLog,
    pub(super) alarm: Alarm,
    meter: Mutex<Meter>,
    /// Replaced when its listener has closed it.
    cancelled: Mutex<(Sender<JobId>, Receiver<JobId>)>,
    left: Mutex<Left>,
    claims_stopped: AtomicBool,
    failure: OnceLock<Error>,
    /// Something happened that a batch may wait for.
    pub(super) batch_bell: Arc<Bell>,
    /// One message at most, ever.
    failed: (Sender<Error>, Receiver<Error>),
}

/// Jobs whose connection is gone, for the writer's next group. Bounded by the number of connections.
#[derive(Default)]
pub(super) struct Left {
    pub(super) cancel: Vec<JobId>,
    pub(super) delivered: Vec<JobId>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            live: LiveLog::default(),
            alarm: Alarm::default(),
            meter: Mutex::default(),
            cancelled: Mutex::new(async_channel::bounded(CANCELLATIONS)),
            left: Mutex::default(),
            claims_stopped: AtomicBool::new(false),
            failure: OnceLock::new(),
            batch_bell: Arc::default(),
            failed: async_channel::bounded(1),
        }
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        // Numbers only; the worst are wrong ones.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn left(&self) -> MutexGuard<'_, Left> {
        // Only pushes and takes happen under this lock; they leave the lists whole.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel of cancelled jobs; a new one when its last listener has left.
    pub(super) fn cancellations(&self) -> Receiver<JobId> {
        let mut channel = self.cancelled();
        if channel.1.is_closed() {
            *channel = async_channel::bounded(CANCELLATIONS);
        }
        channel.1.clone()
    }

    /// Without a listener nothing runs that could be stopped.
    pub(super) fn tell_cancelled(&self, job: JobId) {
        let _ = self.cancelled().0.try_send(job);
    }

    fn cancelled(&self) -> MutexGuard<'_, (Sender<JobId>, Receiver<JobId>)> {
        // The pair is replaced as a whole or not at all.
        self.cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_claims_stopped(&self, stopped: bool) {
        self.claims_stopped.store(stopped, Ordering::Release);
    }

    pub(super) fn claims_stopped(&self) -> bool {
        self.claims_stopped.load(Ordering::Acquire)
    }

    /// The first fault of the store is the one that everybody hears of.
    pub(super) fn fail(&self, error: Error) {
        if self.failure.set(error.clone()).is_ok() {
            // Room for one, and this is the only one.
            let _ = self.failed.0.try_send(error);
            self.live.close_all();
        }
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    pub(super) fn failed(&self) -> Receiver<Error> {
        self.failed.1.clone()
    }

    /// What to say when a thread of the queue does not answer.
    pub(super) fn gone(&self) -> Error {
        self.failure().unwrap_or(Error::Closed)
    }
}
