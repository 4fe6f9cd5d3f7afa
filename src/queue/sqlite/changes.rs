//! The statements behind each [`Change`].
//!
//! Statements that a queue of a million jobs must not slow down name their index: SQLite would guess another one from
//! what it knows of the values, and refuses a statement whose index cannot serve it.
//!
//! Invariant: every function runs inside the savepoint of its request and undoes nothing itself.

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::{Endpoint, JobId, State};

use super::super::state::{self, Cause, Retention};
use super::super::store::{Applied, Change, Finished, Purged, Woken};
use super::super::{Claimed, Completion, Error, JobRow, Part};
use super::{reads, transcripts};

/// Pages given back to the file system with each chunk of deleted jobs, so that one commit stays short.
const VACUUM_PAGES: usize = 256;

/// Jobs whose time has come that one group takes notice of, so that one commit stays short: 20 ms.
const RELEASE_CHUNK: i64 = 4_096;

/// Why a change did not happen.
pub(super) enum Refusal {
    /// The request itself is refused.
    Answer(Error),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Refusal::Sqlite(error)
    }
}

/// The writing connection during one group.
pub(super) struct Changes<'a> {
    pub(super) db: &'a Connection,
    /// The lease epoch of this daemon: only its own running jobs can end.
    pub(super) epoch: i64,
    pub(super) now_ms: i64,
}

