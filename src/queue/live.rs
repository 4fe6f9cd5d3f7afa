//! The live log: events of unfinished jobs in memory, read by any number of subscribers.
//!
//! A job has a log from submit until it is terminal in the store. A log that nobody wrote to or reads
//! from is one map entry, so that a million queued jobs cost little. Memory of a log is freed when the
//! job is closed and its last subscriber is gone.
//!
//! A job that runs again (after a drain or a preemption) gives the same bytes again: the log drops the
//! repeated events, sequence by sequence, and its subscribers notice nothing.
//!
//! Invariant: nothing here is durable, and a slow subscriber never holds up the writer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender, TrySendError};

use crate::job::{Event, JobId, SequenceEvent};

/// Shared log of all unfinished jobs.
#[derive(Clone, Default)]
pub struct LiveLog {
    /// `None`: open, but not yet written or read.
    logs: Arc<Mutex<HashMap<JobId, Option<Arc<Log>>>>>,
}

/// Reads one job's events from the beginning; never blocks the writer.
pub struct Subscription {
    /// `None`: the job had no log.
    log: Option<Arc<Log>>,
    /// Events read so far.
    cursor: usize,
    wake: Receiver<()>,
}

/// One job's log.
#[derive(Default)]
struct Log(Mutex<Events>);

#[derive(Default)]
struct Events {
    events: Vec<Arc<SequenceEvent>>,
    /// By sequence index.
    progress: HashMap<usize, Progress>,
    closed: bool,
    /// One flag per subscriber: bounded(1), and full means that a wake-up is already on its way.
    wakers: Vec<Sender<()>>,
}

/// How far a sequence came.
#[derive(Default)]
struct Progress {
    /// Events in the log.
    kept: usize,
    /// Events of the current run, repeated ones included.
    seen: usize,
}

impl LiveLog {
    /// Starts the log of a job, or tells it that the job starts anew; done at submit, so that a
    /// subscriber is never too early.
    pub fn open(&self, job: JobId) {
        let log = lock(&self.logs).entry(job).or_default().clone();
        if let Some(log) = log {
            for progress in lock(&log.0).progress.values_mut() {
                progress.seen = 0;
            }
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
            let progress = log.progress.entry(event.sequence).or_default();
            progress.seen += 1;
            if progress.seen > progress.kept {
                progress.kept = progress.seen;
                log.events.push(event);
                log.wake();
            }
        }
    }

    /// The job is terminal in the store: subscribers read to the end and then get `None`.
    pub fn close(&self, job: JobId) {
        if let Some(Some(log)) = lock(&self.logs).remove(&job) {
            lock(&log.0).close();
        }
    }

    /// Events from the first on. A job without a log (already terminal) gives a closed subscription.
    pub fn subscribe(&self, job: JobId) -> Subscription {
        let (waker, wake) = async_channel::bounded(1);
        let log = self.log(job);
        if let Some(log) = &log {
            lock(&log.0).wakers.push(waker);
        }
        Subscription {
            log,
            cursor: 0,
            wake,
        }
    }

    /// Ends all subscriptions: the queue closes or its store failed.
    pub(super) fn close_all(&self) {
        for log in std::mem::take(&mut *lock(&self.logs))
            .into_values()
            .flatten()
        {
            lock(&log.0).close();
        }
    }

    /// The log of an open job, made on first use.
    fn log(&self, job: JobId) -> Option<Arc<Log>> {
        let mut logs = lock(&self.logs);
        let log = logs.get_mut(&job)?;
        Some(log.get_or_insert_with(Arc::default).clone())
    }
}

impl Events {
    fn close(&mut self) {
        self.closed = true;
        self.wake();
        self.wakers.clear();
    }

    /// Sets the flag of every subscriber and forgets those that are gone.
    fn wake(&mut self) {
        self.wakers
            .retain(|waker| !matches!(waker.try_send(()), Err(TrySendError::Closed(()))));
    }
}

impl Subscription {
    /// The next event; `None` when the job is terminal in the store.
    pub async fn next(&mut self) -> Option<Arc<SequenceEvent>> {
        let log = self.log.as_ref()?;
        loop {
            {
                let log = lock(&log.0);
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

    #[test]
    fn a_log_is_freed_with_its_last_subscriber() {
        let live = LiveLog::default();
        live.open(JobId(1));
        let subscription = live.subscribe(JobId(1));
        let log = Arc::downgrade(subscription.log.as_ref().unwrap());
        live.close(JobId(1));
        assert!(log.upgrade().is_some());
        assert!(lock(&live.logs).is_empty());
        drop(subscription);
        assert!(log.upgrade().is_none());
    }

    #[test]
    fn subscribers_that_left_are_forgotten() {
        let live = LiveLog::default();
        live.open(JobId(1));
        drop(live.subscribe(JobId(1)));
        let kept = live.subscribe(JobId(1));
        live.append(Arc::new(SequenceEvent {
            job: JobId(1),
            sequence: 0,
            event: Event::Failed {
                message: "no".to_owned(),
                fault: false,
            },
        }));
        assert_eq!(lock(&kept.log.as_ref().unwrap().0).wakers.len(), 1);
    }

    #[test]
    fn an_untouched_log_is_only_a_map_entry() {
        let live = LiveLog::default();
        live.open(JobId(1));
        assert!(lock(&live.logs)[&JobId(1)].is_none());
    }
}
