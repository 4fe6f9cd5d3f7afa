//! Before a queue that is full, the lines of `woollyctl batch run` wait behind each other.
//!
//! Only the first of them asks again: at once when one of the run's own lines has ended and left room, and now and
//! then, since others leave room too.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};

use crate::protocol::JobRequest;

use super::Error;
use super::reconnect::Link;
use super::wire::Job;

/// Between two attempts while none of the run's own lines ends.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Where submits wait for room.
#[derive(Debug, Default)]
pub(super) struct Gate {
    first: Mutex<()>,
    room: Notify,
    /// Once is enough: a queue that was full is often full again.
    told: Cell<bool>,
    reached: Cell<bool>,
}

impl Gate {
    /// Submits a job as soon as there is room for it. The daemon is there and works meanwhile: waiting for it is no
    /// outage and needs no limit.
    pub(super) async fn submit(
        &self,
        link: &Link,
        job: &JobRequest,
        key: &str,
    ) -> Result<Job, Error> {
        let mut turn = None;
        loop {
            let reason = match link.submit(job, key).await {
                Err(Error::Refused {
                    status: 429,
                    message,
                    ..
                }) => message,
                other => {
                    self.reached.set(self.reached.get() || other.is_ok());
                    return other;
                }
            };
            self.reached.set(true);
            if !self.told.replace(true) {
                link.say(&format!("{reason}; waiting"));
            }
            if turn.is_none() {
                turn = Some(self.first.lock().await);
            } else {
                tokio::select! {
                    () = self.room.notified() => {}
                    () = tokio::time::sleep(ASK_EVERY) => {}
                }
            }
        }
    }

    /// One of the run's own lines has ended.
    pub(super) fn leave(&self) {
        self.room.notify_one();
    }

    /// Whether the queue has ever taken a line of this run, or would have.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.get()
    }
}
