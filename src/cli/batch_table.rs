//! The rows of a table (RFC 4180), with the numbers of the lines that they begin in.
//!
//! The csv crate knows two things too little. It counts lines by LF alone, and it takes the end of the file for the
//! end of a quote that was never closed, which makes one field of everything behind it. So the bytes are looked at
//! on their way in: each line that is not blank is noted, and one more row stands behind the last. A row that
//! swallows that one has an open quote.

use std::collections::VecDeque;
use std::io::{self, Read};

use csv::{ByteRecord, ErrorKind, ReaderBuilder, StringRecord};

use super::batch_problem::Problem;
use super::batch_records::{MAX_RECORD_BYTES, TOO_LONG};

/// What a row says that is no text.
pub(super) const NOT_TEXT: &str = "it is not UTF-8 text";
const OPEN_QUOTE: &str = "a quote is opened in this row and never closed";
/// The row behind the last, and the line break before it.
const TAIL: &[u8] = b"\n.";

/// A reader of rows. The first one names the columns.
pub(super) struct Table<R> {
    rows: csv::Reader<Numbered<R>>,
    header: Option<StringRecord>,
}

impl<R: Read> Table<R> {
    pub(super) fn new(source: R, separator: u8) -> Self {
        Table::limited(source, separator, MAX_RECORD_BYTES)
    }

    /// The same with another limit for the length of a row.
    fn limited(source: R, separator: u8, limit: u64) -> Self {
        Table {
            rows: ReaderBuilder::new()
                .delimiter(separator)
                .has_headers(false)
                // Rows of another length are told apart here, from the row behind the last.
                .flexible(true)
                .from_reader(Numbered::new(source, limit)),
            header: None,
        }
    }

    /// The names of the columns; none in an empty file.
    pub(super) fn header(&mut self) -> Result<StringRecord, Problem> {
        if let Some(header) = &self.header {
            return Ok(header.clone());
        }
        let header = match self.read()? {
            Some((line, row)) => text(line, row)?,
            None => StringRecord::new(),
        };
        self.header = Some(header.clone());
        Ok(header)
    }

    /// The next row behind the header, and the number of its first line.
    pub(super) fn next_row(&mut self) -> Result<Option<(u64, StringRecord)>, Problem> {
        let columns = self.header()?.len();
        let Some((line, row)) = self.read()? else {
            return Ok(None);
        };
        if row.len() != columns {
            let (fields, s) = (row.len(), if row.len() == 1 { "" } else { "s" });
            let problem = format!("it has {fields} field{s}, and the header has {columns}");
            return Err(Problem::record(line, problem));
        }
        Ok(Some((line, text(line, row)?)))
    }

    fn read(&mut self) -> Result<Option<(u64, ByteRecord)>, Problem> {
        let before = self.rows.position().byte();
        self.rows.get_mut().row = before;
        let mut row = ByteRecord::new();
        match self.rows.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                return Err(match self.rows.get_mut().too_long() {
                    Some(line) => Problem::record(line, TOO_LONG),
                    None => read_problem(error),
                });
            }
        }
        let after = self.rows.position().byte();
        let bytes = self.rows.get_mut();
        let Some((begin, line)) = bytes.first_line(before) else {
            return Ok(None);
        };
        match bytes.end {
            Some(end) if begin >= end => Ok(None),
            Some(end) if after > end + 1 => Err(Problem::record(line, OPEN_QUOTE)),
            _ => Ok(Some((line, row))),
        }
    }
}

fn text(line: u64, row: ByteRecord) -> Result<StringRecord, Problem> {
    StringRecord::from_byte_record(row).map_err(|_| Problem::record(line, NOT_TEXT))
}

fn read_problem(error: csv::Error) -> Problem {
    match error.into_kind() {
        ErrorKind::Io(error) => Problem::from(error),
        other => Problem::Read(format!("{other:?}")),
    }
}

/// Bytes on their way, with the row behind the last, and where lines begin in them.
struct Numbered<R> {
    source: R,
    /// How many bytes there are, once that is known.
    end: Option<u64>,
    tail: &'static [u8],
    at: u64,
    line: u64,
    last: u8,
    /// Place and number of the lines that are not blank, from the one on that was asked for last. As many as a row
    /// has, and the csv crate's buffer.
    lines: VecDeque<(u64, u64)>,
    /// Where the row that is read begins, or the blank lines before it.
    row: u64,
    /// So many bytes a row may have; some more if they are read already.
    limit: u64,
}

impl<R> Numbered<R> {
    fn new(source: R, limit: u64) -> Self {
        Numbered {
            source,
            end: None,
            tail: TAIL,
            at: 0,
            line: 1,
            last: b'\n',
            lines: VecDeque::new(),
            row: 0,
            limit,
        }
    }

    /// The first line that is not blank and begins at `place` or behind it.
    fn first_line(&mut self, place: u64) -> Option<(u64, u64)> {
        while self.lines.front().is_some_and(|&(begin, _)| begin < place) {
            self.lines.pop_front();
        }
        self.lines.front().copied()
    }

    /// The line of the row that is read, if no more may be read of it.
    fn too_long(&mut self) -> Option<u64> {
        let (begin, line) = self.first_line(self.row)?;
        (self.at - begin > self.limit).then_some(line)
    }

