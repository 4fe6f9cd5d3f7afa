//! Batches: the lines of a file become jobs, and the ends of the jobs become files. One thread, which takes the next
//! step of every open batch whenever the queue rings.
//!
//! - `input`: the lines of a file, one by one; `output`: the files of answers and of errors.
//!
//! Invariant: all that is known of a batch is in the store, so a daemon that dies in between goes on, and makes no job
//! twice: the store takes lines only from where the batch stands. Memory does not grow with a file, but for 16 bytes
//! for each line while it is looked through.

mod input;
mod output;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::api::{fresh_seed, now_ms};
use crate::protocol::batches::{BadLine, LineErrors};
use crate::queue::batch::{BatchRow, NewLine, Step, next_step};
use crate::queue::{Applied, BatchChange, Error, NewJob, Queue, Times};

use super::control::Control;
use super::failure::Failure;
use input::Input;

pub(super) use input::LONGEST_LINE;

/// Lines that become jobs in one transaction, and bytes of theirs.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;
/// Jobs cancelled in one transaction.
const CANCEL_CHUNK: usize = 1_000;
/// Nothing tells when a full disk has room again, so what met one is tried again after this.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

/// The thread; it ends when the queue is closed. A panic there is told to the daemon, which ends.
pub(super) fn start(queue: Queue, control: SyncSender<Control>) -> std::io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("woolly-batches".to_owned());
    builder.spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| run(&queue))).is_err() {
            let failure = Failure::io("the thread of batches panicked".to_owned());
            let _ = control.try_send(Control::Failed(failure));
        }
    })
}

fn run(queue: &Queue) {
    let bell = queue.batch_bell();
    loop {
        match step_all(queue) {
            // Something changed: there may be a next step at once.
            Ok(true) => {}
            Ok(false) => {
                if bell.recv_blocking().is_err() {
                    return;
                }
            }
            Err(error @ Error::NoSpace { .. }) => {
                tracing::warn!("{error}; batches wait");
                std::thread::sleep(NO_SPACE_PAUSE);
            }
            // A fault of the store ends the daemon, and there is nothing to do without it.
            Err(_) => return,
        }
    }
}

/// One step of every open batch; whether any did something.
fn step_all(queue: &Queue) -> Result<bool, Error> {
    let mut changed = false;
    for batch in queue.read_blocking(|reader| reader.open_batches())? {
        let step = next_step(&batch, now_ms());
        changed |= step != Step::Wait;
        match take(queue, &batch, step) {
            Err(error @ Error::File { .. }) => {
                tracing::error!(batch = %batch.id, "batch failed: {error}");
                give_up(queue, &batch, &error)?;
            }
            taken => taken?,
        }
    }
    Ok(changed)
}

fn take(queue: &Queue, batch: &BatchRow, step: Step) -> Result<(), Error> {
    match step {
        Step::Wait => Ok(()),
        Step::Validate => validate(queue, batch),
        Step::Expand { from } => expand(queue, batch, from),
        Step::CancelJobs => {
            let (id, limit) = (batch.id, CANCEL_CHUNK);
            queue.change_batch_blocking(BatchChange::CancelJobs { id, limit })?;
            Ok(())
        }
        Step::Finalize(state) => {
            queue.change_batch_blocking(BatchChange::Finalizing(batch.id))?;
            let (output, errors) = output::write(queue, batch, state)?;
            let id = batch.id;
            queue.change_batch_blocking(BatchChange::End {
                id,
                state,
                output,
                errors,
            })?;
            let lines = batch.lines;
            tracing::info!(
                batch = %id,
                state = state.as_str(),
                total = lines.total,
                completed = lines.completed,
                failed = lines.failed,
                "batch ended"
            );
            Ok(())
        }
    }
}

/// Looks through the whole file before anything of it runs.
fn validate(queue: &Queue, batch: &BatchRow) -> Result<(), Error> {
    let found = input::look_through(Input::open(queue, batch)?, batch.batch.endpoint)?;
    let id = batch.id;
    let change = match found {
        Ok(total) => BatchChange::Begin { id, total },
        Err(bad) => {
            tracing::info!(batch = %id, problems = bad.len(), "the lines of a batch cannot be used");
            let errors = LineErrors::new(bad).to_json();
            BatchChange::Refuse { id, errors }
        }
    };
    queue.change_batch_blocking(change).map(|_| ())
}

/// Makes jobs of all lines from number `from` on, chunk by chunk; stops when the batch is cancelled meanwhile.
fn expand(queue: &Queue, batch: &BatchRow, from: u64) -> Result<(), Error> {
    let mut lines = Input::open(queue, batch)?;
    let (mut number, mut first) = (0, from);
    let (mut chunk, mut bytes) = (vec![], 0);
    loop {
        let line = match lines.next()? {
            Some(line) if number < from => {
                drop(line);
                number += 1;
                continue;
            }
            line => line,
        };
        number += 1;
        let is_end = line.is_none();
        if let Some(line) = line {
            let line = new_line(batch, line)?;
            bytes += line.job.body.len();
            chunk.push(line);
        }
        if is_end || chunk.len() == CHUNK_LINES || bytes >= CHUNK_BYTES {
            let count = chunk.len() as u64;
            if count > 0 {
                let change = BatchChange::Expand {
                    id: batch.id,
                    from: first,
                    lines: std::mem::take(&mut chunk),
                };
                if let Applied::Expanded(None) = queue.change_batch_blocking(change)? {
                    return Ok(());
                }
            }
            first += count;
            bytes = 0;
        }
        if is_end {
            return Ok(());
        }
    }
}

fn new_line(batch: &BatchRow, line: input::Line) -> Result<NewLine, Error> {
    let endpoint = batch.batch.endpoint;
    let (body, refused) = match line.body {
        Ok(body) => (body, None),
        Err(error) => (vec![], Some(error.to_string())),
    };
    let seed = match crate::protocol::seed(endpoint, &body) {
        Some(seed) => seed,
        None => fresh_seed().map_err(|error| Error::File {
            path: "of random numbers".to_owned(),
            problem: error.to_string(),
        })?,
    };
    Ok(NewLine {
        custom_id: line.custom_id,
        refused,
        job: NewJob {
            endpoint,
            body,
            seed,
            max_tokens: None,
            priority: batch.batch.priority,
            idempotency_key: None,
            uid: batch.batch.uid,
            attached: false,
            metadata: None,
            created_at_ms: now_ms(),
            times: Times {
                not_before_ms: None,
                deadline_ms: Some(batch.batch.deadline_ms),
            },
            refuse_late: false,
        },
    })
}

/// A file that cannot be read or written ends its batch, and no other.
fn give_up(queue: &Queue, batch: &BatchRow, error: &Error) -> Result<(), Error> {
    let bad = BadLine {
        code: "file_error".to_owned(),
        message: error.to_string(),
        param: None,
        line: None,
    };
    let (id, limit) = (batch.id, usize::MAX);
    queue.change_batch_blocking(BatchChange::CancelJobs { id, limit })?;
    let errors = LineErrors::new(vec![bad]).to_json();
    let change = BatchChange::Refuse { id, errors };
    queue.change_batch_blocking(change).map(|_| ())
}
