//! A job store in memory, written as plainly as possible: the oracle for the real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use woolly::job::{JobId, State};
use woolly::queue::{
    Applied, Blame, Cancelled, Change, Claimed, Completion, Error, Filter, JobReader, JobRow,
    JobStore, NewJob, Submitted,
};

/// What outlives a daemon.
#[derive(Default)]
pub(crate) struct Disk {
    jobs: BTreeMap<i64, Stored>,
    last_id: i64,
}

struct Stored {
    row: JobRow,
    job: NewJob,
}

/// A store over a shared disk; a new one over the same disk is the next daemon.
#[derive(Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) disk: Arc<Mutex<Disk>>,
}

impl JobReader for Oracle {
    fn get(&mut self, id: JobId) -> Result<JobRow, Error> {
        let disk = self.disk.lock().unwrap();
        let mut row = disk.jobs.get(&id.0).ok_or(Error::NotFound)?.row.clone();
        if row.state == State::Queued {
            let order = disk.order();
            let ahead = order.iter().position(|other| *other == id).unwrap() as u64;
            row.position = Some(ahead.min(1_001));
        }
        Ok(row)
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<JobRow>, Error> {
        let disk = self.disk.lock().unwrap();
        let fits = |row: &&JobRow| {
            filter.state.is_none_or(|state| row.state == state)
                && filter.before.is_none_or(|before| row.id < before)
                && filter.uid.is_none_or(|uid| row.uid == uid)
        };
        let rows = disk
            .jobs
            .values()
            .rev()
            .map(|stored| &stored.row)
            .filter(fits);
        Ok(rows
            .take(filter.limit)
            .map(|row| JobRow {
                result: None,
                ..row.clone()
            })
            .collect())
    }

    fn counts(&mut self) -> Result<Vec<(State, u64)>, Error> {
        let disk = self.disk.lock().unwrap();
        let count = |state| {
            disk.jobs
                .values()
                .filter(|job| job.row.state == state)
                .count() as u64
        };
        Ok(State::ALL
            .into_iter()
            .map(|state| (state, count(state)))
            .collect())
    }
}

impl JobStore for Oracle {
    fn recover(&mut self, now_ms: i64, blame: Blame) -> Result<Vec<JobId>, Error> {
        let mut disk = self.disk.lock().unwrap();
        for Stored { row, job } in disk.jobs.values_mut() {
            if row.state.is_terminal() {
                continue;
            }
            if job.attached && job.idempotency_key.is_none() {
                row.state = State::Cancelled;
                row.finished_at_ms = Some(now_ms);
            } else {
                let excused = row.state == State::Running && blame == Blame::Nobody;
                row.attempts -= u32::from(excused);
                row.state = State::Queued;
                row.started_at_ms = None;
            }
        }
        let queued = disk
            .jobs
            .values()
            .filter(|job| job.row.state == State::Queued);
        Ok(queued.map(|job| job.row.id).collect())
    }

    fn apply(
        &mut self,
        group: &[Change],
        now_ms: i64,
    ) -> Result<Vec<Result<Applied, Error>>, Error> {
        let mut disk = self.disk.lock().unwrap();
        Ok(group
            .iter()
            .map(|change| disk.apply(change, now_ms))
            .collect())
    }

    fn reader(&self) -> Result<Box<dyn JobReader>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

impl Disk {
    /// Queued jobs as they would run.
    fn order(&self) -> Vec<JobId> {
        let mut queued: Vec<_> = self
            .jobs
            .values()
            .map(|job| &job.row)
            .filter(|row| row.state == State::Queued)
            .collect();
        queued.sort_by_key(|row| (-i64::from(row.priority), row.id));
        queued.into_iter().map(|row| row.id).collect()
    }

