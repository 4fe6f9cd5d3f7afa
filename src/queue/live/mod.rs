//! The live log: events of unfinished jobs in memory, read by any number of subscribers.
//!
//! A job has a log from submit until it is terminal in the store. A log that nobody wrote to or reads
//! from is one map entry, so that a million queued jobs cost little. Memory of a log is freed when the
//! job is closed and its last subscriber is gone; but the last [`KEPT`] logs that somebody read are kept, so that one
//! whose connection broke near the end can come back for the rest.
//!
//! A job that runs again (after a drain or a fault) gives the same bytes again: the log drops the
//! repeated events, sequence by sequence, and its subscribers notice nothing. Where a run gives something else after all
//! (what was wrong with a worker may have shown in its output before it failed), the log is void: it begins anew with
//! what this run gave, and its subscribers with it. What the events come from is noted as their [`Origin`], so that one
//! who has events of an earlier daemon can tell whether these go on behind them.
//!
//! Invariant: nothing here is durable, and a slow subscriber never holds up the writer.

mod events;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Receiver;

use crate::job::{Event, JobId, SequenceEvent};

use events::Events;

/// Logs of ended jobs that are kept for those who come back.
const KEPT: usize = 64;

/// Shared log of all unfinished jobs.
#[derive(Clone, Default)]
pub struct LiveLog {
    logs: Arc<Mutex<Logs>>,
}

#[derive(Default)]
struct Logs {
    /// `None`: open, but not yet written or read.
    open: HashMap<JobId, Option<Arc<Log>>>,
    /// Of jobs that have ended, the oldest first.
    kept: VecDeque<(JobId, Arc<Log>)>,
}

/// What the events of a job come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// In short: those of another fingerprint are other events.
    pub fingerprint: u32,
    /// Of the job.
    pub sequences: usize,
}

/// Reads one job's events from the beginning; never blocks the writer.
pub struct Subscription {
    /// `None`: the job had no log.
    log: Option<Arc<Log>>,
    /// Events read so far.
    cursor: usize,
    /// As often as the log was void when they were read.
    voided: usize,
    wake: Receiver<()>,
}

/// One job's log.
#[derive(Default)]
struct Log(Mutex<Events>);

impl LiveLog {
    /// Starts the log of a job, or tells it that the job starts anew; done at submit, so that a
    /// subscriber is never too early.
    pub fn open(&self, job: JobId) {
        let log = lock(&self.logs).open.entry(job).or_default().clone();
        if let Some(log) = log {
            lock(&log.0).run_again();
        }
    }

    /// Adds an event. Without effect when the job has no log, when the event repeats one of an earlier
    /// run, and for [`Event::Stopped`], which is no output: a later run may go on from there.
    pub fn append(&self, event: Arc<SequenceEvent>) {
        if event.event == Event::Stopped {
            return;
        }
        if let Some(log) = self.log(event.job) {
            let mut log = lock(&log.0);
            match log.repeats(&event) {
                Some(true) => return log.pass(event.sequence),
                Some(false) => log.begin_anew(),
                None => {}
            }
            log.push(event);
        }
    }

    /// The job runs: this is what its events come from.
    pub fn begin(&self, job: JobId, origin: Origin) {
        if let Some(log) = self.log(job) {
            lock(&log.0).origin = origin;
        }
    }

    /// What follows is not what an earlier daemon told of this job: it starts anew, under another model.
    pub fn restart(&self, job: JobId) {
        if let Some(log) = self.log(job) {
            lock(&log.0).restarted = true;
        }
    }

    /// The job is terminal in the store: subscribers read to the end, and then get `None` and ask the store.
    pub fn close(&self, job: JobId) {
        let mut logs = lock(&self.logs);
        if let Some(Some(log)) = logs.open.remove(&job) {
            let was_read = {
                let mut events = lock(&log.0);
                events.close();
                events.was_read
            };
            if was_read {
                logs.kept.push_back((job, log));
            }
            if logs.kept.len() > KEPT {
                logs.kept.pop_front();
            }
        }
    }

    /// Events from the first on. A job without a log (terminal for a while) gives a closed subscription.
    pub fn subscribe(&self, job: JobId) -> Subscription {
        let (waker, wake) = async_channel::bounded(1);
        let log = self.log(job).or_else(|| self.kept(job));
        let mut voided = 0;
        if let Some(log) = &log {
            let mut events = lock(&log.0);
            voided = events.voided;
            events.was_read = true;
            if !events.closed {
                events.wakers.push(waker);
            }
        }
        Subscription {
            log,
            cursor: 0,
            voided,
            wake,
        }
    }

    /// Ends all subscriptions: the queue closes or its store failed.
    pub(super) fn close_all(&self) {
        let open = std::mem::take(&mut lock(&self.logs).open);
        for log in open.into_values().flatten() {
            lock(&log.0).close();
        }
    }

    /// The log of an open job, made on first use.
    fn log(&self, job: JobId) -> Option<Arc<Log>> {
        let mut logs = lock(&self.logs);
        let log = logs.open.get_mut(&job)?;
        Some(log.get_or_insert_with(Arc::default).clone())
    }

    fn kept(&self, job: JobId) -> Option<Arc<Log>> {
        let logs = lock(&self.logs);
        let found = logs.kept.iter().find(|(kept, _)| *kept == job);
        found.map(|(_, log)| log.clone())
    }
}

