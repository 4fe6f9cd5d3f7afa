//! Taking jobs in: found again, refused, or inserted.

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::{JobId, State};
use crate::queue::batch::BatchId;
use crate::queue::limits::{Limits, Share};
use crate::queue::store::Admission;
use crate::queue::{Error, JobRow, NewJob, Submitted, state};

use super::changes::{Changes, Refusal};
use super::{position, reads};

impl Changes<'_> {
    pub(super) fn submit(&self, job: &NewJob, admission: &Admission) -> Result<Submitted, Refusal> {
        if let Some(known) = self.find_submitted(job)? {
            return Ok(Submitted {
                job: known,
                existed: true,
            });
        }
        self.takes_work()?;
        let more = Share {
            jobs: 1,
            bytes: job.body.len() as u64,
        };
        self.admit(&admission.limits, job.uid, more)?;
        let id = self.insert(job, &request_hash(job), None)?;
        let row = self.job(id)?;
        if job.refuse_late
            && let Some(deadline_ms) = job.times.deadline_ms
        {
            let late_ms = self
                .soonest_end(job, &row, admission)?
                .saturating_sub(deadline_ms);
            if late_ms > 0 {
                let late_s = late_ms.unsigned_abs().div_ceil(1_000);
                return Err(Refusal::Answer(Error::TooLate { late_s }));
            }
        }
        Ok(Submitted {
            job: row,
            existed: false,
        })
    }

    /// By the pace, and before there is one: at once, when its time has come.
    fn soonest_end(
        &self,
        job: &NewJob,
        row: &JobRow,
        admission: &Admission,
    ) -> Result<i64, rusqlite::Error> {
        let Some(pace) = admission.pace else {
            return Ok(self
                .now_ms
                .max(job.times.not_before_ms.unwrap_or(self.now_ms)));
        };
        let ahead = position::of(self.db, row, position::COUNTED)?.unwrap_or(0);
        let running = reads::count(self.db, State::Running)?;
        Ok(pace
            .of_waiting(ahead, running, job.times, self.now_ms)
            .finish_ms)
    }

    pub(super) fn takes_work(&self) -> Result<(), Refusal> {
        match reads::flow(self.db)?.draining {
            true => Err(Refusal::Answer(Error::Draining)),
            false => Ok(()),
        }
    }

    /// Refuses what would pass a limit.
    pub(super) fn admit(&self, limits: &Limits, uid: u32, more: Share) -> Result<(), Refusal> {
        let (all, of_user) = shares(self.db, uid)?;
        limits.admit(all, of_user, more).map_err(Refusal::Answer)
    }

    /// A queued job, perhaps a request of a batch.
    pub(super) fn insert(
        &self,
        job: &NewJob,
        hash: &[u8; 32],
        line: Option<(BatchId, u64, &str)>,
    ) -> Result<JobId, rusqlite::Error> {
        self.db
            .prepare_cached(
                "INSERT INTO job(state, endpoint, priority, seed, max_tokens, uid, attached,
                                 idempotency_key, request_blake3, metadata, created_at_ms,
                                 not_before_ms, deadline_ms, delayed, bytes, batch, line, custom_id)
                 VALUES ('queued', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?
            .execute(params![
                job.endpoint.path(),
                job.priority,
                job.seed.cast_signed(),
                job.max_tokens,
                job.uid,
                job.dies_with_its_connection(),
                job.idempotency_key,
                hash,
                job.metadata,
                job.created_at_ms,
                job.times.not_before_ms,
                job.times.deadline_ms,
                job.times
                    .not_before_ms
                    .is_some_and(|time| time > self.now_ms),
                i64::try_from(job.body.len()).unwrap_or(i64::MAX),
                line.map(|(batch, ..)| batch.0),
                line.map(|(_, number, _)| number.cast_signed()),
                line.map(|(.., custom_id)| custom_id),
            ])?;
        let id = JobId(self.db.last_insert_rowid());
        self.db
            .prepare_cached("INSERT INTO request(job_id, body) VALUES (?1, ?2)")?
            .execute(params![id.0, job.body])?;
        Ok(id)
    }

    pub(super) fn find_submitted(&self, job: &NewJob) -> Result<Option<JobRow>, Refusal> {
        let Some(key) = &job.idempotency_key else {
            return Ok(None);
        };
        let found = self
            .db
            .prepare_cached(
                "SELECT id, request_blake3 FROM job WHERE uid = ?1 AND idempotency_key = ?2",
            )?
            .query_row(params![job.uid, key], |row| {
                Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)?))
            })
            .optional()?;
        let Some((id, stored)) = found else {
            return Ok(None);
        };
        if stored != request_hash(job) {
            return Err(Refusal::Answer(Error::IdempotencyConflict));
        }
        // Only in older files a job with a key may be attached.
        if !job.attached {
            self.db
                .prepare_cached("UPDATE job SET attached = 0 WHERE id = ?1 AND attached = 1")?
                .execute([id])?;
        }
        Ok(Some(self.job(JobId(id))?))
    }
}

fn request_hash(job: &NewJob) -> [u8; 32] {
    state::request_hash(
        job.endpoint,
        &job.body,
        job.priority,
        job.metadata.as_deref(),
        job.times,
    )
}

/// What all have in the queue, and what this user has.
pub(super) fn shares(db: &Connection, uid: u32) -> Result<(Share, Share), rusqlite::Error> {
    let share = |row: &rusqlite::Row<'_>| {
        Ok(Share {
            jobs: row.get::<_, i64>(0)?.unsigned_abs(),
            bytes: row.get::<_, i64>(1)?.unsigned_abs(),
        })
    };
    let all = db
        .prepare_cached("SELECT coalesce(sum(jobs), 0), coalesce(sum(bytes), 0) FROM share")?
        .query_row([], share)?;
    let of_user = db
        .prepare_cached("SELECT jobs, bytes FROM share WHERE uid = ?1")?
        .query_row([uid], share)
        .optional()?
        .unwrap_or_default();
    Ok((all, of_user))
}
