//! The statements behind each [`BatchChange`], and reading batches.
//!
//! Invariant: as in `changes`, every function runs inside the savepoint of its request. A batch that has ended is never
//! changed.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::job::{Endpoint, JobId, State};
use crate::queue::batch::{
    BatchId, BatchRow, BatchState, FileId, LineEnd, Lines, NewBatch, NewFile, NewLine, Refused,
    prefix_order,
};
use crate::queue::store::{Applied, BatchChange, LINES_BYTES};
use crate::queue::{Error, Limits, Page, Share};

use super::changes::{Changes, Refusal};
use super::files::file;
use super::reads;

const BATCH: &str = "SELECT id, uid, state, endpoint, input_file, completion_window, priority, metadata, \
     created_at_ms, deadline_ms, in_progress_at_ms, finalizing_at_ms, cancelling_at_ms, ended_at_ms, errors, \
     output_file, error_file, total, expanded, ended, completed, failed, prompt_tokens, completion_tokens, \
     output_kept_s, idempotency_key FROM batch";

impl Changes<'_> {
    pub(super) fn apply_batch(&self, change: &BatchChange) -> Result<Applied, Refusal> {
        match change {
            BatchChange::AddFile { file, limits } => {
                self.take_file(file, limits).map(Applied::File)
            }
            BatchChange::Spool {
                name,
                identity,
                file,
                batch,
                limits,
            } => self.spool((name, identity), file, batch, limits),
            BatchChange::SpoolDelivered(id) => self.spool_delivered(*id).map(Applied::Forgotten),
            BatchChange::RemoveFile(id) => self.remove_file(*id).map(Applied::File),
            BatchChange::Add { batch, limits } => self.add_batch(batch, limits).map(Applied::Batch),
            BatchChange::Refuse { id, errors } => {
                let sql = "UPDATE batch SET state = 'failed', ended_at_ms = ?2, errors = ?3
                           WHERE id = ?1 AND ended_at_ms IS NULL AND state <> 'cancelling'";
                self.db
                    .prepare_cached(sql)?
                    .execute(params![id.0, self.now_ms, errors])?;
                self.batch(*id).map(Applied::Batch)
            }
            BatchChange::Begin { id, total } => {
                let sql =
                    "UPDATE batch SET state = 'in_progress', in_progress_at_ms = ?2, total = ?3
                           WHERE id = ?1 AND state = 'validating'";
                self.db.prepare_cached(sql)?.execute(params![
                    id.0,
                    self.now_ms,
                    integer(*total)
                ])?;
                self.batch(*id).map(Applied::Batch)
            }
            BatchChange::Expand { id, from, lines } => {
                Ok(Applied::Expanded(self.expand(*id, *from, lines)?))
            }
            BatchChange::Cancel(id) => {
                if self.batch(*id)?.state.can_cancel() {
                    let sql = "UPDATE batch SET state = 'cancelling', cancelling_at_ms = ?2 WHERE id = ?1";
                    self.db
                        .prepare_cached(sql)?
                        .execute(params![id.0, self.now_ms])?;
                }
                self.batch(*id).map(Applied::Batch)
            }
            BatchChange::CancelJobs { id, limit } => {
                Ok(Applied::Ended(self.cancel_jobs(*id, *limit)?))
            }
            BatchChange::Finalizing(id) => {
                let sql = "UPDATE batch SET state = 'finalizing', finalizing_at_ms = ?2
                           WHERE id = ?1 AND state = 'in_progress'";
                self.db
                    .prepare_cached(sql)?
                    .execute(params![id.0, self.now_ms])?;
                self.batch(*id).map(Applied::Batch)
            }
            BatchChange::End {
                id,
                state,
                output,
                errors,
            } => self
                .end_batch(*id, *state, output.as_ref(), errors.as_ref())
                .map(Applied::Batch),
        }
    }

    /// One that a user asks for: his share and the queue's may be full.
    fn add_batch(&self, batch: &NewBatch, limits: &Limits) -> Result<BatchRow, Refusal> {
        if let Some(before) = self.asked_before(batch)? {
            return Ok(before);
        }
        self.takes_work()?;
        let input = file(self.db, batch.input_file)?.ok_or(Refusal::Answer(Error::NotFound))?;
        let more = Share {
            jobs: 1,
            bytes: input.file.bytes,
        };
        self.admit(limits, batch.uid, more)?;
        self.insert_batch(batch)
    }

    /// The batch that this user made with this key, if the request is the same.
    fn asked_before(&self, batch: &NewBatch) -> Result<Option<BatchRow>, Refusal> {
        let Some(key) = &batch.idempotency_key else {
            return Ok(None);
        };
        match batch_of_key(self.db, batch.uid, key)? {
            Some(before) if !before.batch.is_same_request(batch) => {
                Err(Refusal::Answer(Error::IdempotencyConflict))
            }
            found => Ok(found),
        }
    }

    pub(super) fn insert_batch(&self, batch: &NewBatch) -> Result<BatchRow, Refusal> {
        self.db
            .prepare_cached(
                "INSERT INTO batch(uid, state, endpoint, input_file, completion_window, priority, metadata,
                                   created_at_ms, deadline_ms, output_kept_s, idempotency_key, input_bytes)
                 VALUES (?1, 'validating', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
                         (SELECT bytes FROM file WHERE id = ?3))",
            )?
            .execute(params![
                batch.uid,
                batch.endpoint.path(),
                batch.input_file.0,
                batch.completion_window,
                batch.priority,
                batch.metadata,
                self.now_ms,
                batch.deadline_ms,
                batch.output_kept_s,
                batch.idempotency_key,
            ])?;
        self.batch(BatchId(self.db.last_insert_rowid()))
    }

    /// Makes jobs of the lines from number `from` on, if that is where the batch stands: what was asked for twice is
    /// done once.
    fn expand(
        &self,
        id: BatchId,
        from: u64,
        lines: &[NewLine],
    ) -> Result<Option<Vec<JobId>>, rusqlite::Error> {
        let advanced = self
            .db
            .prepare_cached(
                "UPDATE batch SET expanded = expanded + ?3
                 WHERE id = ?1 AND expanded = ?2 AND state = 'in_progress'",
            )?
            .execute(params![id.0, integer(from), integer(lines.len() as u64)])?;
        if advanced == 0 {
            return Ok(None);
        }
        let mut jobs = vec![];
        for index in prefix_order(lines) {
            let (line, number) = (&lines[index], from + index as u64);
            let place = (id, number, line.custom_id.as_str());
            let job = self.insert(&line.job, &[0; 32], Some(place))?;
            match &line.refused {
                None => jobs.push(job),
                Some(Refused { message, param }) => {
                    self.db
                        .prepare_cached(
                            "UPDATE job SET state = 'failed', refused = 1, error = ?2, error_param = ?3,
                                            finished_at_ms = ?4
                             WHERE id = ?1",
                        )?
                        .execute(params![job.0, message, param, self.now_ms])?;
                }
            }
        }
        Ok(Some(jobs))
    }

    fn end_batch(
        &self,
        id: BatchId,
        state: BatchState,
        output: Option<&NewFile>,
        errors: Option<&NewFile>,
    ) -> Result<BatchRow, Refusal> {
        let now = self.batch(id)?;
        let is_cancelling = now.state == BatchState::Cancelling;
        if now.state.is_terminal() || is_cancelling && state != BatchState::Cancelled {
            return Ok(now);
        }
        let add = |file: Option<&NewFile>| file.map(|file| self.add_file(file)).transpose();
        let (output, errors) = (add(output)?, add(errors)?);
        self.db
            .prepare_cached(
                "UPDATE batch SET state = ?2, ended_at_ms = ?3, output_file = ?4, error_file = ?5
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                state.as_str(),
                self.now_ms,
                output.map(|file| file.id.0),
                errors.map(|file| file.id.0),
            ])?;
        self.batch(id)
    }

    fn batch(&self, id: BatchId) -> Result<BatchRow, Refusal> {
        batch(self.db, id)?.ok_or(Refusal::Answer(Error::NotFound))
    }
}

