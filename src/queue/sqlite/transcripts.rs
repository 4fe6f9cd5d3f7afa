//! What jobs have generated, in parts.
//!
//! Invariant: parts are opaque here. A part takes the place of those with its number and higher ones, and what is read
//! is one run: parts up to the first that is missing, all of one fingerprint and of one claim. A part may get lost to a
//! full disk, and those behind it must not be taken for what follows an older run's.

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::JobId;

use super::super::{Part, Transcript};
use super::changes::Changes;

impl Changes<'_> {
    /// Only of a job that this daemon runs.
    pub(super) fn checkpoint(&self, id: JobId, part: &Part) -> Result<bool, rusqlite::Error> {
        let runs: bool = self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM job WHERE id = ?1 AND state = 'running' AND lease_epoch = ?2)",
            )?
            .query_row(params![id.0, self.epoch], |row| row.get(0))?;
        if runs {
            self.put(id, part)?;
        }
        Ok(runs)
    }

    pub(super) fn put(&self, id: JobId, part: &Part) -> Result<(), rusqlite::Error> {
        self.forget(id, part.number)?;
        self.db
            .prepare_cached(
                "INSERT INTO transcript(job_id, part, fingerprint, body, run)
                 SELECT id, ?2, ?3, ?4, runs FROM job WHERE id = ?1",
            )?
            .execute(params![id.0, part.number, part.fingerprint, part.body])?;
        Ok(())
    }

    /// Parts from this number on.
    pub(super) fn forget(&self, id: JobId, from: u32) -> Result<(), rusqlite::Error> {
        self.db
            .prepare_cached("DELETE FROM transcript WHERE job_id = ?1 AND part >= ?2")?
            .execute(params![id.0, from])?;
        Ok(())
    }
}

/// Of one job, or `None` without a first part.
pub(super) fn load(db: &Connection, id: JobId) -> Result<Option<Transcript>, rusqlite::Error> {
    let mut transcript: Option<Transcript> = None;
    let mut statement = db.prepare_cached(
        "SELECT part, fingerprint, body, run FROM transcript WHERE job_id = ?1 ORDER BY part",
    )?;
    let mut first_run = None;
    let mut rows = statement.query([id.0])?;
    while let Some(row) = rows.next()? {
        let (number, fingerprint): (u32, [u8; 32]) = (row.get(0)?, row.get(1)?);
        let run: i64 = row.get(3)?;
        let is_of_this_run = *first_run.get_or_insert(run) == run;
        let transcript = transcript.get_or_insert(Transcript {
            fingerprint,
            parts: vec![],
        });
        let follows =
            number as usize == transcript.parts.len() && fingerprint == transcript.fingerprint;
        if !follows || !is_of_this_run {
            break;
        }
        transcript.parts.push(row.get(2)?);
    }
    Ok(transcript.filter(|transcript| !transcript.parts.is_empty()))
}

/// Of the last completed job of this user with this fingerprint that has one.
pub(super) fn of_completed(
    db: &Connection,
    fingerprint: &[u8; 32],
    uid: u32,
) -> Result<Option<Transcript>, rusqlite::Error> {
    let id: Option<i64> = db
        .prepare_cached(
            "SELECT job_id FROM transcript INDEXED BY transcript_fingerprint JOIN job ON id = job_id
             WHERE part = 0 AND fingerprint = ?1 AND state = 'completed' AND uid = ?2
             ORDER BY job_id DESC LIMIT 1",
        )?
        .query_row(params![fingerprint, uid], |row| row.get(0))
        .optional()?;
    id.map_or(Ok(None), |id| load(db, JobId(id)))
}
