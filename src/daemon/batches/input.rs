//! The lines of a batch's file, read one after the other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::job::Endpoint;
use crate::protocol::RequestError;
use crate::protocol::batch_line::BatchLine;
use crate::protocol::batches::BadLine;
use crate::queue::batch::BatchRow;
use crate::queue::{Error, Queue};

/// The longest line: more than a prompt that any model here could read.
pub(in crate::daemon) const LONGEST_LINE: u64 = 16 << 20;
/// Requests of a file at most. OpenAI takes 50,000.
const MOST_LINES: u64 = 1_000_000;
/// Mistakes that are told; the rest are like them.
const TOLD: usize = 100;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file that is being read.
pub(super) struct Input {
    reader: BufReader<File>,
    path: String,
    /// Of the line that was read last, from 1.
    number: u64,
}

/// A line that is a request of the batch.
pub(super) struct Line {
    pub(super) custom_id: String,
    /// The body as JSON text, or why it can never run.
    pub(super) body: Result<Vec<u8>, RequestError>,
}

impl Input {
    pub(super) fn open(queue: &Queue, batch: &BatchRow) -> Result<Self, Error> {
        let id = batch.batch.input_file;
        let file = queue.read_blocking(move |reader| reader.file(id));
        let gone = |problem: String| Error::File {
            path: id.to_string(),
            problem,
        };
        let stored = file.map_err(|error| match error {
            Error::NotFound => gone("it was deleted".to_owned()),
            other => other,
        })?;
        let file = queue.files().read(&stored.file.stored_as)?;
        Ok(Input {
            reader: BufReader::new(file),
            path: id.to_string(),
            number: 0,
        })
    }

    /// The next line that is not blank, as text, or what is wrong with it.
    fn text(&mut self) -> Result<Option<Result<String, &'static str>>, Error> {
        loop {
            let mut bytes = vec![];
            let read = (&mut self.reader)
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut bytes)
                .map_err(|error| Error::File {
                    path: self.path.clone(),
                    problem: error.to_string(),
                })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if bytes.len() as u64 > LONGEST_LINE {
                // What follows is the rest of this line.
                return Ok(Some(Err("the line is longer than 16 MiB")));
            }
            // Some editors begin a file of text with this mark.
            if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            match String::from_utf8(bytes) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Ok(Some(Ok(text))),
                Err(_) => return Ok(Some(Err("the line is not UTF-8 text"))),
            }
        }
    }

    /// The next request of a file that was looked through.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Error> {
        let text = match self.text()? {
            None => return Ok(None),
            Some(Ok(text)) => text,
            Some(Err(problem)) => return Err(self.changed(problem)),
        };
        let line = BatchLine::openai(&text).map_err(|error| self.changed(&error.to_string()))?;
        Ok(Some(Line {
            custom_id: line.custom_id,
            body: line.request.map(|request| request.body_text()),
        }))
    }

    /// The file was looked through and had no such line.
    fn changed(&self, problem: &str) -> Error {
        Error::File {
            path: self.path.clone(),
            problem: format!("line {} has changed: {problem}", self.number),
        }
    }
}

/// How many requests there are, or what is wrong with their lines.
pub(super) fn look_through(
    mut input: Input,
    endpoint: Endpoint,
) -> Result<Result<u64, Vec<BadLine>>, Error> {
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let (mut total, mut bad) = (0, vec![]);
    while bad.len() < TOLD
        && let Some(text) = input.text()?
    {
        total += 1;
        let line = Some(input.number);
        let mut tell = |code: &str, message: String, param: Option<&str>| {
            bad.push(BadLine {
                code: code.to_owned(),
                message,
                param: param.map(str::to_owned),
                line,
            });
        };
        let text = match text {
            Ok(text) => text,
            Err(problem) => {
                tell("invalid_json_line", problem.to_owned(), None);
                break;
            }
        };
        match BatchLine::openai(&text) {
            Err(error) => {
                let code = match error.param {
                    Some(_) => "invalid_request",
                    None => "invalid_json_line",
                };
                tell(code, error.message, error.param.as_deref());
            }
            Ok(line) => {
                // 128 bits: two ids that are not the same do not meet.
                let hash = blake3::hash(line.custom_id.as_bytes());
                let short = hash.as_bytes().first_chunk().copied().unwrap_or_default();
                if !seen.insert(short) {
                    let message = format!("the custom_id {:?} was used before", line.custom_id);
                    tell("duplicate_custom_id", message, Some("custom_id"));
                }
                if let Ok(request) = &line.request
                    && request.endpoint != endpoint
                {
                    let message = format!("url must be {}, as in the batch", endpoint.path());
                    tell("mismatched_url", message, Some("url"));
                }
            }
        }
        if total > MOST_LINES {
            let message = format!("the file has more than {MOST_LINES} requests");
            tell("too_many_requests", message, None);
            break;
        }
    }
    if total == 0 {
        bad.push(BadLine {
            code: "empty_file".to_owned(),
            message: "the file has no request".to_owned(),
            param: None,
            line: None,
        });
    }
    Ok(match bad.is_empty() {
        true => Ok(total),
        false => Err(bad),
    })
}
