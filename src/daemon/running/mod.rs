//! The jobs between queue and engine: pure bookkeeping, behind a lock in [`super::dispatch`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::job::{Event, JobId, SequenceEvent, Spec};
use crate::protocol::ResponseMeta;
use crate::queue::Part;

use super::assembly::{Assembly, End, Step};
use super::checkpoint::Checkpoint;

/// Jobs that wait for an equal one at most. Further ones run: they are claimed, and others must not wait for them.
const MAX_HELD: usize = 1_024;

/// Jobs that may answer for each other: equal ones, of one user. Another user's must not even show by a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    pub(super) uid: u32,
    pub(super) fingerprint: [u8; 32],
}

/// A job that the engine works on.
#[derive(Debug)]
pub(super) struct RunningJob {
    pub(super) spec: Arc<Spec>,
    pub(super) meta: ResponseMeta,
    assembly: Assembly,
    cancelled: Arc<AtomicBool>,
    /// A user cancelled it: the queue knows, and nothing is to be published or queued again.
    by_user: bool,
    checkpoint: Checkpoint,
    /// For whom it may answer, if it may.
    sharing: Option<Sharing>,
}

/// All of them, and how far the daemon is on its way out.
#[derive(Debug, Default)]
pub(super) struct Running {
    jobs: HashMap<JobId, RunningJob>,
    /// Jobs whose end is being written to the queue.
    publishing: usize,
    /// Of those, for whom they may answer.
    ending: Vec<Sharing>,
    /// Claimed jobs that wait for the end of an equal one. They go back to the queue then.
    held: Vec<(JobId, Sharing)>,
    /// Cancelled between their claim and their registration.
    cancelled_early: Vec<JobId>,
    /// Stopped by us before they were done: to be queued again.
    unfinished: Vec<JobId>,
    no_more_claims: bool,
    claims_ended: bool,
    /// Everything is being stopped, also what is registered from now on.
    all_stopped: bool,
}

/// A job whose last sequence is over.
#[derive(Debug)]
pub(super) struct EndedJob {
    pub(super) spec: Arc<Spec>,
    pub(super) meta: ResponseMeta,
    pub(super) end: End,
    /// Of what its events come from.
    pub(super) fingerprint: [u8; 32],
    /// Stopped by us before it was done: it is queued again.
    pub(super) unfinished: bool,
    /// What was generated since the last checkpoint.
    pub(super) rest: Option<Part>,
    /// For whom it may answer, if it may.
    pub(super) sharing: Option<Sharing>,
}

impl Running {
    /// Whether the next job may be claimed, with `slots` in the engine. A job with more sequences than free
    /// slots is claimed too: the engine takes them one by one.
    pub(super) fn may_claim(&self, slots: usize) -> bool {
        self.no_more_claims || self.sequences() < slots
    }

    fn sequences(&self) -> usize {
        self.jobs.values().map(|job| job.assembly.running()).sum()
    }

    /// Nobody is between claim and registration: cancellations that found no job were too late.
    pub(super) fn before_claim(&mut self) {
        self.cancelled_early.clear();
    }

    /// Takes over a claimed job. The flag stops its sequences; it is set already when the job was cancelled
    /// or everything was stopped since the claim.
    pub(super) fn register(
        &mut self,
        spec: Arc<Spec>,
        meta: ResponseMeta,
        checkpoint: Checkpoint,
        sharing: Option<Sharing>,
    ) -> Arc<AtomicBool> {
        let by_user = self.cancelled_early.contains(&meta.job);
        let cancelled = Arc::new(AtomicBool::new(by_user || self.all_stopped));
        let assembly = Assembly::new(spec.sequences.len());
        let id = meta.job;
        self.jobs.insert(
            id,
            RunningJob {
                spec,
                meta,
                assembly,
                cancelled: Arc::clone(&cancelled),
                by_user,
                checkpoint,
                sharing,
            },
        );
        cancelled
    }

    /// Holds a claimed job back, if an equal one runs that may answer for it.
    pub(super) fn waits_for_equal(&mut self, id: JobId, sharing: Sharing) -> bool {
        let runs = |job: &RunningJob| job.sharing == Some(sharing);
        let waits = self.held.len() < MAX_HELD
            && (self.ending.contains(&sharing) || self.jobs.values().any(runs));
        if waits && !self.cancelled_early.contains(&id) {
            self.held.push((id, sharing));
        }
        waits
    }