    fn note(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match (byte, self.last) {
                // The second half of CR LF.
                (b'\n', b'\r') => {}
                (b'\n' | b'\r', _) => self.line += 1,
                (_, b'\n' | b'\r') => self.lines.push_back((self.at, self.line)),
                _ => {}
            }
            self.last = byte;
            self.at += 1;
        }
    }
}

impl<R: Read> Read for Numbered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.too_long().is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut count = 0;
        if self.end.is_none() {
            count = self.source.read(buffer)?;
            if count == 0 && !buffer.is_empty() {
                self.end = Some(self.at);
            }
        }
        if self.end.is_some() {
            count = self.tail.read(buffer)?;
        }
        self.note(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(u64, Vec<String>)>;

    fn rows(text: &[u8]) -> Result<Rows, String> {
        let mut table = Table::new(text, b',');
        let mut rows = Vec::new();
        while let Some((line, row)) = table.next_row().map_err(|problem| problem.to_string())? {
            rows.push((line, row.iter().map(str::to_owned).collect()));
        }
        Ok(rows)
    }

    #[test]
    fn rows_have_quotes_line_breaks_and_the_numbers_of_their_first_lines() {
        let text = "\u{feff}id,text\r\n1,\"say \"\"hä\"\",\r\nthen go\"\r\n2,b\r\n";
        let header = Table::new(text.as_bytes(), b',').header().unwrap();
        assert_eq!(header, StringRecord::from(vec!["id", "text"]));
        let row = |id: &str, text: &str| vec![id.to_owned(), text.to_owned()];
        let expected = [(2, row("1", "say \"hä\",\r\nthen go")), (4, row("2", "b"))];
        assert_eq!(rows(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_row_of_another_length_or_encoding_is_named() {
        let refused = |text: &[u8]| rows(text).unwrap_err();
        assert_eq!(
            refused(b"a,b\n1,2\n3\n"),
            "line 3: it has 1 field, and the header has 2"
        );
        assert_eq!(
            refused(b"a\r\r3,4,5"),
            "line 3: it has 3 fields, and the header has 1"
        );
        assert_eq!(refused(b"a,b\n\xff,2\n"), format!("line 2: {NOT_TEXT}"));
        let text = b"a,b\r\n1,2\r\n3,\xff\r\n";
        assert_eq!(refused(text), format!("line 3: {NOT_TEXT}"));
        assert_eq!(refused(b"\xff,b\n1,2\n"), format!("line 1: {NOT_TEXT}"));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_named_and_swallows_nothing() {
        for (text, line) in [
            ("a,b\n1,\"x\n2,y\n", 2),
            ("a\n\n1\n\"", 4),
            ("a\r\n1\r\n\"x\"\"", 3),
            ("\n\"a,b\n1,2\n", 2),
        ] {
            let expected = format!("line {line}: {OPEN_QUOTE}");
            assert_eq!(rows(text.as_bytes()), Err(expected), "{text:?}");
        }
        for text in ["", "\n\r\n", "a", "a\r", "\"a\"", "a\n\"1\"", "a\n1\"\n"] {
            assert!(rows(text.as_bytes()).is_ok(), "{text:?}");
        }
        assert_eq!(rows(b"a\n\"1\"").unwrap(), [(2, vec!["1".to_owned()])]);
    }

    #[test]
    fn a_row_that_is_too_long_is_named_and_not_read_to_its_end() {
        let text = |open: &str| format!("a\n1\n\n\n{open}{}", "x\n".repeat(50_000));
        let read = |text: &str| {
            let mut source = text.as_bytes();
            let mut table = Table::limited(&mut source, b',', 1000);
            let mut count = 0;
            let ended = loop {
                match table.next_row() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => break Ok(count),
                    Err(problem) => break Err(problem),
                }
            };
            drop(table);
            (ended, source.len())
        };
        assert_eq!(read(&text("")), (Ok(50_001), 0));
        let (ended, unread) = read(&text("\""));
        assert_eq!(ended, Err(Problem::record(5, TOO_LONG)));
        assert!(unread > 50_000, "{unread} bytes are left");
        assert_eq!(read(&"\n".repeat(50_000)).0, Ok(0), "no row at all");
    }

    proptest! {
        /// The oracle writes every field in quotes, by the three rules of RFC 4180, and counts lines as it does.
        #[test]
        fn quoted_fields_are_read_as_they_were_written_and_lines_are_counted(
            table in prop::collection::vec(
                (
                    prop::collection::vec("[a\",ä\r\n ]{0,5}", 3),
                    prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 1..4),
                ),
                1..6,
            ),
        ) {
            let mut text = "x,y,z\r\n".to_owned();
            let mut expected = Rows::new();
            let lines = |text: &str| {
                text.replace("\r\n", "\n").replace('\r', "\n").matches('\n').count() as u64
            };
            for (fields, breaks) in &table {
                expected.push((lines(&text) + 1, fields.clone()));
                let quoted = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\"")));
                text += &quoted.collect::<Vec<_>>().join(",");
                text += &breaks.concat();
            }
            prop_assert_eq!(rows(text.as_bytes()).unwrap(), expected);
        }
    }
}