impl Changes<'_> {
    pub(super) fn apply(&self, change: &Change) -> Result<Applied, Refusal> {
        match change {
            Change::Submit { job, admission } => {
                self.submit(job, admission).map(Applied::Submitted)
            }
            Change::FindSubmitted(job) => self.find_submitted(job).map(Applied::Found),
            Change::Claim => Ok(Applied::Claimed(self.claim()?)),
            Change::SetFlow(change) => {
                let flow = reads::flow(self.db)?.after(*change);
                self.db
                    .prepare_cached("UPDATE lease SET paused = ?1, draining = ?2")?
                    .execute([flow.paused, flow.draining])?;
                Ok(Applied::Flow(flow))
            }
            Change::Batch(change) => self.apply_batch(change),
            Change::Wake { limit } => Ok(Applied::Woken(self.wake(*limit)?)),
            Change::Checkpoint { id, part } => {
                Ok(Applied::Checkpointed(self.checkpoint(*id, part)?))
            }
            Change::Finish { id, completion } => {
                Ok(Applied::Finished(self.finish(*id, completion)?))
            }
            Change::Requeue(ids) => Ok(Applied::Requeued(self.requeue(ids)?)),
            Change::Cancel(id) => self.cancel(*id).map(Applied::Cancelled),
            Change::CancelOpen { before, uid, limit } => {
                Ok(Applied::Swept(self.cancel_open(*before, *uid, *limit)?))
            }
            Change::Delivered(id) => Ok(Applied::Delivered(self.delivered(*id)?)),
            Change::Purge { retention, limit } => {
                Ok(Applied::Purged(self.purge(*retention, *limit)?))
            }
        }
    }

    fn claim(&self) -> Result<Option<Claimed>, rusqlite::Error> {
        self.release_due()?;
        if reads::flow(self.db)?.paused {
            return Ok(None);
        }
        let (running, guarded): (i64, bool) = self
            .db
            .prepare_cached(
                "SELECT count(*), coalesce(max(alone), 0) FROM job INDEXED BY job_running
                 WHERE state = 'running'",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if guarded {
            return Ok(None);
        }
        let mut suspect = false;
        let Some(mut claimed) = self
            .db
            .prepare_cached(
                "SELECT id, endpoint, body, seed, max_tokens, created_at_ms, priority, crashes, uid,
                        attached AND idempotency_key IS NULL, faults
                 FROM job JOIN request ON job_id = id
                 WHERE id = (SELECT id FROM job INDEXED BY job_ready WHERE state = 'queued' AND delayed = 0
                             AND (deadline_ms IS NULL OR deadline_ms > ?1)
                             ORDER BY priority DESC, id LIMIT 1)",
            )?
            .query_row([self.now_ms], |row| {
                suspect = state::is_suspect(row.get(7)?, row.get(10)?);
                Ok(Claimed {
                    id: JobId(row.get(0)?),
                    priority: row.get(6)?,
                    endpoint: reads::word(row, 1, Endpoint::from_path)?,
                    body: row.get(2)?,
                    seed: row.get::<_, i64>(3)?.cast_unsigned(),
                    max_tokens: row.get(4)?,
                    created_at_ms: row.get(5)?,
                    uid: row.get(8)?,
                    dies_with_its_connection: row.get(9)?,
                    transcript: None,
                })
            })
            .optional()?
        else {
            return Ok(None);
        };
        if suspect && running > 0 {
            return Ok(None);
        }
        // The attempt counts from the claim on: a job that kills the daemon has made it.
        self.db
            .prepare_cached(
                "UPDATE job SET state = 'running', lease_epoch = ?2, started_at_ms = ?3,
                                attempts = attempts + 1, runs = runs + 1, alone = ?4
                 WHERE id = ?1 AND state = 'queued'",
            )?
            .execute(params![claimed.id.0, self.epoch, self.now_ms, suspect])?;
        claimed.transcript = transcripts::load(self.db, claimed.id)?;
        Ok(Some(claimed))
    }

    /// Jobs whose time has come take their places in the order.
    fn release_due(&self) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached(
                "UPDATE job SET delayed = 0 WHERE id IN (
                   SELECT id FROM job INDEXED BY job_delayed
                   WHERE state = 'queued' AND delayed = 1 AND retry_at_ms IS NULL AND not_before_ms <= ?1
                   ORDER BY not_before_ms LIMIT ?2)",
            )?
            .execute([self.now_ms, RELEASE_CHUNK])?;
        // All that wait are few: each had a slot a moment ago.
        let pauses = state::pauses_until(self.now_ms);
        self.db
            .prepare_cached(
                "UPDATE job SET delayed = 0, retry_at_ms = NULL WHERE id IN (
                   SELECT id FROM job INDEXED BY job_retry
                   WHERE state = 'queued' AND retry_at_ms IS NOT NULL AND retry_at_ms NOT BETWEEN ?1 AND ?2)",
            )?
            .execute([pauses.start(), pauses.end()])?;
        Ok(())
    }

    fn wake(&self, limit: usize) -> Result<Woken, rusqlite::Error> {
        self.release_due()?;
        let expired: Vec<(JobId, State)> = self
            .db
            .prepare_cached(
                "SELECT id, state FROM job INDEXED BY job_deadline WHERE deadline_ms <= ?1 AND deadline_ms IS NOT NULL
                 AND finished_at_ms IS NULL ORDER BY deadline_ms, id LIMIT ?2",
            )?
            .query_map(
                params![self.now_ms, i64::try_from(limit).unwrap_or(i64::MAX)],
                |row| Ok((JobId(row.get(0)?), reads::word(row, 1, State::parse)?)),
            )?
            .collect::<Result<_, _>>()?;
        for (id, before) in &expired {
            if let Some(state) = state::next(*before, Cause::Expire) {
                self.end(*id, state)?;
            }
        }
        let next_ms = self
            .db
            .prepare_cached(
                "SELECT min(time) FROM (
                   SELECT min(not_before_ms) AS time FROM job INDEXED BY job_delayed
                   WHERE state = 'queued' AND delayed = 1 AND retry_at_ms IS NULL
                   UNION ALL
                   SELECT min(retry_at_ms) FROM job INDEXED BY job_retry
                   WHERE state = 'queued' AND retry_at_ms IS NOT NULL
                   UNION ALL
                   SELECT min(deadline_ms) FROM job INDEXED BY job_deadline
                   WHERE deadline_ms IS NOT NULL AND finished_at_ms IS NULL)",
            )?
            .query_row([], |row| row.get(0))?;
        Ok(Woken { expired, next_ms })
    }

    /// Ends an unfinished job without a result.
    pub(super) fn end(&self, id: JobId, state: State) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached(
                "UPDATE job SET state = ?2, lease_epoch = NULL, finished_at_ms = ?3 WHERE id = ?1",
            )?
            .execute(params![id.0, state.as_str(), self.now_ms])?;
        Ok(())
    }

    /// Puts a running job back, to be claimed again at its time; after so many faults.
    fn retry(&self, id: JobId, faults: u32, at_ms: i64) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached(
                "UPDATE job SET state = 'queued', lease_epoch = NULL, started_at_ms = NULL,
                                faults = ?2, retry_at_ms = ?3, delayed = 1
                 WHERE id = ?1",
            )?
            .execute(params![id.0, faults, at_ms])?;
        // What it generated may be part of the fault.
        self.forget(id, 0)
    }

    fn finish(&self, id: JobId, completion: &Completion) -> Result<Finished, rusqlite::Error> {
        let running: Option<(u32, bool)> = self
            .db
            .prepare_cached(
                "SELECT faults, deadline_ms IS NOT NULL AND deadline_ms <= ?3 FROM job
                 WHERE id = ?1 AND state = 'running' AND lease_epoch = ?2",
            )?
            .query_row(params![id.0, self.epoch, self.now_ms], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((faults, is_late)) = running else {
            return Ok(Finished::TooLate);
        };
        if is_late && let Some(state) = state::next(State::Running, Cause::Expire) {
            self.end(id, state)?;
            return Ok(Finished::Expired);
        }
        let (cause, usage, error) = match completion {
            Completion::Completed { usage, .. } => (Cause::Complete, Some(*usage), None),
            Completion::Failed { error, .. } => (Cause::Fail, None, Some(error)),
            Completion::Faulted { error } => {
                let faults = faults.saturating_add(1);
                if let Some(at_ms) = state::retry_at(self.now_ms, faults) {
                    self.retry(id, faults, at_ms)?;
                    return Ok(Finished::Retried { at_ms });
                }
                (Cause::Fail, None, Some(error))
            }
        };
        let Some(state) = state::next(State::Running, cause) else {
            return Ok(Finished::TooLate);
        };
        let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (refused, param) = match completion {
            Completion::Failed { refused, param, .. } => (*refused, param.as_deref()),
            _ => (false, None),
        };
        self.db
            .prepare_cached(
                "UPDATE job SET state = ?2, lease_epoch = NULL, finished_at_ms = ?3,
                                prompt_tokens = ?4, completion_tokens = ?5, error = ?6,
                                refused = ?7, error_param = ?8
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                state.as_str(),
                self.now_ms,
                usage.map(|usage| tokens(usage.prompt_tokens)),
                usage.map(|usage| tokens(usage.completion_tokens)),
                error,
                refused,
                param,
            ])?;
        if let Completion::Completed {
            result,
            outline,
            keep,
            ..
        } = completion
        {
            match keep {
                Some(part) => self.keep(id, part)?,
                None => self.forget(id, 0)?,
            }
            self.db
                .prepare_cached("INSERT INTO result(job_id, body, outline) VALUES (?1, ?2, ?3)")?
                .execute(params![id.0, result, outline])?;
        }
        Ok(Finished::Published)
    }

    /// What a completed job answers others with. It is kept as long as a detached one, and so is one from now on: purges
    /// of attached ones, whose time is over sooner, do not come by it.
    fn keep(&self, id: JobId, part: &Part) -> Result<(), rusqlite::Error> {
        self.put(id, part)?;
        self.db
            .prepare_cached("UPDATE job SET attached = 0 WHERE id = ?1 AND attached = 1")?
            .execute([id.0])?;
        Ok(())
    }

    fn requeue(&self, ids: &[JobId]) -> Result<Vec<JobId>, rusqlite::Error> {
        let mut statement = self.db.prepare_cached(
            "UPDATE job SET state = 'queued', lease_epoch = NULL, started_at_ms = NULL,
                            attempts = attempts - 1
             WHERE id = ?1 AND state = 'running' AND lease_epoch = ?2",
        )?;
        let mut requeued = Vec::new();
        for id in ids {
            if statement.execute(params![id.0, self.epoch])? == 1 {
                requeued.push(*id);
            }
        }
        Ok(requeued)
    }

    fn delivered(&self, id: JobId) -> Result<bool, rusqlite::Error> {
        let deleted = self
            .db
            .prepare_cached(
                "DELETE FROM job WHERE id = ?1 AND attached AND idempotency_key IS NULL
                 AND finished_at_ms IS NOT NULL",
            )?
            .execute([id.0])?;
        Ok(deleted == 1)
    }

    fn purge(&self, retention: Retention, limit: usize) -> Result<Purged, rusqlite::Error> {
        let mut statement = self.db.prepare_cached(
            "DELETE FROM job WHERE id IN (SELECT id FROM job
             WHERE attached = ?1 AND finished_at_ms < ?2
             AND (batch IS NULL OR batch IN (SELECT id FROM batch WHERE ended_at_ms IS NOT NULL))
             LIMIT ?3)",
        )?;
        let mut purged = Purged {
            jobs: 0,
            files: self.purge_files(limit)?,
            next_ms: None,
        };
        for (attached, before_ms) in [
            (true, retention.attached_before_ms),
            (false, retention.detached_before_ms),
        ] {
            let left = i64::try_from(limit - purged.jobs).unwrap_or(i64::MAX);
            purged.jobs += statement.execute(params![attached, before_ms, left])?;
        }
        let is_empty = purged == Purged::default();
        purged.next_ms = self.next_purge_ms(retention)?;
        if !is_empty {
            // Each row of this statement is one page given back.
            let mut vacuum = self
                .db
                .prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(purged)
    }

    /// When the time of the oldest job or file is over.
    fn next_purge_ms(&self, retention: Retention) -> Result<Option<i64>, rusqlite::Error> {
        let oldest: [Option<i64>; 3] = self
            .db
            .prepare_cached(
                "SELECT (SELECT min(finished_at_ms) FROM job INDEXED BY job_ended
                         WHERE attached = 1 AND finished_at_ms IS NOT NULL),
                        (SELECT min(finished_at_ms) FROM job INDEXED BY job_ended
                         WHERE attached = 0 AND finished_at_ms IS NOT NULL),
                        (SELECT min(expires_at_ms) FROM file INDEXED BY file_expiry
                         WHERE expires_at_ms IS NOT NULL)",
            )?
            .query_row([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        let kept_ms = [
            self.now_ms.saturating_sub(retention.attached_before_ms),
            self.now_ms.saturating_sub(retention.detached_before_ms),
            0,
        ];
        let ends = oldest.into_iter().zip(kept_ms);
        Ok(ends
            .filter_map(|(time, kept_ms)| Some(time?.saturating_add(kept_ms)))
            .min())
    }

    pub(super) fn job(&self, id: JobId) -> Result<JobRow, Refusal> {
        reads::job(self.db, id)?.ok_or(Refusal::Answer(Error::NotFound))
    }
}
