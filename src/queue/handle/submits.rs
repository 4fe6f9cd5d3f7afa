//! Handing jobs in, and finding again what was handed in before.

use async_channel::Receiver;

use crate::queue::store::{Admission, Applied, Change};
use crate::queue::writer::Request;
use crate::queue::{Error, JobRow, NewJob, Submitted};

use super::{Queue, mismatch};

impl Queue {
    /// Answers after the commit. When the caller stops waiting for an attached job without an idempotency
    /// key, it is cancelled.
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, Error> {
        let (answer, receiver) = async_channel::bounded(1);
        let waiting = WaitingSubmit {
            queue: self,
            receiver,
            cancels: job.dies_with_its_connection(),
        };
        let admission = Admission {
            limits: self.inner.limits,
            pace: self.pace(),
        };
        let change = Change::Submit { job, admission };
        self.send(Request::Change(Box::new(change), answer)).await?;
        match self.answer(waiting.receiver.recv().await)? {
            Applied::Submitted(submitted) => Ok(submitted),
            other => Err(mismatch(&other)),
        }
    }

    /// The job that was submitted before with the key of this one, if there is one; the same refusal as of a submit when
    /// the request was another.
    pub async fn submitted_before(&self, job: NewJob) -> Result<Option<JobRow>, Error> {
        if job.idempotency_key.is_none() {
            return Ok(None);
        }
        match self.change(Change::FindSubmitted(job)).await? {
            Applied::Found(found) => Ok(found),
            other => Err(mismatch(&other)),
        }
    }
}

/// Waits for the answer to a submit. Dropped before it was taken, it cancels the job that nobody knows of
/// and nobody can ask for again.
struct WaitingSubmit<'a> {
    queue: &'a Queue,
    receiver: Receiver<Result<Applied, Error>>,
    cancels: bool,
}

impl Drop for WaitingSubmit<'_> {
    fn drop(&mut self) {
        // Closed first: from here on the writer notices that nobody listens, and what it sent before is
        // still in the channel.
        self.receiver.close();
        if self.cancels
            && let Ok(Ok(Applied::Submitted(submitted))) = self.receiver.try_recv()
        {
            self.queue.cancel_detached(submitted.job.id);
        }
    }
}
