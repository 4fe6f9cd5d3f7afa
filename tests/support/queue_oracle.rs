//! A job store in memory, written as plainly as possible: the oracle for the real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use woolly::job::{JobId, State};
use woolly::queue::batch::{BatchId, BatchRow, FileId, FileRow, LineEnd, Spooled};
use woolly::queue::{
    Admission, Applied, Blame, Cancelled, Change, Claimed, Completion, Error, Filter, Finished,
    Flow, JobReader, JobRow, JobStore, Limits, NewJob, Page, Part, Purged, Retention, Share,
    Submitted, Swept, Transcript, Woken, state,
};

use super::queue_oracle_batches::Line;

/// What outlives a daemon.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) jobs: BTreeMap<i64, Stored>,
    last_id: i64,
    pub(crate) flow: Flow,
    /// By job, with the run in which each began.
    transcripts: BTreeMap<i64, (u64, Transcript)>,
    /// By job, also by those that are gone: their numbers never come back.
    outlines: BTreeMap<i64, Vec<u8>>,
    pub(crate) files: BTreeMap<i64, FileRow>,
    pub(crate) last_file: i64,
    pub(crate) batches: BTreeMap<i64, BatchRow>,
    pub(crate) last_batch: i64,
    /// By job.
    pub(crate) lines: BTreeMap<i64, Line>,
    /// Identity, what is spooled, and whether its results were delivered.
    pub(crate) spooled: Vec<(String, String, BatchId, bool)>,
}

pub(crate) struct Stored {
    pub(crate) row: JobRow,
    job: NewJob,
    /// Waits for its time.
    delayed: bool,
    /// Waits until then to be tried again.
    retry_at_ms: Option<i64>,
    faults: u32,
    crashes: u32,
    solo_crashes: u32,
    /// Runs alone.
    alone: bool,
    /// How often it was claimed.
    runs: u64,
}

/// A store over a shared disk; a new one over the same disk is the next daemon.
#[derive(Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) disk: Arc<Mutex<Disk>>,
}

impl JobReader for Oracle {
    fn get(&mut self, id: JobId) -> Result<JobRow, Error> {
        let disk = self.disk.lock().unwrap();
        let row = &disk.jobs.get(&id.0).ok_or(Error::NotFound)?.row;
        Ok(disk.with_position(row))
    }

    fn outline(&mut self, id: JobId) -> Result<Option<Vec<u8>>, Error> {
        let disk = self.disk.lock().unwrap();
        let outline = disk.outlines.get(&id.0).cloned();
        Ok(outline.filter(|_| disk.jobs.contains_key(&id.0)))
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
                ..disk.with_position(row)
            })
            .collect())
    }

    fn counts(&mut self) -> Result<Vec<(State, u64)>, Error> {
        let disk = self.disk.lock().unwrap();
        Ok(State::ALL
            .into_iter()
            .map(|state| (state, disk.count(state) as u64))
            .collect())
    }

    fn transcript(
        &mut self,
        fingerprint: &[u8; 32],
        uid: u32,
    ) -> Result<Option<Transcript>, Error> {
        let disk = self.disk.lock().unwrap();
        let fits = |(id, (_, transcript)): &(&i64, &(u64, Transcript))| {
            let row = &disk.jobs[id].row;
            transcript.fingerprint == *fingerprint
                && row.uid == uid
                && row.state == State::Completed
        };
        let found = disk.transcripts.iter().rev().find(fits);
        Ok(found.map(|(_, (_, transcript))| transcript.clone()))
    }

    fn flow(&mut self) -> Result<Flow, Error> {
        Ok(self.disk.lock().unwrap().flow)
    }

    fn shares(&mut self, uid: u32) -> Result<(Share, Share), Error> {
        let disk = self.disk.lock().unwrap();
        Ok((disk.share(None), disk.share(Some(uid))))
    }

    fn copy_to(
        &mut self,
        file: &std::path::Path,
        _stop: &std::sync::Arc<std::sync::atomic::AtomicBool>,
        _keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), Error> {
        Err(Error::File {
            path: file.display().to_string(),
            problem: "this store has no file to copy".to_owned(),
        })
    }

    fn file(&mut self, id: FileId) -> Result<FileRow, Error> {
        let disk = self.disk.lock().unwrap();
        disk.files.get(&id.0).cloned().ok_or(Error::NotFound)
    }

    fn files(
        &mut self,
        page: Page,
        purpose: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<FileRow>, Error> {
        Ok(self.disk.lock().unwrap().files(page, purpose, now_ms))
    }

    fn stored_names(&mut self) -> Result<Vec<String>, Error> {
        let disk = self.disk.lock().unwrap();
        let names = disk.files.values().map(|row| row.file.stored_as.clone());
        Ok(names.collect())
    }

    fn batch(&mut self, id: BatchId) -> Result<BatchRow, Error> {
        self.disk.lock().unwrap().batch(id)
    }

    fn batches(&mut self, page: Page) -> Result<Vec<BatchRow>, Error> {
        Ok(self.disk.lock().unwrap().batches(page))
    }

    fn batch_of_key(&mut self, uid: u32, key: &str) -> Result<Option<BatchRow>, Error> {
        self.disk.lock().unwrap().batch_of_key(uid, key)
    }

    fn open_batches(&mut self) -> Result<Vec<BatchRow>, Error> {
        Ok(self.disk.lock().unwrap().open_batches())
    }

    fn undelivered(&mut self) -> Result<Vec<Spooled>, Error> {
        let disk = self.disk.lock().unwrap();
        let waits = disk.spooled.iter().filter(|(.., delivered)| !delivered);
        waits
            .map(|(identity, name, id, _)| {
                Ok(Spooled {
                    name: name.clone(),
                    identity: identity.clone(),
                    batch: disk.batch(*id)?,
                })
            })
            .collect()
    }

    fn lines(&mut self, id: BatchId, from: u64, limit: usize) -> Result<Vec<LineEnd>, Error> {
        Ok(self.disk.lock().unwrap().lines(id, from, limit))
    }
}

