//! Cancelling: one job, many of a user or of all, those of a batch.

use rusqlite::{named_params, params};

use crate::job::{JobId, State};
use crate::queue::batch::BatchId;
use crate::queue::state::{self, Cause};
use crate::queue::store::{Cancelled, Swept};

use super::batches::integer;
use super::changes::{Changes, Refusal};
use super::reads;

impl Changes<'_> {
    pub(super) fn cancel(&self, id: JobId) -> Result<Cancelled, Refusal> {
        let job = self.job(id)?;
        let before = job.state;
        let Some(state) = state::next(before, Cause::Cancel) else {
            return Ok(Cancelled { job, before });
        };
        self.end(id, state)?;
        Ok(Cancelled {
            job: self.job(id)?,
            before,
        })
    }

    /// Newest first: while this goes on from group to group, jobs start at the other end of the queue.
    pub(super) fn cancel_open(
        &self,
        before: Option<JobId>,
        uid: Option<u32>,
        limit: usize,
    ) -> Result<Swept, rusqlite::Error> {
        // Each state is a range of an index, of which no more is read than asked for.
        let (index, of_user) = match uid {
            Some(_) => ("job_of_user_in_state", "uid = :uid"),
            None => ("job_state", ":uid IS NULL"),
        };
        let range = |state: State| {
            format!(
                "SELECT * FROM (SELECT id, state, batch FROM job INDEXED BY {index}
                   WHERE {of_user} AND state = '{}' AND id < :before ORDER BY id DESC LIMIT :limit)",
                state.as_str()
            )
        };
        let (queued, running) = (range(State::Queued), range(State::Running));
        let found: Vec<(JobId, State, bool)> = self
            .db
            .prepare_cached(&format!(
                "SELECT id, state, batch IS NOT NULL FROM ({queued} UNION ALL {running}) ORDER BY id DESC LIMIT :limit"
            ))?
            .query_map(
                named_params! {
                    ":before": before.map_or(i64::MAX, |id| id.0),
                    ":uid": uid,
                    ":limit": integer(limit as u64),
                },
                |row| {
                    let state = reads::word(row, 1, State::parse)?;
                    Ok((JobId(row.get(0)?), state, row.get(2)?))
                },
            )?
            .collect::<Result<_, _>>()?;
        let last = found.last().map(|(id, ..)| *id);
        let rest_before = last.filter(|_| found.len() == limit);
        let alone = found.into_iter().filter(|(.., of_batch)| !of_batch);
        let ended: Vec<_> = alone.map(|(id, state, _)| (id, state)).collect();
        self.cancel_all(&ended)?;
        Ok(Swept { ended, rest_before })
    }

    /// Those that ended, with their states before.
    pub(super) fn cancel_jobs(
        &self,
        id: BatchId,
        limit: usize,
    ) -> Result<Vec<(JobId, State)>, rusqlite::Error> {
        let open: Vec<_> = self
            .db
            .prepare_cached(
                "SELECT id, state FROM job INDEXED BY job_of_open_batch
                 WHERE batch = ?1 AND batch IS NOT NULL AND finished_at_ms IS NULL
                 ORDER BY id LIMIT ?2",
            )?
            .query_map(params![id.0, integer(limit as u64)], |row| {
                Ok((JobId(row.get(0)?), reads::word(row, 1, State::parse)?))
            })?
            .collect::<Result<_, _>>()?;
        self.cancel_all(&open)?;
        Ok(open)
    }

    fn cancel_all(&self, open: &[(JobId, State)]) -> Result<(), rusqlite::Error> {
        for (job, before) in open {
            if let Some(state) = state::next(*before, Cause::Cancel) {
                self.end(*job, state)?;
            }
        }
        Ok(())
    }
}
