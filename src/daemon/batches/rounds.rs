//! One short step of every open batch, round after round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::api::now_ms;
use crate::daemon::panicked::{Panicked, or_panicked};
use crate::protocol::batches::LineErrors;
use crate::queue::batch::{BatchId, BatchRow, BatchState, MOST_AT_WORK, Step, next_step};
use crate::queue::{Applied, BatchChange, Error, Queue};

use super::expansion::Expansion;
use super::output::Output;
use super::trouble::{Trouble, Verdict, read};
use super::validation::{Validation, of_file};

/// Jobs cancelled in one transaction.
const CANCEL_CHUNK: usize = 1_000;
/// Of the batches at work, those that are looked through: each holds the hashes of all its ids until it is through.
const MOST_VALIDATING: usize = 2;
/// Nothing tells when passing trouble has passed, so a step that met it is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// Of what is told of a batch that failed.
const TOLD_CHARS: usize = 500;

/// What a round came to.
pub(super) enum Round {
    /// A step changed something.
    Changed,
    /// Nothing is to be done before the bell rings, or then.
    Idle { again_at: Option<Instant> },
    /// The queue is closed or has failed.
    Over,
}

/// What a batch has between two steps.
enum Work {
    Validation(Validation),
    Expansion(Expansion),
    Output(Output),
}

