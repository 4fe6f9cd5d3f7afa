//! How many jobs run before a queued one.
//!
//! Counting a million rows takes seconds, so it is done from the nearer end of the queue, and not without end.

use rusqlite::{Connection, params};

use crate::job::State;
use crate::queue::JobRow;

use super::reads::count;

/// Jobs that are counted before the one that somebody asks for, before an estimate takes the place of counting: 5 ms.
pub(super) const COUNTED: u64 = 50_000;
/// The same for each of many jobs, and from the far end: 0.1 ms.
pub(super) const COUNTED_IN_LISTS: u64 = 1_000;

/// Queued jobs before this one, unless it waits for its time. Behind `most` of them all queued jobs stand for those
/// before it.
pub(super) fn of(db: &Connection, job: &JobRow, most: u64) -> Result<Option<u64>, rusqlite::Error> {
    let delayed: bool = db
        .prepare_cached("SELECT delayed FROM job WHERE id = ?1")?
        .query_row([job.id.0], |row| row.get(0))?;
    if delayed {
        return Ok(None);
    }
    let queued = count(db, State::Queued)?;
    // A new job stands at the end of a long queue.
    if queued > COUNTED_IN_LISTS
        && let Some(others) = behind(db, job)?
    {
        return Ok(Some(queued.saturating_sub(1 + others)));
    }
    let before = ahead(db, job, most)?;
    Ok(Some(match before <= most {
        true => before,
        false => queued.max(most + 2) - 1,
    }))
}

/// Two ranges of one index, each read no further than needed.
fn ahead(db: &Connection, job: &JobRow, most: u64) -> Result<u64, rusqlite::Error> {
    db.prepare_cached(
        "SELECT
           (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_ready
             WHERE state = 'queued' AND delayed = 0 AND priority > ?1 LIMIT ?3))
         + (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_ready
             WHERE state = 'queued' AND delayed = 0 AND priority = ?1 AND id < ?2 LIMIT ?3))",
    )?
    .query_row(params![job.priority, job.id.0, limit(most)], number)
}

/// Queued jobs that do not run before this one: those behind it, and those that wait for their time. `None`: they are
/// many.
fn behind(db: &Connection, job: &JobRow) -> Result<Option<u64>, rusqlite::Error> {
    let most = COUNTED_IN_LISTS;
    let found = db
        .prepare_cached(
            "SELECT
               (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_ready
                 WHERE state = 'queued' AND delayed = 0 AND priority < ?1 LIMIT ?3))
             + (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_ready
                 WHERE state = 'queued' AND delayed = 0 AND priority = ?1 AND id > ?2 LIMIT ?3))
             + (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_delayed
                 WHERE state = 'queued' AND delayed = 1 AND retry_at_ms IS NULL LIMIT ?3))
             + (SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_retry
                 WHERE state = 'queued' AND retry_at_ms IS NOT NULL LIMIT ?3))",
        )?
        .query_row(params![job.priority, job.id.0, limit(most)], number)?;
    Ok(Some(found).filter(|found| *found <= most))
}

/// One more tells that there are more.
fn limit(most: u64) -> i64 {
    i64::try_from(most + 1).unwrap_or(i64::MAX)
}

fn number(row: &rusqlite::Row<'_>) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}