impl JobStore for Oracle {
    fn recover(
        &mut self,
        now_ms: i64,
        blame: Blame,
        poison_limit: u32,
    ) -> Result<Vec<JobId>, Error> {
        let mut disk = self.disk.lock().unwrap();
        for stored in disk.jobs.values_mut() {
            let counts = blame == Blame::RunningJobs && poison_limit > 0;
            if stored.row.state == State::Running && counts {
                stored.crashes += 1;
                stored.solo_crashes += u32::from(stored.alone);
                if state::is_poison(stored.solo_crashes, poison_limit) {
                    stored.row.state = State::Failed;
                    stored.row.error = Some(state::poison_sentence(stored.solo_crashes));
                    stored.row.finished_at_ms = Some(now_ms);
                }
            }
            let Stored { row, job, .. } = stored;
            if row.state.is_terminal() {
                continue;
            }
            if job.attached {
                row.state = State::Cancelled;
                row.finished_at_ms = Some(now_ms);
            } else {
                let excused = row.state == State::Running && blame == Blame::Nobody;
                row.attempts -= u32::from(excused);
                row.state = State::Queued;
                row.started_at_ms = None;
            }
        }
        disk.forget_ended();
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
            .map(|change| {
                let applied = disk.apply(change, now_ms);
                disk.forget_ended();
                applied
            })
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
    fn count(&self, state: State) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| job.row.state == state).count()
    }

    /// Transcripts of unfinished jobs and of completed ones remain.
    fn forget_ended(&mut self) {
        self.transcripts.retain(|id, _| {
            self.jobs.get(id).is_some_and(|job| {
                !job.row.state.is_terminal() || job.row.state == State::Completed
            })
        });
    }

    /// A part takes the place of those with its number and higher ones; one that follows nothing of its run is never
    /// read.
    fn put(&mut self, id: JobId, part: &Part) {
        let now = self.jobs[&id.0].runs;
        let (run, transcript) = self.transcripts.entry(id.0).or_insert((
            now,
            Transcript {
                fingerprint: part.fingerprint,
                parts: vec![],
            },
        ));
        if part.number == 0 {
            (*run, transcript.fingerprint) = (now, part.fingerprint);
        }
        transcript.parts.truncate(part.number as usize);
        let follows = transcript.parts.len() == part.number as usize && *run == now;
        if follows && transcript.fingerprint == part.fingerprint {
            transcript.parts.push(part.body.clone());
        }
        if transcript.parts.is_empty() {
            self.transcripts.remove(&id.0);
        }
    }

    /// Unfinished jobs that are no requests of batches, and open batches; the bytes of their requests, of all files, and of
    /// the inputs of open batches once more.
    fn share(&self, uid: Option<u32>) -> Share {
        let is_of = |owner: u32| uid.is_none_or(|uid| uid == owner);
        let jobs: Vec<_> = self
            .unfinished()
            .filter(|job| is_of(job.row.uid) && !self.lines.contains_key(&job.row.id.0))
            .collect();
        let files = self.files.values().filter(|row| is_of(row.file.uid));
        let open = self.open_share(uid);
        Share {
            jobs: jobs.len() as u64 + open.jobs,
            bytes: jobs
                .iter()
                .map(|job| job.job.body.len() as u64)
                .sum::<u64>()
                + files.map(|row| row.file.bytes).sum::<u64>()
                + open.bytes,
        }
    }

    pub(crate) fn admit(&self, limits: &Limits, uid: u32, more: Share) -> Result<(), Error> {
        limits.admit(self.share(None), self.share(Some(uid)), more)
    }

    fn with_position(&self, row: &JobRow) -> JobRow {
        let order = self.order(i64::MIN);
        let ahead = order.iter().position(|other| *other == row.id);
        JobRow {
            position: ahead.map(|ahead| ahead as u64),
            ..row.clone()
        }
    }

    /// Queued jobs as they would run.
    /// Without those that wait for their time, and those whose deadline has passed at `now_ms`.
    fn order(&self, now_ms: i64) -> Vec<JobId> {
        let mut queued: Vec<_> = self
            .jobs
            .values()
            .filter(|job| !job.delayed)
            .map(|job| &job.row)
            .filter(|row| row.state == State::Queued)
            .filter(|row| row.times.deadline_ms.is_none_or(|time| time > now_ms))
            .collect();
        queued.sort_by_key(|row| (-i64::from(row.priority), row.id));
        queued.into_iter().map(|row| row.id).collect()
    }

    fn apply(&mut self, change: &Change, now_ms: i64) -> Result<Applied, Error> {
        match change {
            Change::Submit { job, admission } => {
                self.submit(job, admission, now_ms).map(Applied::Submitted)
            }
            Change::FindSubmitted(job) => self.find_submitted(job).map(Applied::Found),
            Change::Checkpoint { id, part } => {
                let runs = self.running(*id).is_some();
                if runs {
                    self.put(*id, part);
                }
                Ok(Applied::Checkpointed(runs))
            }
            Change::Claim => {
                self.release(now_ms);
                if self.flow.paused {
                    return Ok(Applied::Claimed(None));
                }
                let Some(id) = self.order(now_ms).first().copied() else {
                    return Ok(Applied::Claimed(None));
                };
                let runs = |job: &&Stored| job.row.state == State::Running;
                let running = self.jobs.values().filter(runs).count();
                let guarded = self.jobs.values().filter(runs).any(|job| job.alone);
                let Stored {
                    row,
                    job,
                    crashes,
                    faults,
                    alone,
                    runs,
                    ..
                } = self.jobs.get_mut(&id.0).unwrap();
                let suspect = state::is_suspect(*crashes, *faults);
                if guarded || suspect && running > 0 {
                    return Ok(Applied::Claimed(None));
                }
                *alone = suspect;
                *runs += 1;
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
                    uid: job.uid,
                    dies_with_its_connection: job.attached,
                    transcript: self.transcripts.get(&id.0).map(|(_, kept)| kept.clone()),
                })))
            }
            Change::Finish { id, completion } => {
                if self.running(*id).is_none() {
                    return Ok(Applied::Finished(Finished::TooLate));
                }
                let stored = self.jobs.get_mut(&id.0).unwrap();
                let row = &mut stored.row;
                if row.times.deadline_ms.is_some_and(|time| time <= now_ms) {
                    row.state = State::Expired;
                    row.finished_at_ms = Some(now_ms);
                    return Ok(Applied::Finished(Finished::Expired));
                }
                if let Completion::Faulted { .. } = completion
                    && let Some(at_ms) = state::retry_at(now_ms, stored.faults + 1)
                {
                    row.state = State::Queued;
                    row.started_at_ms = None;
                    stored.faults += 1;
                    stored.retry_at_ms = Some(at_ms);
                    stored.delayed = true;
                    self.transcripts.remove(&id.0);
                    return Ok(Applied::Finished(Finished::Retried { at_ms }));
                }
                row.finished_at_ms = Some(now_ms);
                match completion {
                    Completion::Completed {
                        result,
                        usage,
                        outline,
                        keep,
                    } => {
                        row.state = State::Completed;
                        row.result = Some(result.clone());
                        row.usage = Some(*usage);
                        if keep.is_some() {
                            row.attached = false;
                            stored.job.attached = false;
                        }
                        self.outlines.insert(id.0, outline.clone());
                        self.transcripts.remove(&id.0);
                        if let Some(part) = keep {
                            self.put(*id, part);
                        }
                    }
                    Completion::Failed { error, .. } | Completion::Faulted { error } => {
                        row.state = State::Failed;
                        row.error = Some(error.clone());
                    }
                }
                Ok(Applied::Finished(Finished::Published))
            }
            Change::SetFlow(change) => {
                self.flow = self.flow.after(*change);
                Ok(Applied::Flow(self.flow))
            }
            Change::Batch(change) => self.apply_batch(change, now_ms),
            Change::Wake { limit } => {
                self.release(now_ms);
                let mut due: Vec<(i64, JobId)> = self
                    .unfinished()
                    .filter_map(|job| Some((job.row.times.deadline_ms?, job.row.id)))
                    .filter(|(time, _)| *time <= now_ms)
                    .collect();
                due.sort_unstable();
                let mut expired = vec![];
                for (_, id) in due.into_iter().take(*limit) {
                    let row = &mut self.jobs.get_mut(&id.0).unwrap().row;
                    expired.push((id, row.state));
                    row.state = State::Expired;
                    row.finished_at_ms = Some(now_ms);
                }
                let deadlines = self
                    .unfinished()
                    .filter_map(|job| job.row.times.deadline_ms);
                let times = self
                    .unfinished()
                    .filter(|job| job.row.state == State::Queued && job.delayed)
                    .filter_map(|job| job.retry_at_ms.or(job.row.times.not_before_ms));
                let next_ms = deadlines.chain(times).min();
                Ok(Applied::Woken(Woken { expired, next_ms }))
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
                if self
                    .jobs
                    .get(&id.0)
                    .is_some_and(|job| !job.row.state.is_terminal())
                {
                    self.note_cancelled(id.0);
                }
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
            Change::CancelOpen { before, uid, limit } => {
                let open: Vec<(JobId, State)> = self
                    .unfinished()
                    .map(|job| &job.row)
                    .filter(|row| before.is_none_or(|before| row.id < before))
                    .filter(|row| uid.is_none_or(|uid| row.uid == uid))
                    .map(|row| (row.id, row.state))
                    .collect();
                let mut newest: Vec<_> = open.into_iter().rev().take(*limit).collect();
                let last = newest.last().map(|(id, _)| *id);
                let rest_before = last.filter(|_| newest.len() == *limit);
                newest.retain(|(id, _)| !self.lines.contains_key(&id.0));
                for (job, _) in &newest {
                    let row = &mut self.jobs.get_mut(&job.0).unwrap().row;
                    row.state = State::Cancelled;
                    row.finished_at_ms = Some(now_ms);
                }
                Ok(Applied::Swept(Swept {
                    ended: newest,
                    rest_before,
                }))
            }
            Change::Delivered(id) => {
                let gone = self
                    .jobs
                    .get(&id.0)
                    .is_some_and(|Stored { row, job, .. }| job.attached && row.state.is_terminal());
                if gone {
                    self.jobs.remove(&id.0);
                }
                Ok(Applied::Delivered(gone))
            }
            Change::Purge { retention, .. } => {
                let doomed: Vec<i64> = self
                    .jobs
                    .keys()
                    .copied()
                    .filter(|id| self.may_purge(*id) && self.is_old(*id, retention))
                    .collect();
                for id in &doomed {
                    self.keep_count(*id);
                    self.jobs.remove(id);
                    self.lines.remove(id);
                }
                let files = self.purge_files(now_ms);
                let jobs = doomed.len();
                let next_ms = self.next_purge_ms(retention, now_ms);
                Ok(Applied::Purged(Purged {
                    jobs,
                    files,
                    next_ms,
                }))
            }
        }
    }

    /// When the time of the oldest job or file is over.
    fn next_purge_ms(&self, retention: &Retention, now_ms: i64) -> Option<i64> {
        let Retention {
            attached_before_ms,
            detached_before_ms,
        } = retention;
        let jobs = self.jobs.values().filter_map(|Stored { row, job, .. }| {
            let before_ms = if job.attached {
                attached_before_ms
            } else {
                detached_before_ms
            };
            Some(row.finished_at_ms? + (now_ms - before_ms))
        });
        let files = self.files.values().filter_map(|row| row.expires_at_ms());
        jobs.chain(files).min()
    }

    fn is_old(&self, id: i64, retention: &Retention) -> bool {
        let Stored { row, job, .. } = &self.jobs[&id];
        let before_ms = match job.attached {
            true => retention.attached_before_ms,
            false => retention.detached_before_ms,
        };
        row.finished_at_ms
            .is_some_and(|finished| finished < before_ms)
    }

    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Stored> {
        self.jobs
            .values()
            .filter(|job| !job.row.state.is_terminal())
    }

    fn release(&mut self, now_ms: i64) {
        for job in self.jobs.values_mut() {
            let own_time = job.row.times.not_before_ms;
            let due = match job.retry_at_ms {
                Some(time) => !state::pauses_until(now_ms).contains(&time),
                None => own_time.is_none_or(|time| time <= now_ms),
            };
            if job.row.state == State::Queued && due {
                job.delayed = false;
                job.retry_at_ms = None;
            }
        }
    }

    fn running(&mut self, id: JobId) -> Option<&mut JobRow> {
        let row = &mut self.jobs.get_mut(&id.0)?.row;
        (row.state == State::Running).then_some(row)
    }

    fn find_submitted(&self, job: &NewJob) -> Result<Option<JobRow>, Error> {
        let same_key = |stored: &&Stored| {
            job.idempotency_key.is_some()
                && stored.job.idempotency_key == job.idempotency_key
                && stored.job.uid == job.uid
        };
        let Some(Stored { row, job: old, .. }) = self.jobs.values().find(same_key) else {
            return Ok(None);
        };
        let request = |job: &NewJob| {
            (
                job.endpoint,
                job.body.clone(),
                job.priority,
                job.metadata.clone(),
                job.times,
            )
        };
        if request(old) != request(job) {
            return Err(Error::IdempotencyConflict);
        }
        Ok(Some(JobRow {
            result: None,
            ..row.clone()
        }))
    }

    fn submit(
        &mut self,
        job: &NewJob,
        admission: &Admission,
        now_ms: i64,
    ) -> Result<Submitted, Error> {
        if let Some(job) = self.find_submitted(job)? {
            return Ok(Submitted { job, existed: true });
        }
        if self.flow.draining {
            return Err(Error::Draining);
        }
        let more = Share {
            jobs: 1,
            bytes: job.body.len() as u64,
        };
        self.admit(&admission.limits, job.uid, more)?;
        if let (true, Some(deadline_ms)) = (job.refuse_late, job.times.deadline_ms) {
            let delayed = job.times.not_before_ms.is_some_and(|time| time > now_ms);
            let queued = self.jobs.values().filter(|other| {
                other.row.state == State::Queued
                    && !other.delayed
                    && other.row.priority >= job.priority
            });
            let ahead = if delayed { 0 } else { queued.count() as u64 };
            let running = self.count(State::Running) as u64;
            let begins_ms = now_ms.max(job.times.not_before_ms.unwrap_or(now_ms));
            let finish_ms = admission.pace.map_or(begins_ms, |pace| {
                pace.of_waiting(ahead, running, job.times, now_ms).finish_ms
            });
            if finish_ms > deadline_ms {
                let late_s = finish_ms
                    .saturating_sub(deadline_ms)
                    .unsigned_abs()
                    .div_ceil(1_000);
                return Err(Error::TooLate { late_s });
            }
        }
        Ok(Submitted {
            job: self.insert(job, now_ms, None),
            existed: false,
        })
    }

    pub(crate) fn insert(&mut self, job: &NewJob, now_ms: i64, batch: Option<BatchId>) -> JobRow {
        self.last_id += 1;
        let mut job = job.clone();
        job.attached &= job.idempotency_key.is_none();
        let row = JobRow {
            id: JobId(self.last_id),
            state: State::Queued,
            endpoint: job.endpoint,
            priority: job.priority,
            seed: job.seed,
            uid: job.uid,
            attached: job.attached,
            metadata: job.metadata.clone(),
            times: job.times,
            attempts: 0,
            created_at_ms: job.created_at_ms,
            started_at_ms: None,
            finished_at_ms: None,
            usage: None,
            result: None,
            error: None,
            position: None,
            batch,
        };
        self.jobs.insert(
            self.last_id,
            Stored {
                row: row.clone(),
                delayed: job.times.not_before_ms.is_some_and(|time| time > now_ms),
                job,
                retry_at_ms: None,
                faults: 0,
                crashes: 0,
                solo_crashes: 0,
                alone: false,
                runs: 0,
            },
        );
        row
    }
}
