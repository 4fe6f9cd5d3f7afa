//! The records of an input file, one at a time: lines, or the rows of a table with a header.
//!
//! Invariant: no more than one record is held in memory, and none that is longer than [`MAX_RECORD_BYTES`]. What a
//! record means is not known here.

use std::io::{BufRead, BufReader, Read};

use csv::StringRecord;

use super::batch_problem::Problem;
use super::batch_table::{NOT_TEXT, Table};

/// The longest record: far more than the text of any prompt, and no more than memory can hold. In a large file without
/// line breaks, or behind a quote that is never closed, everything is one record.
pub(super) const MAX_RECORD_BYTES: u64 = 64 << 20;

/// What a record says that is longer.
pub(super) const TOO_LONG: &str =
    "it is longer than 64 MiB: a line break is missing, or a quote is never closed";

/// Editors on Windows put it in front of UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How a file is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Every line that is not blank.
    Lines,
    /// RFC 4180 with this separator; the first row names the columns.
    Table { separator: u8 },
}

/// One record, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Line(String),
    Row(StringRecord),
}

/// An iterator over the records with the numbers of their first lines, from 1.
pub(super) enum Records<R> {
    Lines { reader: BufReader<R>, line: u64 },
    Table(Table<R>),
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R, layout: Layout) -> Self {
        match layout {
            Layout::Lines => Records::Lines {
                reader: BufReader::new(source),
                line: 0,
            },
            Layout::Table { separator } => Records::Table(Table::new(source, separator)),
        }
    }

    /// The names of a table's columns; lines have none.
    pub(super) fn header(&mut self) -> Result<Option<StringRecord>, Problem> {
        match self {
            Records::Lines { .. } => Ok(None),
            Records::Table(table) => table.header().map(Some),
        }
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<(u64, Record), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Records::Lines { reader, line } => loop {
                let mut bytes = Vec::new();
                let mut record = reader.take(MAX_RECORD_BYTES + 1);
                match record.read_until(b'\n', &mut bytes) {
                    Ok(0) => return None,
                    Ok(_) => *line += 1,
                    Err(error) => return Some(Err(error.into())),
                }
                if bytes.len() as u64 > MAX_RECORD_BYTES {
                    return Some(Err(Problem::record(*line, TOO_LONG)));
                }
                let Ok(text) = std::str::from_utf8(&bytes) else {
                    return Some(Err(Problem::record(*line, NOT_TEXT)));
                };
                let text = text.strip_suffix('\n').unwrap_or(text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                let text = match *line {
                    1 => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
                    _ => text,
                };
                if !text.trim().is_empty() {
                    return Some(Ok((*line, Record::Line(text.to_owned()))));
                }
            },
            Records::Table(table) => {
                let row = table.next_row().transpose()?;
                Some(row.map(|(line, row)| (line, Record::Row(row))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_lose_breaks_and_the_byte_order_mark() {
        let text = "\u{feff}one\r\n\n \n  two";
        let lines: Result<Vec<_>, _> = Records::new(text.as_bytes(), Layout::Lines).collect();
        let line = |text: &str| Record::Line(text.to_owned());
        assert_eq!(lines.unwrap(), [(1, line("one")), (4, line("  two"))]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named() {
        let long = std::io::repeat(b'x').take(MAX_RECORD_BYTES + 1);
        let mut lines = Records::new("a\n".as_bytes().chain(long), Layout::Lines).skip(1);
        let expected = Problem::record(2, TOO_LONG);
        assert_eq!(lines.next(), Some(Err(expected)));
    }
}