pub(super) struct Rounds<'a> {
    queue: &'a Queue,
    /// Bytes of a line at most, when it is looked through.
    longest_line: u64,
    at_work: BTreeMap<BatchId, Work>,
    /// Those that met passing trouble, and when they are tried again.
    troubled: BTreeMap<BatchId, Instant>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(queue: &'a Queue, longest_line: u64) -> Self {
        Rounds {
            queue,
            longest_line,
            at_work: BTreeMap::new(),
            troubled: BTreeMap::new(),
        }
    }

    pub(super) fn next(&mut self) -> Round {
        let open = match read(self.queue, |reader| reader.open_batches()) {
            Ok(open) => open,
            Err(trouble) => {
                let problem = match trouble.verdict(self.has_failed()) {
                    Verdict::Over => return Round::Over,
                    Verdict::Passing(problem) | Verdict::Final(problem) => problem,
                };
                tracing::warn!("{problem}; batches wait");
                let again_at = Some(Instant::now() + PAUSE);
                return Round::Idle { again_at };
            }
        };
        let now = Instant::now();
        self.troubled.retain(|_, again_at| *again_at > now);
        let is_open = |id: &BatchId| open.iter().any(|batch| batch.id == *id);
        self.at_work.retain(|id, _| is_open(id));
        let mut changed = false;
        for batch in &open {
            if self.troubled.contains_key(&batch.id) {
                continue;
            }
            let taken = self.take_or_panic(batch, next_step(batch, now_ms()));
            let taken = taken.or_else(|trouble| self.meet(batch, trouble));
            match taken {
                Ok(step) => changed |= step,
                Err(Over) => return Round::Over,
            }
        }
        match changed {
            true => Round::Changed,
            false => Round::Idle {
                again_at: self.troubled.values().min().copied(),
            },
        }
    }

    /// [`Rounds::take`]. A panic is the end of its batch.
    fn take_or_panic(&mut self, batch: &BatchRow, step: Step) -> Result<bool, Trouble> {
        or_panicked(|| self.take(batch, step)).unwrap_or_else(|Panicked| {
            let problem = format!("a step of {} panicked", batch.id);
            Err(Trouble::Input(problem))
        })
    }

    /// Takes a step of a batch. Whether it changed something.
    fn take(&mut self, batch: &BatchRow, step: Step) -> Result<bool, Trouble> {
        let work = self.at_work.remove(&batch.id);
        let needs_files = !matches!(step, Step::Wait | Step::CancelJobs);
        if needs_files && work.is_none() {
            let at_work = self.at_work.values();
            let validating = at_work.filter(|work| matches!(work, Work::Validation(_)));
            if !may_begin(step, self.at_work.len(), validating.count()) {
                return Ok(false);
            }
        }
        let (queue, longest) = (self.queue, self.longest_line);
        let rest = match (step, work) {
            (Step::Wait, _) => return Ok(false),
            (Step::CancelJobs, _) => {
                self.cancel_jobs(batch)?;
                None
            }
            (Step::Validate, work) => {
                let begun = match work {
                    Some(Work::Validation(begun)) => Ok(begun),
                    _ => Validation::begin(queue, batch, longest),
                };
                match begun.and_then(|begun| self.validate(batch, begun)) {
                    Err(Trouble::Unreadable(error)) if batch.is_late(now_ms()) => {
                        self.expire_unread(batch, &error)?;
                        None
                    }
                    validated => validated?,
                }
            }
            (Step::Expand { from }, work) => {
                let mut expansion = match work {
                    Some(Work::Expansion(begun)) => begun,
                    _ => Expansion::begin(queue, batch)?,
                };
                let more = expansion.go_on(queue, batch, from)?;
                more.then_some(Work::Expansion(expansion))
            }
            (Step::Finalize(state), Some(Work::Output(begun))) if begun.state() == state => {
                self.finalize(batch, begun)?
            }
            (Step::Finalize(state), _) => {
                queue.change_batch_blocking(BatchChange::Finalizing(batch.id))?;
                Some(Work::Output(Output::begin(queue, state)?))
            }
        };
        if let Some(work) = rest {
            self.at_work.insert(batch.id, work);
        }
        Ok(true)
    }

    fn validate(
        &mut self,
        batch: &BatchRow,
        mut validation: Validation,
    ) -> Result<Option<Work>, Trouble> {
        let id = batch.id;
        let change = match validation.go_on()? {
            None => return Ok(Some(Work::Validation(validation))),
            Some(Ok(total)) => BatchChange::Begin { id, total },
            Some(Err(bad)) => {
                tracing::info!(batch = %id, problems = bad.len(), "the lines of a batch cannot be used");
                let errors = LineErrors::new(bad).to_json();
                BatchChange::Refuse { id, errors }
            }
        };
        if let Err(error) = self.queue.change_batch_blocking(change) {
            // What was found stays so, however often the store has no room for it.
            self.at_work.insert(id, Work::Validation(validation));
            return Err(error.into());
        }
        Ok(None)
    }

    /// Ends a batch whose time is over before its input could be read.
    fn expire_unread(&self, batch: &BatchRow, error: &Error) -> Result<(), Error> {
        tracing::warn!(batch = %batch.id, "batch expired before its lines were looked through: {error}");
        let end = BatchChange::End {
            id: batch.id,
            state: BatchState::Expired,
            output: None,
            errors: None,
        };
        self.queue.change_batch_blocking(end).map(|_| ())
    }

    fn finalize(&self, batch: &BatchRow, mut output: Output) -> Result<Option<Work>, Trouble> {
        if output.go_on(self.queue, batch)? {
            return Ok(Some(Work::Output(output)));
        }
        let (id, state, lines) = (batch.id, output.state(), batch.lines);
        let (output, errors) = output.finish(batch)?;
        let (output, output_file) = output.unzip();
        let (errors, error_file) = errors.unzip();
        let ended = self.queue.change_batch_blocking(BatchChange::End {
            id,
            state,
            output,
            errors,
        });
        // Cancelled in the last moment, it has not ended yet.
        let is_ended = matches!(&ended, Ok(Applied::Batch(row)) if row.state == state);
        for file in [output_file, error_file].into_iter().flatten() {
            if is_ended || ended.is_err() {
                file.settle(&ended);
            }
        }
        ended?;
        if is_ended {
            tracing::info!(
                batch = %id,
                state = state.as_str(),
                total = lines.total,
                completed = lines.completed,
                failed = lines.failed,
                "batch ended"
            );
        }
        Ok(None)
    }

    /// Whether the batch has changed by what keeps it from its step.
    fn meet(&mut self, batch: &BatchRow, trouble: Trouble) -> Result<bool, Over> {
        let problem = match trouble.verdict(self.has_failed()) {
            Verdict::Over => return Err(Over),
            Verdict::Passing(problem) => problem,
            Verdict::Final(problem) => {
                tracing::error!(batch = %batch.id, "batch failed: {problem}");
                match self.give_up(batch, &problem) {
                    Ok(()) => return Ok(true),
                    Err(error) => match Trouble::from(error).verdict(self.has_failed()) {
                        Verdict::Over => return Err(Over),
                        Verdict::Passing(problem) | Verdict::Final(problem) => problem,
                    },
                }
            }
        };
        tracing::warn!(batch = %batch.id, "{problem}; the batch waits");
        self.troubled.insert(batch.id, Instant::now() + PAUSE);
        Ok(false)
    }

    /// Ends a batch that cannot go on, and no other.
    fn give_up(&mut self, batch: &BatchRow, problem: &str) -> Result<(), Error> {
        let id = batch.id;
        self.at_work.remove(&id);
        while self.cancel_jobs(batch)? {}
        let message = problem.chars().take(TOLD_CHARS).collect();
        let errors = LineErrors::new(vec![of_file("file_error", message)]).to_json();
        let change = BatchChange::Refuse { id, errors };
        let applied = self.queue.change_batch_blocking(change)?;
        if matches!(applied, Applied::Batch(row) if row.state == BatchState::Cancelling) {
            self.queue.change_batch_blocking(BatchChange::End {
                id,
                state: BatchState::Cancelled,
                output: None,
                errors: None,
            })?;
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.queue.failure().is_some()
    }

    /// Whether there were any.
    fn cancel_jobs(&self, batch: &BatchRow) -> Result<bool, Error> {
        let (id, limit) = (batch.id, CANCEL_CHUNK);
        let applied = self
            .queue
            .change_batch_blocking(BatchChange::CancelJobs { id, limit })?;
        Ok(matches!(applied, Applied::Ended(jobs) if !jobs.is_empty()))
    }
}

/// Whether a batch may open its files for this step, beside so many that have theirs open, and so many of them to look
/// through. If not, it has its turn when one of these is through.
fn may_begin(step: Step, at_work: usize, validating: usize) -> bool {
    at_work < MOST_AT_WORK && (step != Step::Validate || validating < MOST_VALIDATING)
}

/// The queue is closed or has failed.
struct Over;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_batches_are_looked_through_at_once() {
        let others = [
            Step::Expand { from: 0 },
            Step::Finalize(BatchState::Expired),
        ];
        assert!(may_begin(Step::Validate, 15, 1));
        assert!(!may_begin(Step::Validate, 2, 2));
        for step in others {
            assert!(may_begin(step, 15, 2));
            assert!(!may_begin(step, 16, 0));
        }
        assert!(!may_begin(Step::Validate, 16, 0));
    }
}
