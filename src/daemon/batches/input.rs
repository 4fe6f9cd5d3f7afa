//! The lines of a batch's file, read one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use crate::protocol::RequestError;
use crate::protocol::batch_line::BatchLine;
use crate::queue::batch::BatchRow;
use crate::queue::{Error, Queue};

use super::trouble::Trouble;

/// The longest line: more than a prompt that any model here could read.
pub(in crate::daemon) const LONGEST_LINE: u64 = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file that is being read.
pub(super) struct Input {
    reader: BufReader<File>,
    path: String,
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
    pub(super) fn open(queue: &Queue, batch: &BatchRow) -> Result<Self, Trouble> {
        let id = batch.batch.input_file;
        let stored = queue.read_blocking(move |reader| reader.file(id));
        let file = stored.and_then(|stored| queue.files().read(&stored.file.stored_as));
        let file = file.map_err(|error| match error {
            Error::NotFound => Trouble::Input(format!("{id} was deleted")),
            other => other.into(),
        })?;
        Ok(Input {
            reader: BufReader::new(file),
            path: id.to_string(),
            number: 0,
            bytes: 0,
        })
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
    pub(super) fn text(&mut self) -> Result<Option<Result<String, &'static str>>, Error> {
        loop {
            let mut bytes = vec![];
            let read = (&mut self.reader)
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| self.fault(&error))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if read as u64 > LONGEST_LINE {
                if bytes.last() != Some(&b'\n') {
                    let rest = self.reader.skip_until(b'\n');
                    self.bytes += rest.map_err(|error| self.fault(&error))? as u64;
                }
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

    /// The next request of a file that was looked through, which had one there.
    pub(super) fn next(&mut self) -> Result<Line, Trouble> {
        let text = match self.text()? {
            None => return Err(self.changed("it ends earlier")),
            Some(Ok(text)) => text,
            Some(Err(problem)) => return Err(self.changed(problem)),
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

    fn fault(&self, error: &io::Error) -> Error {
        Error::File {
            path: self.path.clone(),
            problem: error.to_string(),
        }
    }
}