    /// Takes note of what a job generated, now or in an earlier run. Returns the part of it that is to be stored, if it
    /// is time; then [`Running::handed_over`] is to follow.
    pub(super) fn note(
        &mut self,
        event: &Arc<SequenceEvent>,
        is_repeated: bool,
        now: Instant,
    ) -> Option<Part> {
        let job = self.jobs.get_mut(&event.job)?;
        if matches!(event.event, Event::Failed { .. } | Event::Stopped) {
            return None;
        }
        if is_repeated {
            job.checkpoint.repeat(Arc::clone(event));
            return None;
        }
        job.checkpoint.note(Arc::clone(event));
        // The last one is stored with the result, or not at all.
        let ends = matches!(event.event, Event::Finished { .. }) && job.assembly.running() == 1;
        if ends || !job.checkpoint.is_due(now) {
            return None;
        }
        job.checkpoint.part()
    }

    pub(super) fn handed_over(&mut self, id: JobId, taken: bool, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.checkpoint.handed_over(taken, now);
        }
    }

    /// A user cancelled a job: its sequences stop at the next token.
    pub(super) fn cancel(&mut self, id: JobId) {
        match self.jobs.get_mut(&id) {
            Some(job) => {
                job.by_user = true;
                job.cancelled.store(true, Ordering::Relaxed);
            }
            None => {
                let held = self.held.len();
                self.held.retain(|(held, _)| *held != id);
                if self.held.len() == held {
                    self.cancelled_early.push(id);
                }
            }
        }
    }

    /// Takes an event of the engine. Returns the job if that was its end; it then counts as being published
    /// until [`Running::published`].
    pub(super) fn apply(&mut self, event: &SequenceEvent) -> Option<EndedJob> {
        let job = self.jobs.get_mut(&event.job)?;
        match job.assembly.apply(event.sequence, &event.event) {
            Step::Running => None,
            Step::StopTheRest => {
                job.cancelled.store(true, Ordering::Relaxed);
                None
            }
            Step::Ended(end) => {
                let job = self.jobs.remove(&event.job)?;
                let unfinished = end == End::Stopped && !job.by_user;
                if unfinished {
                    self.unfinished.push(event.job);
                }
                self.publishing += 1;
                self.ending.extend(job.sharing);
                Some(EndedJob {
                    spec: job.spec,
                    meta: job.meta,
                    fingerprint: job.checkpoint.fingerprint(),
                    rest: job.checkpoint.part().filter(|_| unfinished),
                    end,
                    unfinished,
                    sharing: job.sharing,
                })
            }
        }
    }

    /// The end of a job is written. Returns the jobs that waited for it.
    pub(super) fn published(&mut self, sharing: Option<Sharing>) -> Vec<JobId> {
        self.publishing = self.publishing.saturating_sub(1);
        let Some(sharing) = sharing else {
            return vec![];
        };
        if let Some(place) = self.ending.iter().position(|ending| *ending == sharing) {
            self.ending.swap_remove(place);
        }
        let released = self.held.extract_if(.., |(_, held)| *held == sharing);
        released.map(|(id, _)| id).collect()
    }

    pub(super) fn stop_claims(&mut self) {
        self.no_more_claims = true;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.no_more_claims
    }

    pub(super) fn claims_ended(&mut self) {
        self.claims_ended = true;
    }

    /// Nothing runs and nothing will.
    pub(super) fn is_idle(&self) -> bool {
        self.claims_ended && self.jobs.is_empty() && self.publishing == 0
    }

    /// Jobs that are to be queued again: their end could not be written, or they did not run after all.
    pub(super) fn give_back(&mut self, ids: impl IntoIterator<Item = JobId>) {
        self.unfinished.extend(ids);
    }

    /// Stops all sequences; their jobs are unfinished. A job that is registered later stops at once:
    /// otherwise its submit could wait for the engine until as many of its sequences have ended as do not
    /// fit, and the daemon with it.
    pub(super) fn stop_all(&mut self) {
        self.all_stopped = true;
        for job in self.jobs.values() {
            job.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Jobs to be queued again: stopped ones, those that wait for them, and any whose sequences never told their end.
    pub(super) fn take_unfinished(&mut self) -> Vec<JobId> {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        unfinished.extend(self.held.drain(..).map(|(id, _)| id));
        unfinished.extend(
            self.jobs
                .drain()
                .filter(|(_, job)| !job.by_user)
                .map(|(id, _)| id),
        );
        unfinished.sort();
        unfinished
    }
}

/// Whether subscribers of a job are shown this event: what keeps a sequence from its end is not part of its output, and
/// another run goes on from there.
pub(super) fn is_output(event: &Event) -> bool {
    !matches!(event, Event::Stopped | Event::Failed { .. })
}

#[cfg(test)]
mod tests;
