//! The events of one job, and how far the run of now has come in them.

use std::collections::HashMap;
use std::sync::Arc;

use async_channel::{Sender, TrySendError};

use crate::job::SequenceEvent;

use super::Origin;

#[derive(Default)]
pub(super) struct Events {
    pub(super) events: Vec<Arc<SequenceEvent>>,
    /// By sequence index.
    progress: HashMap<usize, Progress>,
    pub(super) closed: bool,
    pub(super) origin: Origin,
    /// What an earlier daemon told is void.
    pub(super) restarted: bool,
    /// How often what an earlier run told was.
    pub(super) voided: usize,
    /// Somebody has read it.
    pub(super) was_read: bool,
    /// One flag per subscriber: bounded(1), and full means that a wake-up is already on its way.
    pub(super) wakers: Vec<Sender<()>>,
}

/// How far a sequence came.
#[derive(Default)]
struct Progress {
    /// Where its events are in the log.
    places: Vec<usize>,
    /// Events of the current run, repeated ones included.
    seen: usize,
}

impl Events {
    /// The job runs again, from its beginning on.
    pub(super) fn run_again(&mut self) {
        for progress in self.progress.values_mut() {
            progress.seen = 0;
        }
    }

    /// Whether the event is the same as that of an earlier run in its place; `None`: there is none.
    pub(super) fn repeats(&self, event: &SequenceEvent) -> Option<bool> {
        let progress = self.progress.get(&event.sequence)?;
        let place = *progress.places.get(progress.seen)?;
        Some(self.events[place].event == event.event)
    }

    /// One more of this run, which is there already.
    pub(super) fn pass(&mut self, sequence: usize) {
        self.progress.entry(sequence).or_default().seen += 1;
    }

    pub(super) fn push(&mut self, event: Arc<SequenceEvent>) {
        let progress = self.progress.entry(event.sequence).or_default();
        progress.seen += 1;
        progress.places.push(self.events.len());
        self.events.push(event);
        self.wake();
    }

    /// Leaves what this run gave.
    pub(super) fn begin_anew(&mut self) {
        let seen: HashMap<usize, usize> = self
            .progress
            .drain()
            .map(|(sequence, progress)| (sequence, progress.seen))
            .collect();
        for event in std::mem::take(&mut self.events) {
            let given = self.progress.get(&event.sequence).map_or(0, |p| p.seen);
            if given < seen[&event.sequence] {
                self.push(event);
            }
        }
        self.voided += 1;
    }

    pub(super) fn close(&mut self) {
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
