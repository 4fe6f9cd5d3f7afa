//! What those ask who run the jobs.

use std::time::Duration;

use async_channel::Receiver;

use crate::job::JobId;
use crate::queue::store::{Applied, Change, Finished};
use crate::queue::writer::Request;
use crate::queue::{Claimed, Completion, Error, Part};

use super::{Queue, mismatch};

/// Nothing tells when a full disk has room again, so a claim that met one tries again after this.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

impl Queue {
    /// Claims the next job in order, waiting for one. `None` when the queue is closed or claims are stopped.
    pub fn claim_blocking(&self) -> Option<Claimed> {
        loop {
            let (answer, receiver) = async_channel::bounded(1);
            self.inner
                .requests
                .send_blocking(Request::Claim(answer))
                .ok()?;
            match receiver.recv_blocking().ok()? {
                Ok(Applied::Claimed(claimed)) => return claimed,
                Err(Error::NoSpace { .. }) => std::thread::sleep(NO_SPACE_PAUSE),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// A claimed job does not run: it waits, or its result is there. Its end says nothing about the pace.
    pub fn stands_by(&self, id: JobId) {
        self.inner.shared.meter().left(id);
    }

    /// Hands over what a running job generated, to be kept; does not wait. Whether there was room for it; still it may
    /// be lost to a full disk, and the job then goes on from an earlier part.
    pub fn checkpoint(&self, id: JobId, part: Part) -> bool {
        // Nobody listens to the answer.
        let (answer, _) = async_channel::bounded(1);
        let request = Request::Change(Box::new(Change::Checkpoint { id, part }), answer);
        self.inner.requests.try_send(request).is_ok()
    }

    /// Publishes the end of a running job in one transaction, or puts it back for another try. After [`Error::NoSpace`] the job is still running and
    /// the call may be repeated.
    pub fn finish_blocking(&self, id: JobId, completion: Completion) -> Result<Finished, Error> {
        match self.change_blocking(Change::Finish { id, completion })? {
            Applied::Finished(finished) => Ok(finished),
            other => Err(mismatch(&other)),
        }
    }

    /// Puts running jobs back to queued without counting an attempt (drain). Jobs that are not running
    /// stay as they are.
    pub fn requeue_blocking(&self, ids: Vec<JobId>) -> Result<(), Error> {
        self.change_blocking(Change::Requeue(ids)).map(|_| ())
    }

    /// Running jobs that were cancelled or have expired; of more than fit the channel the rest run to their end, which
    /// the store then refuses. An id may
    /// come before the claimer has handed its job to the engine. For one listener at a time: the next one
    /// may ask when the one before has closed its channel.
    pub fn cancellations(&self) -> Receiver<JobId> {
        self.inner.shared.cancellations()
    }

    /// No further claims; `claim_blocking` returns `None`.
    pub fn stop_claims(&self) {
        self.inner.shared.set_claims_stopped(true);
        self.nudge();
    }

    /// Claims are possible again; for a new claimer after the stopped one is gone.
    pub fn allow_claims(&self) {
        self.inner.shared.set_claims_stopped(false);
    }
}
