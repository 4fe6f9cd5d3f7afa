//! Files and batches of the oracle.

use woolly::job::{JobId, State};
use woolly::queue::batch::{
    BatchId, BatchRow, BatchState, FileId, FileRow, LineEnd, Lines, NewBatch, NewFile, NewLine,
    Refused, prefix_order,
};
use woolly::queue::{Applied, BatchChange, Error, JobRow, LINES_BYTES, Limits, Page, Share};

use super::queue_oracle::Disk;

/// A request of a batch that became a job.
pub(crate) struct Line {
    pub(crate) batch: i64,
    pub(crate) line: u64,
    pub(crate) custom_id: String,
    pub(crate) refused: bool,
    pub(crate) param: Option<String>,
    /// Cancelled by itself: it counts as one that failed.
    pub(crate) cancelled_alone: bool,
}

impl Disk {
    pub(crate) fn apply_batch(
        &mut self,
        change: &BatchChange,
        now_ms: i64,
    ) -> Result<Applied, Error> {
        match change {
            BatchChange::AddFile { file, limits } => {
                self.take_file(file, limits, now_ms).map(Applied::File)
            }
            BatchChange::Spool {
                name,
                identity,
                file,
                batch,
                limits,
            } => {
                let is_under_way =
                    |known: &&(String, String, BatchId, bool)| known.0 == *identity && !known.3;
                if let Some((.., id, _)) = self.spooled.iter().find(is_under_way) {
                    let (batch, existed) = (self.batch(*id)?, true);
                    return Ok(Applied::Spooled { batch, existed });
                }
                if self.flow.draining {
                    return Err(Error::Draining);
                }
                let more = Share {
                    jobs: 1,
                    bytes: 2 * file.bytes,
                };
                self.admit(limits, file.uid, more)?;
                let input_file = self.add_file(file, now_ms).id;
                let batch = NewBatch {
                    input_file,
                    ..batch.clone()
                };
                let batch = self.insert_batch(&batch, now_ms);
                self.spooled.retain(|known| known.0 != *identity);
                self.spooled
                    .push((identity.clone(), name.clone(), batch.id, false));
                let existed = false;
                Ok(Applied::Spooled { batch, existed })
            }
            BatchChange::SpoolDelivered(id) => {
                let row = self.batch(*id)?;
                let mut spooled = self.spooled.iter_mut();
                let Some((.., delivered)) = spooled.find(|(.., of, done)| of == id && !*done)
                else {
                    return Ok(Applied::Forgotten(vec![]));
                };
                *delivered = true;
                let files = [Some(row.batch.input_file), row.output_file, row.error_file];
                let removed = files.into_iter().flatten().filter_map(|file| {
                    match self.apply_batch(&BatchChange::RemoveFile(file), now_ms) {
                        Ok(Applied::File(row)) => Some(row.file.stored_as),
                        _ => None,
                    }
                });
                Ok(Applied::Forgotten(removed.collect()))
            }
            BatchChange::RemoveFile(id) => {
                let wanted =
                    |batch: &BatchRow| batch.ended_at_ms.is_none() && batch.batch.input_file == *id;
                if !self.files.contains_key(&id.0) {
                    return Err(Error::NotFound);
                }
                if self.batches.values().any(wanted) {
                    return Err(Error::FileInUse);
                }
                Ok(Applied::File(self.files.remove(&id.0).unwrap()))
            }
            BatchChange::Add { batch, limits } => {
                self.add_batch(batch, limits, now_ms).map(Applied::Batch)
            }
            BatchChange::Refuse { id, errors } => self.change(*id, |batch| {
                if batch.ended_at_ms.is_none() && batch.state != BatchState::Cancelling {
                    batch.state = BatchState::Failed;
                    batch.ended_at_ms = Some(now_ms);
                    batch.errors = Some(errors.clone());
                }
            }),
            BatchChange::Begin { id, total } => self.change(*id, |batch| {
                if batch.state == BatchState::Validating {
                    batch.state = BatchState::InProgress;
                    batch.in_progress_at_ms = Some(now_ms);
                    batch.lines.total = *total;
                }
            }),
            BatchChange::Expand { id, from, lines } => {
                Ok(Applied::Expanded(self.expand(*id, *from, lines, now_ms)))
            }
            BatchChange::Cancel(id) => self.change(*id, |batch| {
                if batch.state.can_cancel() {
                    batch.state = BatchState::Cancelling;
                    batch.cancelling_at_ms = Some(now_ms);
                }
            }),
            BatchChange::CancelJobs { id, limit } => {
                let of_batch =
                    |job: &i64| self.lines.get(job).is_some_and(|line| line.batch == id.0);
                let open: Vec<(JobId, State)> = self
                    .unfinished()
                    .map(|job| (job.row.id, job.row.state))
                    .filter(|(job, _)| of_batch(&job.0))
                    .take(*limit)
                    .collect();
                for (job, _) in &open {
                    self.note_cancelled(job.0);
                    let row = &mut self.jobs.get_mut(&job.0).unwrap().row;
                    row.state = State::Cancelled;
                    row.finished_at_ms = Some(now_ms);
                }
                Ok(Applied::Ended(open))
            }
            BatchChange::Finalizing(id) => self.change(*id, |batch| {
                if batch.state == BatchState::InProgress {
                    batch.state = BatchState::Finalizing;
                    batch.finalizing_at_ms = Some(now_ms);
                }
            }),
            BatchChange::End {
                id,
                state,
                output,
                errors,
            } => {
                let now = self.stored_batch(*id)?.state;
                let is_cancelling = now == BatchState::Cancelling;
                if now.is_terminal() || is_cancelling && *state != BatchState::Cancelled {
                    return self.change(*id, |_| {});
                }
                let mut add = |file: &Option<NewFile>| {
                    file.as_ref().map(|file| self.add_file(file, now_ms).id)
                };
                let (output, errors) = (add(output), add(errors));
                self.change(*id, |batch| {
                    batch.state = *state;
                    batch.ended_at_ms = Some(now_ms);
                    (batch.output_file, batch.error_file) = (output, errors);
                })
            }
        }
    }

