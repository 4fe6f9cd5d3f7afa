//! The files of a batch at its end: one line for each request, in the order of the input. Answers stand in one file, all
//! else in the other.

use serde_json::json;
use serde_json::value::RawValue;

use crate::job::State;
use crate::protocol::batch_line::OutputLine;
use crate::protocol::batches::PURPOSE_OUTPUT;
use crate::protocol::{ErrorBody, ErrorKind, RequestError};
use crate::queue::batch::{BatchRow, BatchState, LineEnd, NewFile};
use crate::queue::{Error, NewStored, Queue, WholeFile};

use super::input::Input;
use super::trouble::{Trouble, read};

/// Requests read from the store at once, as far as their answers may be in memory together.
const PAGE: usize = 50;
/// Of these in one step.
const PAGES_OF_STEP: usize = 10;
/// Bytes written in one step, or read of lines that never became jobs. One page may come to more, by one answer.
const BYTES_OF_STEP: u64 = 8 << 20;
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
        let before = self.bytes();
        for _ in 0..PAGES_OF_STEP {
            let (id, Some(next)) = (batch.id, self.next) else {
                break;
            };
            if self.bytes() - before >= BYTES_OF_STEP {
                break;
            }
            let page = read(queue, move |reader| reader.lines(id, next, PAGE))?;
            self.next = page.last().map(|last| last.line + 1);
            for end in page {
                let (which, line) = line(end, self.state);
                self.put(which, &line)?;
            }
        }
        if self.next.is_some() {
            return Ok(true);
        }
        // What was asked for is that it ends, or that it ends by now. The ids of lines that never became jobs are lost
        // with their file.
        let problem = match self.write_unrun(queue, batch) {
            Err(Trouble::Input(problem)) => problem,
            Err(Trouble::Unreadable(error)) => error.to_string(),
            written => return written,
        };
        tracing::warn!(batch = %batch.id, "the lines that did not run cannot be told: {problem}");
        Ok(false)
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
        let begun = input.bytes();
        for _ in 0..LINES_OF_STEP {
            if number == total {
                return Ok(false);
            }
            if input.bytes() - begun >= BYTES_OF_STEP {
                break;
            }
            if number < expanded {
                input.skip()?;
            } else {
                let id = input.next()?.custom_id;
                let request = format!("{}_{number}", batch.id);
                let line = OutputLine::unanswered(&id, &request, code, message);
                self.put(Which::Errors, &line.to_json())?;
            }
            number += 1;
        }
        self.unrun = Some((input, number));
        Ok(true)
    }

    /// A line without its line break.
    fn put(&mut self, which: Which, line: &str) -> Result<(), Error> {
        let file = match which {
            Which::Output => &mut self.answers,
            Which::Errors => &mut self.errors,
        };
        file.write(line.as_bytes())?;
        file.write(b"\n")
    }

    /// Written so far.
    fn bytes(&self) -> u64 {
        self.answers.bytes() + self.errors.bytes()
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

fn line(mut end: LineEnd, state: BatchState) -> (Which, String) {
    let (id, job) = (&end.custom_id, end.job.to_string());
    if end.state == State::Completed
        && let Some(body) = end.result.take().and_then(as_it_is)
    {
        let line = OutputLine::answered(id, &job, 200, body);
        return (Which::Output, line.to_json());
    }
    let line = match end.state {
        State::Expired => {
            let (code, message) = never_run(BatchState::Expired);
            OutputLine::unanswered(id, &job, code, message)
        }
        State::Cancelled => {
            let (code, message) = match state {
                BatchState::Cancelled => never_run(BatchState::Cancelled),
                _ => ("job_cancelled", "the request was cancelled by itself"),
            };
            OutputLine::unanswered(id, &job, code, message)
        }
        _ => {
            let message = end
                .error
                .unwrap_or_else(|| "the job has no result".to_owned());
            if end.refused {
                let param = end.param;
                OutputLine::refused(id, &job, RequestError { message, param })
            } else {
                let kind = ErrorKind::Internal;
                let body = json!({ "error": ErrorBody::new(kind, message).error });
                OutputLine::answered(id, &job, kind.status(), body)
            }
        }
    };
    (Which::Errors, line.to_json())
}

/// A stored answer as part of a line, byte by byte: a tree of values would take many times its memory. `None`: it is no
/// JSON of one line.
fn as_it_is(result: Vec<u8>) -> Option<Box<RawValue>> {
    let text = String::from_utf8(result).ok()?;
    let is_line = !text.contains(['\n', '\r']);
    is_line.then(|| RawValue::from_string(text).ok()).flatten()
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

#[cfg(test)]
mod tests {
    use crate::job::JobId;

    use super::*;

    fn written(result: &str) -> (bool, String) {
        let end = LineEnd {
            line: 0,
            custom_id: "a".to_owned(),
            job: JobId(4),
            state: State::Completed,
            result: Some(result.as_bytes().to_vec()),
            error: None,
            refused: false,
            param: None,
        };
        let (which, line) = line(end, BatchState::Completed);
        (matches!(which, Which::Output), line)
    }

    #[test]
    fn a_stored_answer_is_copied_byte_by_byte() {
        // A number that no tree of values would keep as it is.
        let body = r#"{"text":"\u00e9","logprob":-0.10000000000000000000001}"#;
        let line = format!(
            r#"{{"id":"batch_req_job_4","custom_id":"a","response":{{"status_code":200,"request_id":"job_4","body":{body}}},"error":null}}"#
        );
        assert_eq!(written(body), (true, line));
        for broken in ["{", "", "{\n}"] {
            let (is_answer, line) = written(broken);
            assert!(!is_answer && !line.contains('\n'), "{line}");
            assert!(line.contains("the job has no result"), "{line}");
        }
    }
}
