//! When jobs will start and end.

use crate::job::State;
use crate::queue::pace::{Estimate, Pace};
use crate::queue::writer::now_ms;
use crate::queue::{Error, JobReader, JobRow};

use super::Queue;

impl Queue {
    /// How fast jobs end, once one has.
    pub fn pace(&self) -> Option<Pace> {
        self.inner.shared.meter().pace()
    }

    /// What can be said of the times to come now.
    pub async fn outlook(&self) -> Result<Outlook, Error> {
        Ok(self.read_with_outlook(|_| Ok(())).await?.1)
    }

    /// [`Queue::read`], and what can be said of the times to come of what it gives: asked at once, because each question
    /// goes to another thread and back.
    pub async fn read_with_outlook<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn JobReader) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Outlook), Error> {
        let both = |reader: &mut dyn JobReader| Ok((read(reader)?, reader.flow()?));
        let (found, flow) = self.read(both).await?;
        let outlook = Outlook {
            pace: self.pace(),
            running: self.inner.shared.meter().running(),
            paused: flow.paused,
            now_ms: now_ms(),
        };
        Ok((found, outlook))
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
