//! The files of a batch at its end: one line for each request, in the order of the input. Answers stand in one file, all
//! else in the other.

use serde_json::{Value, json};

use crate::job::State;
use crate::protocol::batch_line::OutputLine;
use crate::protocol::batches::PURPOSE_OUTPUT;
use crate::protocol::{ErrorBody, ErrorKind};
use crate::queue::batch::{BatchRow, BatchState, LineEnd, NewFile};
use crate::queue::{Error, NewStored, Queue};

use super::input::Input;

/// Requests read from the store at once: their answers are in memory together.
const PAGE: usize = 50;

/// Which of the two files a line belongs to.
enum Which {
    Output,
    Errors,
}

/// Both files of a batch that ends in `state`; none where there is no line for it.
pub(super) fn write(
    queue: &Queue,
    batch: &BatchRow,
    state: BatchState,
) -> Result<(Option<NewFile>, Option<NewFile>), Error> {
    let (mut output, mut errors) = (queue.files().create()?, queue.files().create()?);
    let mut put = |which: Which, line: OutputLine| {
        let text = line.to_json() + "\n";
        match which {
            Which::Output => output.write(text.as_bytes()),
            Which::Errors => errors.write(text.as_bytes()),
        }
    };
    let id = batch.id;
    let mut next = 0;
    loop {
        let page = queue.read_blocking(move |reader| reader.lines(id, next, PAGE))?;
        let Some(last) = page.last() else {
            break;
        };
        next = last.line + 1;
        for end in page {
            let (which, line) = line(end, state);
            put(which, line)?;
        }
    }
    if batch.lines.expanded < batch.lines.total {
        // Those that never became jobs.
        let (code, message) = never_run(state);
        let mut input = Input::open(queue, batch)?;
        let mut number = 0;
        while let Some(line) = input.next()? {
            if number >= batch.lines.expanded {
                let request = format!("{id}_{number}");
                put(
                    Which::Errors,
                    OutputLine::unanswered(&line.custom_id, &request, code, message),
                )?;
            }
            number += 1;
        }
    }
    Ok((
        stored(batch, output, "output")?,
        stored(batch, errors, "errors")?,
    ))
}

fn stored(batch: &BatchRow, file: NewStored, what: &str) -> Result<Option<NewFile>, Error> {
    let bytes = file.bytes();
    if bytes == 0 {
        return Ok(None);
    }
    Ok(Some(NewFile {
        uid: batch.batch.uid,
        purpose: PURPOSE_OUTPUT.to_owned(),
        name: format!("{}_{what}.jsonl", batch.id),
        stored_as: file.finish()?,
        bytes,
        kept_s: batch.batch.output_kept_s,
    }))
}

fn line(end: LineEnd, state: BatchState) -> (Which, OutputLine) {
    let (id, job) = (&end.custom_id, end.job.to_string());
    let failed = |kind: ErrorKind, message: &str| {
        let body = json!({ "error": ErrorBody::new(kind, message).error });
        OutputLine::answered(id, &job, kind.status(), body)
    };
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
            let kind = match end.refused {
                true => ErrorKind::InvalidRequest,
                false => ErrorKind::Internal,
            };
            let message = end.error.as_deref().unwrap_or("the job has no result");
            (Which::Errors, failed(kind, message))
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
