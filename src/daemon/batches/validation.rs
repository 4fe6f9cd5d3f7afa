//! Looking through the file of a batch before anything of it runs.

use std::collections::HashSet;

use crate::job::Endpoint;
use crate::protocol::RequestError;
use crate::protocol::batch_line::BatchLine;
use crate::protocol::batches::BadLine;
use crate::queue::Queue;
use crate::queue::batch::BatchRow;

use super::input::Input;
use super::trouble::Trouble;

/// Requests of a file at most. OpenAI takes 50,000.
const MOST_LINES: u64 = 1_000_000;
/// Mistakes that are told; the rest are like them.
const TOLD: usize = 100;
/// Lines, and bytes, looked at in one step, so that other batches and the end of the queue need not wait for a long file.
const LINES_OF_STEP: u64 = 2_000;
const BYTES_OF_STEP: u64 = 4 << 20;
/// Of a `custom_id` that a message quotes.
const QUOTED_CHARS: usize = 64;

/// A file that is being looked through.
pub(super) struct Validation {
    input: Input,
    endpoint: Endpoint,
    /// Of the ids so far. 128 bits: two ids that are not the same do not meet.
    seen: HashSet<[u8; 16]>,
    total: u64,
    bad: Vec<BadLine>,
    ended: bool,
}

/// How many requests there are, or what is wrong with their lines.
pub(super) type Found = Result<u64, Vec<BadLine>>;

impl Validation {
    pub(super) fn begin(queue: &Queue, batch: &BatchRow, longest: u64) -> Result<Self, Trouble> {
        Ok(Validation {
            input: Input::open(queue, batch)?.with_lines_up_to(longest),
            endpoint: batch.batch.endpoint,
            seen: HashSet::new(),
            total: 0,
            bad: vec![],
            ended: false,
        })
    }

    /// Looks at the next lines. What was found, once there are no more; then it may be asked for again.
    pub(super) fn go_on(&mut self) -> Result<Option<Found>, Trouble> {
        let (number, bytes) = (self.input.number(), self.input.bytes());
        while !self.ended
            && self.input.number() - number < LINES_OF_STEP
            && self.input.bytes() - bytes < BYTES_OF_STEP
        {
            match self.input.text()? {
                Some(text) => self.look_at(text),
                None => self.end(),
            }
        }
        let found = || match self.bad.is_empty() {
            true => Ok(self.total),
            false => Err(self.bad.clone()),
        };
        Ok(self.ended.then(found))
    }

    fn look_at(&mut self, text: Result<String, String>) {
        self.total += 1;
        match text.map(|text| BatchLine::openai(&text)) {
            Err(problem) => self.tell("invalid_json_line", problem, None),
            Ok(Err(error)) => self.refuse(&error),
            Ok(Ok(line)) => self.look_into(&line),
        }
        if self.bad.len() > TOLD {
            self.bad.truncate(TOLD);
            let message = format!("the file has more mistakes than these {TOLD}");
            self.bad.push(of_file("too_many_errors", message));
            self.ended = true;
        } else if self.total > MOST_LINES {
            let message = format!("the file has more than {MOST_LINES} requests");
            self.bad.push(of_file("too_many_tasks", message));
            self.ended = true;
        }
    }

    fn look_into(&mut self, line: &BatchLine) {
        let hash = blake3::hash(line.custom_id.as_bytes());
        let short = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        if !self.seen.insert(short) {
            let quoted: String = line.custom_id.chars().take(QUOTED_CHARS).collect();
            let message = format!("the custom_id {quoted:?} was used before");
            self.tell("duplicate_custom_id", message, Some("custom_id"));
        }
        match (&line.request, line.mistake()) {
            (_, Some(error)) => self.refuse(error),
            (Ok(request), None) if request.endpoint != self.endpoint => {
                let message = format!("url must be {}, as in the batch", self.endpoint.path());
                self.tell("mismatched_url", message, Some("url"));
            }
            _ => {}
        }
    }

    fn refuse(&mut self, error: &RequestError) {
        let code = match error.param.as_deref() {
            None => "invalid_json_line",
            Some("url") => "invalid_url",
            Some(_) => "invalid_request",
        };
        self.tell(code, error.message.clone(), error.param.as_deref());
    }

    fn tell(&mut self, code: &str, message: String, param: Option<&str>) {
        self.bad.push(BadLine {
            code: code.to_owned(),
            message,
            param: param.map(str::to_owned),
            line: Some(self.input.number()),
        });
    }

    fn end(&mut self) {
        self.ended = true;
        if self.total == 0 {
            let message = "the file has no request".to_owned();
            self.bad.push(of_file("empty_file", message));
        }
    }
}

/// A mistake of the file as a whole.
pub(super) fn of_file(code: &str, message: String) -> BadLine {
    BadLine {
        code: code.to_owned(),
        message,
        param: None,
        line: None,
    }
}
