//! The files of a batch at its end: one line for each request, in the order of the input. Answers stand in one file, all
//! else in the other.

use serde_json::{Value, json};

use crate::job::State;
use crate::protocol::batch_line::OutputLine;
use crate::protocol::batches::PURPOSE_OUTPUT;
use crate::protocol::{ErrorBody, ErrorKind, RequestError};
use crate::queue::batch::{BatchRow, BatchState, LineEnd, NewFile};
use crate::queue::{Error, NewStored, Queue, WholeFile};

use super::input::Input;
use super::trouble::Trouble;

/// Requests read from the store at once: their answers are in memory together.
const PAGE: usize = 50;
/// Of these in one step.
const PAGES_OF_STEP: usize = 10;
/// Lines in one step that never became jobs.
const LINES_OF_STEP: usize = 2_000;

/// Which of the two files a line belongs to.
enum Which {
    Output,
    Errors,
}

/// The files of a batch that are being written.
pub(super) struct Output {
    state: BatchState,
    answers: NewStored,
    errors: NewStored,
    /// The line that is read next from the store, until all of those are written.
    next: Option<u64>,
    /// The lines that never became jobs, while these are being written, and the number of the next one.
    unrun: Option<(Input, u64)>,
}

/// A file as the store takes it.
pub(super) type Whole = (NewFile, WholeFile);

impl Output {
    /// For a batch that ends in `state`.
    pub(super) fn begin(queue: &Queue, state: BatchState) -> Result<Self, Error> {
        Ok(Output {
            state,
            answers: queue.files().create()?,
            errors: queue.files().create()?,
            next: Some(0),
            unrun: None,
        })
    }

    pub(super) fn state(&self) -> BatchState {
        self.state
    }

    /// Writes the next lines. Whether there are more.
    pub(super) fn go_on(&mut self, queue: &Queue, batch: &BatchRow) -> Result<bool, Trouble> {
        for _ in 0..PAGES_OF_STEP {
            let (id, Some(next)) = (batch.id, self.next) else {
                break;
            };
            let page = queue.read_blocking(move |reader| reader.lines(id, next, PAGE))?;
            self.next = page.last().map(|last| last.line + 1);
            for end in page {
                let (which, line) = line(end, self.state);
                self.put(which, &line)?;
            }
        }
        if self.next.is_some() {
            return Ok(true);
        }
        let written = self.write_unrun(queue, batch);
        match written {
            // What was asked for is that it ends. The ids of these lines are lost with their file.
            Err(Trouble::Input(problem)) if self.state == BatchState::Cancelled => {
                tracing::warn!(batch = %batch.id, "the lines that did not run cannot be told: {problem}");
                Ok(false)
            }
            written => written,
        }
    }

    /// The next ones of those that never became jobs. Whether there are more.
    fn write_unrun(&mut self, queue: &Queue, batch: &BatchRow) -> Result<bool, Trouble> {
        let (expanded, total) = (batch.lines.expanded, batch.lines.total);
        if expanded >= total {
            return Ok(false);
        }
        let (mut input, mut number) = match self.unrun.take() {
            Some(unrun) => unrun,
            None => (Input::open(queue, batch)?, 0),
        };
        let (code, message) = never_run(self.state);
        for _ in 0..LINES_OF_STEP {
            if number == total {
                return Ok(false);
            }
            if number < expanded {
                input.skip()?;
            } else {
                let id = input.next()?.custom_id;
                let request = format!("{}_{number}", batch.id);
                let line = OutputLine::unanswered(&id, &request, code, message);
                self.put(Which::Errors, &line)?;
            }
            number += 1;
        }
        self.unrun = Some((input, number));
        Ok(true)
    }

    fn put(&mut self, which: Which, line: &OutputLine) -> Result<(), Error> {
        let text = line.to_json() + "\n";
        match which {
            Which::Output => self.answers.write(text.as_bytes()),
            Which::Errors => self.errors.write(text.as_bytes()),
        }
    }

    /// The files of answers and of errors, on disk; none where there is no line for it.
    pub(super) fn finish(self, batch: &BatchRow) -> Result<(Option<Whole>, Option<Whole>), Error> {
        Ok((
            stored(batch, self.answers, "output")?,
            stored(batch, self.errors, "errors")?,
        ))
    }
}

fn stored(batch: &BatchRow, file: NewStored, what: &str) -> Result<Option<Whole>, Error> {
    let bytes = file.bytes();
    if bytes == 0 {
        return Ok(None);
    }
    let whole = file.finish()?;
    let file = NewFile {
        uid: batch.batch.uid,
        purpose: PURPOSE_OUTPUT.to_owned(),
        name: format!("{}_{what}.jsonl", batch.id),
        stored_as: whole.name().to_owned(),
        bytes,
        kept_s: batch.batch.output_kept_s,
    };
    Ok(Some((file, whole)))
}

fn line(end: LineEnd, state: BatchState) -> (Which, OutputLine) {
    let (id, job) = (&end.custom_id, end.job.to_string());
    let result = end.result.as_deref().map(serde_json::from_slice::<Value>);
    match (end.state, result) {
        (State::Completed, Some(Ok(body))) => {
            (Which::Output, OutputLine::answered(id, &job, 200, body))
        }
        (State::Expired, _) => {
            let (code, message) = never_run(BatchState::Expired);
            (
                Which::Errors,
                OutputLine::unanswered(id, &job, code, message),
            )
        }
        (State::Cancelled, _) => {
            let (code, message) = match state {
                BatchState::Cancelled => never_run(BatchState::Cancelled),
                _ => ("job_cancelled", "the request was cancelled by itself"),
            };
            (
                Which::Errors,
                OutputLine::unanswered(id, &job, code, message),
            )
        }
        _ => {
            let message = end
                .error
                .unwrap_or_else(|| "the job has no result".to_owned());
            let line = if end.refused {
                let param = end.param;
                OutputLine::refused(id, &job, RequestError { message, param })
            } else {
                let kind = ErrorKind::Internal;
                let body = json!({ "error": ErrorBody::new(kind, message).error });
                OutputLine::answered(id, &job, kind.status(), body)
            };
            (Which::Errors, line)
        }
    }
}

/// Why a request of a batch that ended in `state` has no answer.
fn never_run(state: BatchState) -> (&'static str, &'static str) {
    match state {
        BatchState::Cancelled => (
            "batch_cancelled",
            "the batch was cancelled before this request ran",
        ),
        _ => (
            "batch_expired",
            "this request was not done before the batch expired",
        ),
    }
}