pub(super) fn batch(db: &Connection, id: BatchId) -> Result<Option<BatchRow>, rusqlite::Error> {
    db.prepare_cached(&format!("{BATCH} WHERE id = ?1"))?
        .query_row([id.0], batch_row)
        .optional()
}

/// The one that this user made with this key.
pub(super) fn batch_of_key(
    db: &Connection,
    uid: u32,
    key: &str,
) -> Result<Option<BatchRow>, rusqlite::Error> {
    db.prepare_cached(&format!("{BATCH} WHERE uid = ?1 AND idempotency_key = ?2"))?
        .query_row(params![uid, key], batch_row)
        .optional()
}

/// Newest first.
pub(super) fn batches(db: &Connection, page: Page) -> Result<Vec<BatchRow>, rusqlite::Error> {
    db.prepare_cached(&format!(
        "{BATCH} WHERE id < ?1 AND (?2 IS NULL OR uid = ?2) ORDER BY id DESC LIMIT ?3"
    ))?
    .query_map(page_params(page), batch_row)?
    .collect()
}

/// Those that have not ended, oldest first.
pub(super) fn open_batches(db: &Connection) -> Result<Vec<BatchRow>, rusqlite::Error> {
    db.prepare_cached(&format!("{BATCH} WHERE ended_at_ms IS NULL ORDER BY id"))?
        .query_map([], batch_row)?
        .collect()
}

