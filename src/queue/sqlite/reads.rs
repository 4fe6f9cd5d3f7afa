//! Reading: rows of the `job` table as [`JobRow`]s.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::job::{Endpoint, JobId, State, Usage};

use super::super::batch::{BatchId, BatchRow, FileId, FileRow, LineEnd, Spooled};
use super::super::store::JobReader;
use super::super::{Error, Filter, Flow, JobRow, Page, Share, Times, Transcript};
use super::fault::Faults;
use super::{admission, backup, batches, files, position, spool, transcripts};

/// The columns that [`job_row`] reads, in its order.
const COLUMNS: &str = "id, state, endpoint, priority, seed, uid, attached, metadata, attempts, \
     created_at_ms, started_at_ms, finished_at_ms, prompt_tokens, completion_tokens, error, \
     not_before_ms, deadline_ms, batch";

/// A connection that only reads.
pub(super) struct SqliteReader {
    pub(super) db: Connection,
    pub(super) faults: Faults,
}

impl JobReader for SqliteReader {
    fn get(&mut self, id: JobId) -> Result<JobRow, Error> {
        get(&self.db, id)
            .map_err(|e| self.faults.of(e))?
            .ok_or(Error::NotFound)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<JobRow>, Error> {
        list(&self.db, filter).map_err(|e| self.faults.of(e))
    }

    fn outline(&mut self, id: JobId) -> Result<Option<Vec<u8>>, Error> {
        outline(&self.db, id).map_err(|e| self.faults.of(e))
    }

    fn transcript(
        &mut self,
        fingerprint: &[u8; 32],
        uid: u32,
    ) -> Result<Option<Transcript>, Error> {
        transcripts::of_completed(&self.db, fingerprint, uid).map_err(|e| self.faults.of(e))
    }

    fn counts(&mut self) -> Result<Vec<(State, u64)>, Error> {
        counts(&self.db).map_err(|e| self.faults.of(e))
    }

    fn flow(&mut self) -> Result<Flow, Error> {
        flow(&self.db).map_err(|e| self.faults.of(e))
    }

    fn shares(&mut self, uid: u32) -> Result<(Share, Share), Error> {
        admission::shares(&self.db, uid).map_err(|e| self.faults.of(e))
    }

    fn copy_to(
        &mut self,
        file: &Path,
        stop: &Arc<AtomicBool>,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), Error> {
        backup::copy(&mut self.db, file, stop, keep)
    }

    fn file(&mut self, id: FileId) -> Result<FileRow, Error> {
        let found = files::file(&self.db, id).map_err(|e| self.faults.of(e))?;
        found.ok_or(Error::NotFound)
    }

    fn files(
        &mut self,
        page: Page,
        purpose: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<FileRow>, Error> {
        files::files(&self.db, page, purpose, now_ms).map_err(|e| self.faults.of(e))
    }

    fn stored_names(&mut self) -> Result<Vec<String>, Error> {
        files::stored_names(&self.db).map_err(|e| self.faults.of(e))
    }

    fn batch(&mut self, id: BatchId) -> Result<BatchRow, Error> {
        let found = batches::batch(&self.db, id).map_err(|e| self.faults.of(e))?;
        found.ok_or(Error::NotFound)
    }

    fn batches(&mut self, page: Page) -> Result<Vec<BatchRow>, Error> {
        batches::batches(&self.db, page).map_err(|e| self.faults.of(e))
    }

    fn batch_of_key(&mut self, uid: u32, key: &str) -> Result<Option<BatchRow>, Error> {
        batches::batch_of_key(&self.db, uid, key).map_err(|e| self.faults.of(e))
    }

    fn open_batches(&mut self) -> Result<Vec<BatchRow>, Error> {
        batches::open_batches(&self.db).map_err(|e| self.faults.of(e))
    }

    fn undelivered(&mut self) -> Result<Vec<Spooled>, Error> {
        spool::undelivered(&self.db).map_err(|e| self.faults.of(e))
    }

    fn lines(&mut self, id: BatchId, from: u64, limit: usize) -> Result<Vec<LineEnd>, Error> {
        batches::lines(&self.db, id, from, limit).map_err(|e| self.faults.of(e))
    }
}

pub(super) fn flow(db: &Connection) -> Result<Flow, rusqlite::Error> {
    db.prepare_cached("SELECT paused, draining FROM lease")?
        .query_row([], |row| {
            Ok(Flow {
                paused: row.get(0)?,
                draining: row.get(1)?,
            })
        })
}

/// One job without its result and position.
pub(super) fn job(db: &Connection, id: JobId) -> Result<Option<JobRow>, rusqlite::Error> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?1"))?
        .query_row([id.0], job_row)
        .optional()
}

/// The whole job, in one view of the database.
fn get(db: &Connection, id: JobId) -> Result<Option<JobRow>, rusqlite::Error> {
    let view = db.unchecked_transaction()?;
    let Some(mut row) = job(&view, id)? else {
        return Ok(None);
    };
    if row.state == State::Completed {
        row.result = view
            .prepare_cached("SELECT body FROM result WHERE job_id = ?1")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
    }
    if row.state == State::Queued {
        row.position = position::of(&view, &row, position::COUNTED)?;
    }
    Ok(Some(row))
}

fn outline(db: &Connection, id: JobId) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let found = db
        .prepare_cached("SELECT outline FROM result WHERE job_id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

fn list(db: &Connection, filter: &Filter) -> Result<Vec<JobRow>, rusqlite::Error> {
    // One text per combination, so that SQLite can choose the index.
    let index = match (filter.uid, filter.state) {
        (Some(_), None) => "INDEXED BY job_of_user",
        (Some(_), Some(_)) => "INDEXED BY job_of_user_in_state",
        (None, Some(_)) => "INDEXED BY job_state",
        (None, None) => "",
    };
    let mut sql = format!("SELECT {COLUMNS} FROM job {index} WHERE id < :before");
    if filter.state.is_some() {
        sql.push_str(" AND state = :state");
    } else {
        sql.push_str(" AND :state IS NULL");
    }
    if filter.uid.is_some() {
        sql.push_str(" AND uid = :uid");
    } else {
        sql.push_str(" AND :uid IS NULL");
    }
    sql.push_str(" ORDER BY id DESC LIMIT :limit");
    let view = db.unchecked_transaction()?;
    let mut rows: Vec<JobRow> = view
        .prepare_cached(&sql)?
        .query_map(
            named_params! {
                ":before": filter.before.map_or(i64::MAX, |id| id.0),
                ":state": filter.state.map(State::as_str),
                ":uid": filter.uid,
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            job_row,
        )?
        .collect::<Result<_, _>>()?;
    for row in rows.iter_mut().filter(|row| row.state == State::Queued) {
        row.position = position::of(&view, row, position::COUNTED_IN_LISTS)?;
    }
    Ok(rows)
}

/// Jobs in one state.
pub(super) fn count(db: &Connection, state: State) -> Result<u64, rusqlite::Error> {
    db.prepare_cached("SELECT jobs FROM tally WHERE state = ?1")?
        .query_row([state.as_str()], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}

/// Jobs by state, in the order of [`State::ALL`].
pub(super) fn counts(db: &Connection) -> Result<Vec<(State, u64)>, rusqlite::Error> {
    let tally: Vec<(String, i64)> = db
        .prepare_cached("SELECT state, jobs FROM tally")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let jobs = |state: State| {
        tally
            .iter()
            .find(|(name, _)| name == state.as_str())
            .map_or(0, |(_, n)| n.unsigned_abs())
    };
    Ok(State::ALL
        .into_iter()
        .map(|state| (state, jobs(state)))
        .collect())
}

fn job_row(row: &Row<'_>) -> Result<JobRow, rusqlite::Error> {
    let usage = match (
        row.get::<_, Option<i64>>(12)?,
        row.get::<_, Option<i64>>(13)?,
    ) {
        (Some(prompt), Some(completion)) => {
            Some(Usage::new(prompt.unsigned_abs(), completion.unsigned_abs()))
        }
        _ => None,
    };
    Ok(JobRow {
        id: JobId(row.get(0)?),
        state: word(row, 1, State::parse)?,
        endpoint: word(row, 2, Endpoint::from_path)?,
        priority: row.get(3)?,
        seed: row.get::<_, i64>(4)?.cast_unsigned(),
        uid: row.get(5)?,
        attached: row.get(6)?,
        metadata: row.get(7)?,
        attempts: row.get(8)?,
        created_at_ms: row.get(9)?,
        started_at_ms: row.get(10)?,
        finished_at_ms: row.get(11)?,
        usage,
        result: None,
        error: row.get(14)?,
        times: Times {
            not_before_ms: row.get(15)?,
            deadline_ms: row.get(16)?,
        },
        position: None,
        batch: row.get::<_, Option<i64>>(17)?.map(BatchId),
    })
}

/// A column that holds one of a fixed set of words.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, rusqlite::Error> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let problem = format!("unknown word {text:?}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
    })
}