    /// The names of files whose time is over and that no open batch needs; they go.
    pub(crate) fn purge_files(&mut self, now_ms: i64) -> Vec<String> {
        let open = self
            .batches
            .values()
            .filter(|batch| batch.ended_at_ms.is_none());
        let needed: Vec<FileId> = open.map(|batch| batch.batch.input_file).collect();
        let is_over = |file: &FileRow| {
            file.expires_at_ms().is_some_and(|time| time <= now_ms) && !needed.contains(&file.id)
        };
        let gone = self.files.extract_if(.., |_, file| is_over(file));
        gone.map(|(_, file)| file.file.stored_as).collect()
    }

    fn take_file(
        &mut self,
        file: &NewFile,
        limits: &Limits,
        now_ms: i64,
    ) -> Result<FileRow, Error> {
        let more = Share {
            jobs: 0,
            bytes: file.bytes,
        };
        self.admit(limits, file.uid, more)?;
        Ok(self.add_file(file, now_ms))
    }

    fn add_file(&mut self, file: &NewFile, now_ms: i64) -> FileRow {
        self.last_file += 1;
        let row = FileRow {
            id: FileId(self.last_file),
            file: file.clone(),
            created_at_ms: now_ms,
        };
        self.files.insert(self.last_file, row.clone());
        row
    }