/// The requests of a batch from line `from` on, in their order: at most `limit`, and none behind the one with which
/// their results come to [`LINES_BYTES`].
pub(super) fn lines(
    db: &Connection,
    id: BatchId,
    from: u64,
    limit: usize,
) -> Result<Vec<LineEnd>, rusqlite::Error> {
    let mut statement = db.prepare_cached(
        "SELECT line, custom_id, id, state, body, error, refused, error_param
         FROM job INDEXED BY job_line LEFT JOIN result ON job_id = id
         WHERE batch = ?1 AND batch IS NOT NULL AND line >= ?2 ORDER BY line LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id.0, integer(from), integer(limit as u64)])?;
    let (mut page, mut bytes) = (vec![], 0);
    while bytes < LINES_BYTES
        && let Some(row) = rows.next()?
    {
        let end = LineEnd {
            line: row.get::<_, i64>(0)?.unsigned_abs(),
            custom_id: row.get(1)?,
            job: JobId(row.get(2)?),
            state: reads::word(row, 3, State::parse)?,
            result: row.get(4)?,
            error: row.get(5)?,
            refused: row.get(6)?,
            param: row.get(7)?,
        };
        bytes += end.result.as_ref().map_or(0, Vec::len);
        page.push(end);
    }
    Ok(page)
}

/// As SQLite counts.
pub(super) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn page_params(page: Page) -> (i64, Option<u32>, i64) {
    let before = page.before.unwrap_or(i64::MAX);
    let limit = integer(page.limit as u64);
    (before, page.uid, limit)
}

fn batch_row(row: &Row<'_>) -> Result<BatchRow, rusqlite::Error> {
    let count = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(BatchRow {
        id: BatchId(row.get(0)?),
        batch: NewBatch {
            uid: row.get(1)?,
            endpoint: reads::word(row, 3, Endpoint::from_path)?,
            input_file: FileId(row.get(4)?),
            completion_window: row.get(5)?,
            priority: row.get(6)?,
            metadata: row.get(7)?,
            deadline_ms: row.get(9)?,
            output_kept_s: row.get(24)?,
            idempotency_key: row.get(25)?,
        },
        state: reads::word(row, 2, BatchState::parse)?,
        created_at_ms: row.get(8)?,
        in_progress_at_ms: row.get(10)?,
        finalizing_at_ms: row.get(11)?,
        cancelling_at_ms: row.get(12)?,
        ended_at_ms: row.get(13)?,
        errors: row.get(14)?,
        output_file: row.get::<_, Option<i64>>(15)?.map(FileId),
        error_file: row.get::<_, Option<i64>>(16)?.map(FileId),
        lines: Lines {
            total: count(17)?,
            expanded: count(18)?,
            ended: count(19)?,
            completed: count(20)?,
            failed: count(21)?,
            prompt_tokens: count(22)?,
            completion_tokens: count(23)?,
        },
    })
}
