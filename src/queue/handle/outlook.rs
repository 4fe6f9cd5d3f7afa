//! When jobs will start and end.

use crate::job::State;
use crate::queue::pace::{Estimate, Pace};
use crate::queue::writer::now_ms;
use crate::queue::{Error, JobRow};

use super::Queue;

impl Queue {
    /// How fast jobs end, once one has.
    pub fn pace(&self) -> Option<Pace> {
        self.inner.shared.meter().pace()
    }

    /// What can be said of the times to come now.
    pub async fn outlook(&self) -> Result<Outlook, Error> {
        let pace = self.pace();
        let paused = match pace {
            // Nothing can be said anyway.
            None => false,
            Some(_) => self.read(|reader| reader.flow()).await?.paused,
        };
        Ok(Outlook {
            pace,
            running: self.inner.shared.meter().running(),
            paused,
            now_ms: now_ms(),
        })
    }
}

/// The pace, and what stands in its way, at one moment.
pub struct Outlook {
    pace: Option<Pace>,
    running: u64,
    paused: bool,
    now_ms: i64,
}

impl Outlook {
    /// When a job starts and ends; `None` for one that has ended, while the queue is paused, and before there is a pace.
    /// The row is one that [`Queue::get`] or [`Queue::list`] gave.
    pub fn of(&self, row: &JobRow) -> Option<Estimate> {
        let pace = self.pace?;
        match (row.state, row.started_at_ms) {
            (State::Running, Some(started_ms)) => Some(pace.of_running(started_ms, self.now_ms)),
            (State::Queued, _) if !self.paused => {
                // Without a place it waits for its time.
                let ahead = row.position.unwrap_or(0);
                Some(pace.of_waiting(ahead, self.running, row.times, self.now_ms))
            }
            _ => None,
        }
    }
}
