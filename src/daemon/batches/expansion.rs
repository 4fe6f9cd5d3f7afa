//! Making jobs of the lines of a batch's file.

use crate::api::{fresh_seed, now_ms};
use crate::queue::batch::{BatchRow, NewLine, Refused};
use crate::queue::{Applied, BatchChange, Error, NewJob, Queue, Times};

use super::input::{Input, Line};
use super::trouble::Trouble;

/// Lines that become jobs in one transaction, and bytes of theirs.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;
/// Lines, and bytes, passed over in one step because they are jobs already.
const LINES_OF_STEP: u64 = 20_000;
const BYTES_OF_STEP: u64 = 32 << 20;

/// A file whose lines become jobs, chunk by chunk.
pub(super) struct Expansion {
    input: Input,
    /// The number of the request that is read next, from 0.
    next: u64,
}

impl Expansion {
    pub(super) fn begin(queue: &Queue, batch: &BatchRow) -> Result<Self, Trouble> {
        Ok(Expansion {
            input: Input::open(queue, batch)?,
            next: 0,
        })
    }

    /// Makes jobs of the next lines of a batch that stands at number `from`, or comes nearer to there. Whether this is
    /// to go on.
    pub(super) fn go_on(
        &mut self,
        queue: &Queue,
        batch: &BatchRow,
        from: u64,
    ) -> Result<bool, Trouble> {
        let (first, bytes) = (self.next, self.input.bytes());
        while self.next < from {
            if self.next - first == LINES_OF_STEP || self.input.bytes() - bytes >= BYTES_OF_STEP {
                return Ok(true);
            }
            self.input.skip()?;
            self.next += 1;
        }
        let (mut chunk, mut bytes) = (vec![], 0);
        while chunk.len() < CHUNK_LINES && bytes < CHUNK_BYTES && self.next < batch.lines.total {
            let line = new_line(batch, self.input.next()?)?;
            bytes += line.custom_id.len() + line.job.body.len();
            chunk.push(line);
            self.next += 1;
        }
        let change = BatchChange::Expand {
            id: batch.id,
            from,
            lines: chunk,
        };
        let applied = queue.change_batch_blocking(change)?;
        let is_there = !matches!(applied, Applied::Expanded(None));
        Ok(is_there && self.next < batch.lines.total)
    }
}

fn new_line(batch: &BatchRow, line: Line) -> Result<NewLine, Error> {
    let endpoint = batch.batch.endpoint;
    let (body, refused) = match line.body {
        Ok(body) => (body, None),
        Err(error) => (vec![], Some(error)),
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
        refused: refused.map(|error| Refused {
            message: error.message,
            param: error.param,
        }),
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
