//! The lines of a batch's file, read one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use crate::protocol::RequestError;
use crate::protocol::batch_line::BatchLine;
use crate::queue::batch::BatchRow;
use crate::queue::{Error, Queue};

use super::trouble::{Trouble, read};

/// Bytes of a line around its body: `custom_id`, `method`, `url`.
const AROUND: u64 = 8 << 10;

/// The longest line of a file, whose bodies are no longer than those of other requests.
pub(in crate::daemon) fn longest_line(max_body_bytes: usize) -> u64 {
    max_body_bytes as u64 + AROUND
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file that is being read.
pub(super) struct Input {
    reader: BufReader<File>,
    path: String,
    /// Longer lines are passed over, and told to be too long.
    longest: u64,
    /// Of the line that was read last, from 1.
    number: u64,
    /// Read so far.
    bytes: u64,
}

/// A line that is a request of the batch.
pub(super) struct Line {
    pub(super) custom_id: String,
    /// The body as JSON text, or why it can never run.
    pub(super) body: Result<Vec<u8>, RequestError>,
}

impl Input {
    /// That of a batch. Its lines may have any length: those that were found good stay so, whatever the configuration
    /// says by now.
    pub(super) fn open(queue: &Queue, batch: &BatchRow) -> Result<Self, Trouble> {
        let id = batch.batch.input_file;
        let gone = || Trouble::Input(format!("{id} was deleted"));
        let stored =
            read(queue, move |reader| reader.file(id)).map_err(|trouble| match trouble {
                Trouble::Queue(Error::NotFound) => gone(),
                other => other,
            })?;
        let file = queue.files().read(&stored.file.stored_as);
        let file = file.map_err(|error| match error {
            Error::NotFound => gone(),
            other => Trouble::Unreadable(other),
        })?;
        Ok(Input {
            reader: BufReader::new(file),
            path: id.to_string(),
            longest: u64::MAX - 1,
            number: 0,
            bytes: 0,
        })
    }

    /// For the first look.
    pub(super) fn with_lines_up_to(self, longest: u64) -> Self {
        Input { longest, ..self }
    }

    /// Of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not blank, as text, or what is wrong with it.
    pub(super) fn text(&mut self) -> Result<Option<Result<String, String>>, Trouble> {
        loop {
            let mut bytes = vec![];
            let count = (&mut self.reader)
                .take(self.longest + 1)
                .read_until(b'\n', &mut bytes);
            let count = count.map_err(|error| self.fault(&error))? as u64;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += count;
            if count > self.longest {
                if bytes.last() != Some(&b'\n') {
                    let rest = self.reader.skip_until(b'\n');
                    self.bytes += rest.map_err(|error| self.fault(&error))? as u64;
                }
                let problem = format!(
                    "the line is longer than {} bytes ([api] max_body_bytes, and {AROUND} around a body)",
                    self.longest
                );
                return Ok(Some(Err(problem)));
            }
            // Some editors begin a file of text with this mark.
            if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            match String::from_utf8(bytes) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Ok(Some(Ok(text))),
                Err(_) => return Ok(Some(Err("the line is not UTF-8 text".to_owned()))),
            }
        }
    }

    /// The next request of a file that was looked through, which had one there.
    pub(super) fn next(&mut self) -> Result<Line, Trouble> {
        let text = match self.text()? {
            None => return Err(self.changed("it ends earlier")),
            Some(Ok(text)) => text,
            Some(Err(problem)) => return Err(self.changed(&problem)),
        };
        let line = BatchLine::openai(&text).map_err(|error| self.changed(&error.to_string()))?;
        Ok(Line {
            custom_id: line.custom_id,
            body: line.request.map(|request| request.body_text()),
        })
    }

    /// Passes over one request of such a file.
    pub(super) fn skip(&mut self) -> Result<(), Trouble> {
        match self.text()? {
            Some(_) => Ok(()),
            None => Err(self.changed("it ends earlier")),
        }
    }

    fn changed(&self, problem: &str) -> Trouble {
        let (path, number) = (&self.path, self.number);
        Trouble::Input(format!(
            "{path} has changed since it was looked through, at line {number}: {problem}"
        ))
    }

    fn fault(&self, error: &io::Error) -> Trouble {
        Trouble::Unreadable(Error::File {
            path: self.path.clone(),
            problem: error.to_string(),
        })
    }
}