    fn add_batch(
        &mut self,
        batch: &NewBatch,
        limits: &Limits,
        now_ms: i64,
    ) -> Result<BatchRow, Error> {
        let key = batch.idempotency_key.as_deref();
        let before = key.map(|key| self.batch_of_key(batch.uid, key));
        if let Some(before) = before.transpose()?.flatten() {
            return match before.batch.is_same_request(batch) {
                true => Ok(before),
                false => Err(Error::IdempotencyConflict),
            };
        }
        if self.flow.draining {
            return Err(Error::Draining);
        }
        let input = self.files.get(&batch.input_file.0);
        let bytes = input.ok_or(Error::NotFound)?.file.bytes;
        self.admit(limits, batch.uid, Share { jobs: 1, bytes })?;
        Ok(self.insert_batch(batch, now_ms))
    }

    /// Open batches, and the bytes of their inputs.
    pub(crate) fn open_share(&self, uid: Option<u32>) -> Share {
        let open = self
            .batches
            .values()
            .filter(|row| row.ended_at_ms.is_none() && uid.is_none_or(|uid| row.batch.uid == uid));
        open.fold(Share::default(), |share, row| Share {
            jobs: share.jobs + 1,
            bytes: share.bytes + self.files[&row.batch.input_file.0].file.bytes,
        })
    }

    /// Before a job is cancelled.
    pub(crate) fn note_cancelled(&mut self, job: i64) {
        if let Some(line) = self.lines.get_mut(&job) {
            let state = self.batches[&line.batch].state;
            let with_batch = [BatchState::Cancelling, BatchState::Cancelled];
            line.cancelled_alone = !with_batch.contains(&state);
        }
    }

    fn insert_batch(&mut self, batch: &NewBatch, now_ms: i64) -> BatchRow {
        self.last_batch += 1;
        let row = BatchRow {
            id: BatchId(self.last_batch),
            batch: batch.clone(),
            state: BatchState::Validating,
            created_at_ms: now_ms,
            in_progress_at_ms: None,
            finalizing_at_ms: None,
            cancelling_at_ms: None,
            ended_at_ms: None,
            errors: None,
            output_file: None,
            error_file: None,
            lines: Lines::default(),
        };
        self.batches.insert(self.last_batch, row.clone());
        row
    }

    fn stored_batch(&mut self, id: BatchId) -> Result<&mut BatchRow, Error> {
        self.batches.get_mut(&id.0).ok_or(Error::NotFound)
    }

    fn change(
        &mut self,
        id: BatchId,
        change: impl FnOnce(&mut BatchRow),
    ) -> Result<Applied, Error> {
        change(self.stored_batch(id)?);
        Ok(Applied::Batch(self.batch(id)?))
    }

    fn expand(
        &mut self,
        id: BatchId,
        from: u64,
        lines: &[NewLine],
        now_ms: i64,
    ) -> Option<Vec<JobId>> {
        let batch = self.stored_batch(id).ok()?;
        if batch.state != BatchState::InProgress || batch.lines.expanded != from {
            return None;
        }
        batch.lines.expanded += lines.len() as u64;
        let mut jobs = vec![];
        for index in prefix_order(lines) {
            let (line, number) = (&lines[index], from + index as u64);
            let job = self.insert(&line.job, now_ms, Some(id)).id;
            self.lines.insert(
                job.0,
                Line {
                    batch: id.0,
                    line: number,
                    custom_id: line.custom_id.clone(),
                    refused: line.refused.is_some(),
                    param: line.refused.as_ref().and_then(|why| why.param.clone()),
                    cancelled_alone: false,
                },
            );
            match &line.refused {
                None => jobs.push(job),
                Some(Refused { message, .. }) => {
                    let row = &mut self.jobs.get_mut(&job.0).unwrap().row;
                    row.state = State::Failed;
                    row.error = Some(message.clone());
                    row.finished_at_ms = Some(now_ms);
                }
            }
        }
        Some(jobs)
    }

    /// A batch with its counts: of jobs that are there they are counted anew each time.
    pub(crate) fn batch(&self, id: BatchId) -> Result<BatchRow, Error> {
        let mut batch = self.batches.get(&id.0).ok_or(Error::NotFound)?.clone();
        for (job, line) in self.lines.iter().filter(|(_, line)| line.batch == id.0) {
            count(&mut batch.lines, &self.jobs[job].row, line);
        }
        Ok(batch)
    }

