//! The events of a job from the first on, wherever they are: as they come, or out of its result when it is over.
//!
//! Invariant: whoever reads does not notice which; only a job whose result tells nothing has no events.

use std::sync::Arc;

use crate::job::{SequenceEvent, State};
use crate::protocol::{self, Retold};
use crate::queue::{JobRow, Origin, Queue, Subscription};

use super::submission;

/// A reader's place in them.
pub(super) struct Cursor {
    source: Source,
}

enum Source {
    Live(Subscription),
    Result {
        origin: Origin,
        events: std::vec::IntoIter<SequenceEvent>,
    },
}

impl Cursor {
    /// Of a job that was just read.
    pub(super) async fn at_the_beginning(queue: &Queue, row: JobRow) -> Self {
        let subscription = queue.live().subscribe(row.id);
        let retold = match subscription.is_void() {
            true => of_result(queue, row).await,
            false => None,
        };
        let source = match retold {
            Some(retold) => Source::Result {
                origin: Origin {
                    fingerprint: retold.fingerprint,
                    sequences: retold.sequences,
                },
                events: retold.events.into_iter(),
            },
            None => Source::Live(subscription),
        };
        Cursor { source }
    }

    /// The next event; `None` when there are no more.
    pub(super) async fn next(&mut self) -> Option<Arc<SequenceEvent>> {
        match &mut self.source {
            Source::Live(subscription) => subscription.next().await,
            Source::Result { events, .. } => events.next().map(Arc::new),
        }
    }

    /// Known when the first event comes.
    pub(super) fn origin(&self) -> Origin {
        match &self.source {
            Source::Live(subscription) => subscription.origin(),
            Source::Result { origin, .. } => *origin,
        }
    }

    /// See [`Subscription::was_restarted`]. A result is all of one piece.
    pub(super) fn was_restarted(&self) -> bool {
        match &self.source {
            Source::Live(subscription) => subscription.was_restarted(),
            Source::Result { .. } => false,
        }
    }

    /// See [`Subscription::voided`].
    pub(super) fn voided(&self) -> usize {
        match &self.source {
            Source::Live(subscription) => subscription.voided(),
            Source::Result { .. } => 0,
        }
    }

    /// Whether there is nothing to read, and never will be.
    pub(super) fn is_void(&self) -> bool {
        match &self.source {
            Source::Live(subscription) => subscription.is_void(),
            Source::Result { .. } => false,
        }
    }
}

impl From<Subscription> for Cursor {
    fn from(subscription: Subscription) -> Self {
        Cursor {
            source: Source::Live(subscription),
        }
    }
}

/// `None` for a job that has not completed, or whose result tells nothing of its events.
async fn of_result(queue: &Queue, row: JobRow) -> Option<Retold> {
    let id = row.id;
    let read = queue.read(move |reader| {
        let row = match row.state {
            State::Completed => row,
            // It may have ended since.
            _ => reader.get(id)?,
        };
        Ok((row, reader.outline(id)?))
    });
    let (row, outline) = read.await.ok()?;
    let is_completed = row.state == State::Completed;
    let result = row.result.filter(|_| is_completed)?;
    let outline = outline?;
    // The text of a long one takes a while to read.
    let retell = move || protocol::retell(id, &outline, &result);
    submission::in_background(retell).await.ok()?
}
