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

    /// When a job starts and ends, by the pace; `None` for one that has ended, while the queue is paused, and before
    /// there is a pace. The row is one that [`Queue::get`] gave.
    pub async fn estimate(&self, row: &JobRow) -> Result<Option<Estimate>, Error> {
        let (Some(pace), now_ms) = (self.pace(), now_ms()) else {
            return Ok(None);
        };
        if let (State::Running, Some(started_ms)) = (row.state, row.started_at_ms) {
            return Ok(Some(pace.of_running(started_ms, now_ms)));
        }
        if row.state != State::Queued {
            return Ok(None);
        }
        let flow = self.read(|reader| reader.flow()).await?;
        let running = self.inner.shared.meter().running();
        // Without a place it waits for its time.
        let ahead = row.position.unwrap_or(0);
        let estimate = pace.of_waiting(ahead, running, row.times, now_ms);
        Ok(Some(estimate).filter(|_| !flow.paused))
    }
}