impl Subscription {
    /// Whether there is nothing to read, and never will be.
    pub fn is_void(&self) -> bool {
        self.log.is_none()
    }

    /// Known when the first event comes.
    pub fn origin(&self) -> Origin {
        let log = self.log.as_ref();
        log.map_or(Origin::default(), |log| lock(&log.0).origin)
    }

    /// Whether the job was started anew, and gives other events than under the daemon before. Known when the first
    /// event comes.
    pub fn was_restarted(&self) -> bool {
        self.log.as_ref().is_some_and(|log| lock(&log.0).restarted)
    }

    /// As often as the log of this job was void by the last event: where that changes, the events before are void, and
    /// this is the first of all.
    pub fn voided(&self) -> usize {
        self.voided
    }

    /// The next event; `None` when there are no more: the job is terminal in the store, or the queue has failed.
    pub async fn next(&mut self) -> Option<Arc<SequenceEvent>> {
        let log = self.log.as_ref()?;
        loop {
            {
                let log = lock(&log.0);
                if log.voided != self.voided {
                    (self.voided, self.cursor) = (log.voided, 0);
                }
                if let Some(event) = log.events.get(self.cursor) {
                    self.cursor += 1;
                    return Some(event.clone());
                }
                if log.closed {
                    return None;
                }
            }
            // A flag set before this line is still there, so no wake-up is lost. The error means that
            // the log was closed meanwhile, which the next round sees.
            let _ = self.wake.recv().await;
        }
    }
}

/// Every critical section here leaves the data whole, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(job: i64) -> Arc<SequenceEvent> {
        Arc::new(SequenceEvent {
            job: JobId(job),
            sequence: 0,
            event: Event::Failed {
                message: "no".to_owned(),
                fault: false,
            },
        })
    }

    #[test]
    fn the_last_logs_that_were_read_are_kept_and_no_others() {
        let live = LiveLog::default();
        for job in 0..=KEPT as i64 + 1 {
            live.open(JobId(job));
            live.append(text(job));
            // Nobody reads the last one.
            if job <= KEPT as i64 {
                drop(live.subscribe(JobId(job)));
            }
            live.close(JobId(job));
        }
        let read = |job: i64| {
            let mut subscription = live.subscribe(JobId(job));
            let next = subscription.next();
            let mut next = std::pin::pin!(next);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            matches!(
                next.as_mut().poll(&mut context),
                std::task::Poll::Ready(Some(_))
            )
        };
        assert!(!read(0) && read(1) && read(KEPT as i64) && !read(KEPT as i64 + 1));
    }

    fn token(sequence: usize, id: u32) -> Arc<SequenceEvent> {
        Arc::new(SequenceEvent {
            job: JobId(1),
            sequence,
            event: Event::Token(crate::job::Token {
                id,
                ..Default::default()
            }),
        })
    }

    /// The events that are there, with how often the log was void.
    fn told(subscription: &mut Subscription) -> Vec<(usize, Arc<SequenceEvent>)> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut told = vec![];
        loop {
            let next = std::pin::pin!(subscription.next()).poll(&mut context);
            let std::task::Poll::Ready(Some(event)) = next else {
                return told;
            };
            told.push((subscription.voided(), event));
        }
    }

    #[test]
    fn a_run_that_gives_something_else_voids_the_log() {
        let live = LiveLog::default();
        live.open(JobId(1));
        let mut reader = live.subscribe(JobId(1));
        let first = [token(0, 1), token(1, 5), token(0, 2), token(1, 6)];
        first.iter().for_each(|event| live.append(event.clone()));
        assert_eq!(told(&mut reader).len(), 4);
        // Another run gives the same at first.
        live.open(JobId(1));
        live.append(token(1, 5));
        live.append(token(0, 1));
        assert_eq!(told(&mut reader), []);
        live.append(token(0, 3));
        let anew = [token(0, 1), token(1, 5), token(0, 3)].map(|event| (1, event));
        assert_eq!(told(&mut reader), anew);
        live.append(token(1, 6));
        assert_eq!(told(&mut reader), [(1, token(1, 6))]);
        // And a third one as the second.
        live.open(JobId(1));
        live.append(token(0, 1));
        live.append(token(0, 3));
        live.append(token(0, 4));
        assert_eq!(told(&mut reader), [(1, token(0, 4))]);
        assert_eq!(told(&mut live.subscribe(JobId(1))).len(), 5);
    }

    #[test]
    fn a_log_is_freed_with_its_last_subscriber() {
        let live = LiveLog::default();
        live.open(JobId(1));
        let subscription = live.subscribe(JobId(1));
        let log = Arc::downgrade(subscription.log.as_ref().unwrap());
        live.close(JobId(1));
        lock(&live.logs).kept.clear();
        assert!(log.upgrade().is_some());
        assert!(lock(&live.logs).open.is_empty());
        drop(subscription);
        assert!(log.upgrade().is_none());
    }

    #[test]
    fn subscribers_that_left_are_forgotten() {
        let live = LiveLog::default();
        live.open(JobId(1));
        drop(live.subscribe(JobId(1)));
        let kept = live.subscribe(JobId(1));
        live.append(text(1));
        assert_eq!(lock(&kept.log.as_ref().unwrap().0).wakers.len(), 1);
    }

    #[test]
    fn an_untouched_log_is_only_a_map_entry() {
        let live = LiveLog::default();
        live.open(JobId(1));
        assert!(lock(&live.logs).open[&JobId(1)].is_none());
    }
}