    /// What a job that is about to be deleted counted for its batch stays.
    pub(crate) fn keep_count(&mut self, job: i64) {
        if let Some(line) = self.lines.get(&job) {
            let batch = self.batches.get_mut(&line.batch).unwrap();
            count(&mut batch.lines, &self.jobs[&job].row, line);
        }
    }

    pub(crate) fn batches(&self, page: Page) -> Vec<BatchRow> {
        let fits = |row: &BatchRow| {
            page.before.is_none_or(|before| row.id.0 < before)
                && page.uid.is_none_or(|uid| row.batch.uid == uid)
        };
        let all = self
            .batches
            .values()
            .rev()
            .filter(|row| fits(row))
            .take(page.limit);
        all.map(|row| self.batch(row.id).unwrap()).collect()
    }

    pub(crate) fn batch_of_key(&self, uid: u32, key: &str) -> Result<Option<BatchRow>, Error> {
        let is_it = |row: &&BatchRow| {
            row.batch.uid == uid && row.batch.idempotency_key.as_deref() == Some(key)
        };
        let found = self.batches.values().find(is_it);
        found.map(|row| self.batch(row.id)).transpose()
    }

    pub(crate) fn open_batches(&self) -> Vec<BatchRow> {
        let open = self
            .batches
            .values()
            .filter(|row| row.ended_at_ms.is_none());
        open.map(|row| self.batch(row.id).unwrap()).collect()
    }

    pub(crate) fn files(&self, page: Page, purpose: Option<&str>, now_ms: i64) -> Vec<FileRow> {
        let fits = |row: &&FileRow| {
            page.before.is_none_or(|before| row.id.0 < before)
                && page.uid.is_none_or(|uid| row.file.uid == uid)
                && purpose.is_none_or(|purpose| row.file.purpose == purpose)
                && row.expires_at_ms().is_none_or(|time| time > now_ms)
        };
        self.files
            .values()
            .rev()
            .filter(fits)
            .take(page.limit)
            .cloned()
            .collect()
    }

    pub(crate) fn lines(&self, id: BatchId, from: u64, limit: usize) -> Vec<LineEnd> {
        let of_batch = self
            .lines
            .iter()
            .filter(|(_, line)| line.batch == id.0 && line.line >= from);
        let mut ends: Vec<LineEnd> = of_batch
            .map(|(job, line)| {
                let row = &self.jobs[job].row;
                LineEnd {
                    line: line.line,
                    custom_id: line.custom_id.clone(),
                    job: row.id,
                    state: row.state,
                    result: row.result.clone(),
                    error: row.error.clone(),
                    refused: line.refused,
                    param: line.param.clone(),
                }
            })
            .collect();
        ends.sort_by_key(|end| end.line);
        let bytes = |end: &LineEnd| end.result.as_ref().map_or(0, Vec::len);
        let fits = |count: &usize| ends[..*count].iter().map(bytes).sum::<usize>() < LINES_BYTES;
        let count = (0..ends.len().min(limit)).take_while(fits).count();
        ends.truncate(count);
        ends
    }

    /// Whether retention may delete a job.
    pub(crate) fn may_purge(&self, job: i64) -> bool {
        let batch = self.lines.get(&job).map(|line| &self.batches[&line.batch]);
        batch.is_none_or(|batch| batch.ended_at_ms.is_some())
    }
}

fn count(lines: &mut Lines, row: &JobRow, line: &Line) {
    let usage = row.usage.unwrap_or_default();
    lines.ended += u64::from(row.state.is_terminal());
    lines.completed += u64::from(row.state == State::Completed);
    let cancelled_alone = row.state == State::Cancelled && line.cancelled_alone;
    lines.failed += u64::from(row.state == State::Failed || cancelled_alone);
    lines.prompt_tokens += usage.prompt_tokens;
    lines.completion_tokens += usage.completion_tokens;
}
