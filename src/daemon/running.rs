//! The jobs between queue and engine: pure bookkeeping, behind a lock in [`super::dispatch`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::job::{Event, JobId, SequenceEvent, Spec};
use crate::protocol::ResponseMeta;

use super::assembly::{Assembly, End, Step};

/// A job that the engine works on.
#[derive(Debug)]
pub(super) struct RunningJob {
    pub(super) spec: Arc<Spec>,
    pub(super) meta: ResponseMeta,
    assembly: Assembly,
    cancelled: Arc<AtomicBool>,
    /// A user cancelled it: the queue knows, and nothing is to be published or queued again.
    by_user: bool,
}

/// All of them, and how far the daemon is on its way out.
#[derive(Debug, Default)]
pub(super) struct Running {
    jobs: HashMap<JobId, RunningJob>,
    /// Jobs whose end is being written to the queue.
    publishing: usize,
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
    /// Stopped by us before it was done: it is queued again.
    pub(super) unfinished: bool,
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
    pub(super) fn register(&mut self, spec: Arc<Spec>, meta: ResponseMeta) -> Arc<AtomicBool> {
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
            },
        );
        cancelled
    }

    /// A user cancelled a job: its sequences stop at the next token.
    pub(super) fn cancel(&mut self, id: JobId) {
        match self.jobs.get_mut(&id) {
            Some(job) => {
                job.by_user = true;
                job.cancelled.store(true, Ordering::Relaxed);
            }
            None => self.cancelled_early.push(id),
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
                Some(EndedJob {
                    spec: job.spec,
                    meta: job.meta,
                    end,
                    unfinished,
                })
            }
        }
    }

    pub(super) fn published(&mut self) {
        self.publishing = self.publishing.saturating_sub(1);
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

    /// A job whose end could not be written: it is queued again.
    pub(super) fn give_back(&mut self, id: JobId) {
        self.unfinished.push(id);
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

    /// Jobs to be queued again: stopped ones, and any whose sequences never told their end.
    pub(super) fn take_unfinished(&mut self) -> Vec<JobId> {
        let mut unfinished = std::mem::take(&mut self.unfinished);
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

/// Whether subscribers of a job are shown this event: a stop is not part of its output.
pub(super) fn is_output(event: &Event) -> bool {
    !matches!(event, Event::Stopped)
}

#[cfg(test)]
mod tests {
    use crate::job::{Endpoint, FinishReason, SamplingParams, Sequence};

    use super::*;

    fn meta(id: i64) -> ResponseMeta {
        ResponseMeta {
            job: JobId(id),
            endpoint: Endpoint::Completions,
            created: 0,
        }
    }

    fn spec(sequences: usize) -> Arc<Spec> {
        let params = SamplingParams {
            max_tokens: 1,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            shaping: crate::job::Shaping::default(),
        };
        Arc::new(Spec {
            sequences: vec![Sequence { prompt: vec![1] }; sequences],
            params,
            echo: false,
            return_token_ids: false,
            warnings: Vec::new(),
        })
    }

    fn event(job: i64, sequence: usize, event: Event) -> SequenceEvent {
        SequenceEvent {
            job: JobId(job),
            sequence,
            event,
        }
    }

    fn finished() -> Event {
        Event::Finished {
            reason: FinishReason::Stop,
            text: String::new(),
        }
    }

    #[test]
    fn slots_are_counted_in_sequences() {
        let mut running = Running::default();
        running.register(spec(3), meta(1));
        assert!(running.may_claim(4));
        assert!(!running.may_claim(3));
        assert!(running.apply(&event(1, 2, finished())).is_none());
        assert!(
            running.may_claim(3),
            "a slot is free as soon as its sequence is over"
        );
        running.register(spec(9), meta(2));
        assert!(!running.may_claim(4));
        running.stop_claims();
        assert!(
            running.may_claim(4),
            "who waits for a slot must see that claims are over"
        );
    }

    #[test]
    fn the_daemon_is_idle_when_the_last_job_is_published() {
        let mut running = Running::default();
        running.register(spec(1), meta(1));
        running.claims_ended();
        assert!(!running.is_idle());
        assert!(running.apply(&event(1, 0, finished())).is_some());
        assert!(!running.is_idle());
        running.published();
        assert!(running.is_idle());
        assert!(
            running.apply(&event(1, 0, finished())).is_none(),
            "late events are ignored"
        );
    }

    #[test]
    fn a_failing_sequence_stops_its_neighbours() {
        let mut running = Running::default();
        let flag = running.register(spec(2), meta(1));
        let failure = Event::Failed {
            message: "broken".to_owned(),
            fault: false,
        };
        assert!(running.apply(&event(1, 0, failure)).is_none());
        assert!(flag.load(Ordering::Relaxed));
        let ended = running.apply(&event(1, 1, Event::Stopped)).unwrap();
        assert_eq!(
            ended.end,
            End::Failed {
                error: "broken".to_owned(),
                fault: false,
            }
        );
        assert_eq!(running.take_unfinished(), []);
    }

    #[test]
    fn only_jobs_that_we_stopped_are_unfinished() {
        let mut running = Running::default();
        for id in 1..=4 {
            running.register(spec(1), meta(id));
        }
        running.cancel(JobId(1));
        running.stop_all();
        assert!(running.apply(&event(1, 0, Event::Stopped)).is_some());
        assert!(running.apply(&event(3, 0, Event::Stopped)).is_some());
        // The engine finished this one before it saw the flag.
        assert!(running.apply(&event(2, 0, finished())).is_some());
        assert_eq!(running.take_unfinished(), [JobId(3), JobId(4)]);
    }

    #[test]
    fn a_job_that_is_registered_after_the_stop_stops_too() {
        let mut running = Running::default();
        running.stop_all();
        assert!(running.register(spec(1), meta(1)).load(Ordering::Relaxed));
        assert!(running.apply(&event(1, 0, Event::Stopped)).is_some());
        assert_eq!(running.take_unfinished(), [JobId(1)]);
    }

    #[test]
    fn a_cancellation_may_come_before_the_job_is_registered() {
        let mut running = Running::default();
        running.before_claim();
        running.cancel(JobId(5));
        assert!(running.register(spec(1), meta(5)).load(Ordering::Relaxed));
        // A cancellation that came too late is forgotten with the next claim.
        running.cancel(JobId(6));
        running.before_claim();
        assert!(!running.register(spec(1), meta(6)).load(Ordering::Relaxed));
    }
}