    fn apply(&mut self, change: &Change, now_ms: i64) -> Result<Applied, Error> {
        match change {
            Change::Submit { job, max_jobs } => self.submit(job, *max_jobs).map(Applied::Submitted),
            Change::Claim => {
                let Some(id) = self.order().first().copied() else {
                    return Ok(Applied::Claimed(None));
                };
                let Stored { row, job } = self.jobs.get_mut(&id.0).unwrap();
                row.state = State::Running;
                row.started_at_ms = Some(now_ms);
                row.attempts += 1;
                Ok(Applied::Claimed(Some(Claimed {
                    id,
                    priority: job.priority,
                    endpoint: job.endpoint,
                    body: job.body.clone(),
                    seed: job.seed,
                    max_tokens: job.max_tokens,
                    created_at_ms: job.created_at_ms,
                })))
            }
            Change::Finish { id, completion } => {
                let Some(row) = self.running(*id) else {
                    return Ok(Applied::Finished(false));
                };
                row.finished_at_ms = Some(now_ms);
                match completion {
                    Completion::Completed { result, usage } => {
                        row.state = State::Completed;
                        row.result = Some(result.clone());
                        row.usage = Some(*usage);
                    }
                    Completion::Failed { error } => {
                        row.state = State::Failed;
                        row.error = Some(error.clone());
                    }
                }
                Ok(Applied::Finished(true))
            }
            Change::Requeue(ids) => {
                let mut requeued = Vec::new();
                for id in ids {
                    if let Some(row) = self.running(*id) {
                        row.state = State::Queued;
                        row.started_at_ms = None;
                        row.attempts -= 1;
                        requeued.push(*id);
                    }
                }
                Ok(Applied::Requeued(requeued))
            }
            Change::Cancel(id) => {
                let row = &mut self.jobs.get_mut(&id.0).ok_or(Error::NotFound)?.row;
                let before = row.state;
                if !before.is_terminal() {
                    row.state = State::Cancelled;
                    row.finished_at_ms = Some(now_ms);
                }
                let job = JobRow {
                    result: None,
                    ..row.clone()
                };
                Ok(Applied::Cancelled(Cancelled { job, before }))
            }
            Change::Delivered(id) => {
                let gone = self.jobs.get(&id.0).is_some_and(|Stored { row, job }| {
                    job.attached && job.idempotency_key.is_none() && row.state.is_terminal()
                });
                if gone {
                    self.jobs.remove(&id.0);
                }
                Ok(Applied::Delivered(gone))
            }
            Change::Purge { retention, .. } => {
                let before = self.jobs.len();
                self.jobs.retain(|_, Stored { row, job }| {
                    let limit = if job.attached {
                        retention.attached_before_ms
                    } else {
                        retention.detached_before_ms
                    };
                    row.finished_at_ms.is_none_or(|finished| finished >= limit)
                });
                Ok(Applied::Purged(before - self.jobs.len()))
            }
        }
    }

    fn running(&mut self, id: JobId) -> Option<&mut JobRow> {
        let row = &mut self.jobs.get_mut(&id.0)?.row;
        (row.state == State::Running).then_some(row)
    }

    fn submit(&mut self, job: &NewJob, max_jobs: u64) -> Result<Submitted, Error> {
        let same_key = |stored: &&Stored| {
            job.idempotency_key.is_some()
                && stored.job.idempotency_key == job.idempotency_key
                && stored.job.uid == job.uid
        };
        if let Some(Stored { row, job: old }) = self.jobs.values().find(same_key) {
            let request = |job: &NewJob| {
                (
                    job.endpoint,
                    job.body.clone(),
                    job.priority,
                    job.metadata.clone(),
                )
            };
            if request(old) != request(job) {
                return Err(Error::IdempotencyConflict);
            }
            let job = JobRow {
                result: None,
                ..row.clone()
            };
            return Ok(Submitted { job, existed: true });
        }
        if self
            .jobs
            .values()
            .filter(|job| !job.row.state.is_terminal())
            .count() as u64
            >= max_jobs
        {
            return Err(Error::Full { limit: max_jobs });
        }
        self.last_id += 1;
        let row = JobRow {
            id: JobId(self.last_id),
            state: State::Queued,
            endpoint: job.endpoint,
            priority: job.priority,
            seed: job.seed,
            uid: job.uid,
            attached: job.attached,
            metadata: job.metadata.clone(),
            attempts: 0,
            created_at_ms: job.created_at_ms,
            started_at_ms: None,
            finished_at_ms: None,
            usage: None,
            result: None,
            error: None,
            position: None,
        };
        self.jobs.insert(
            self.last_id,
            Stored {
                row: row.clone(),
                job: job.clone(),
            },
        );
        Ok(Submitted {
            job: row,
            existed: false,
        })
    }
}
