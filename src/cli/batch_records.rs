//! The records of an input file, one at a time: lines, or the rows of a table with a header.
//!
//! Invariant: no more than one record is held in memory. What a record means is not known here.

use std::io::{BufRead, BufReader, Read};

use csv::{ByteRecord, ErrorKind, ReaderBuilder, StringRecord};

use super::batch_input::Problem;

/// Editors on Windows put it in front of UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';
const NOT_TEXT: &str = "it is not UTF-8 text";

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
    Lines {
        reader: BufReader<R>,
        line: u64,
    },
    Table {
        reader: csv::Reader<R>,
        /// The csv crate takes the second half of CR LF for the beginning of the next record, and so reports
        /// the line before.
        lag: Option<u64>,
    },
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R, layout: Layout) -> Self {
        match layout {
            Layout::Lines => Records::Lines {
                reader: BufReader::new(source),
                line: 0,
            },
            Layout::Table { separator } => Records::Table {
                reader: ReaderBuilder::new()
                    .delimiter(separator)
                    .from_reader(source),
                lag: None,
            },
        }
    }

    /// The names of a table's columns; lines have none.
    pub(super) fn header(&mut self) -> Result<Option<StringRecord>, Problem> {
        match self {
            Records::Lines { .. } => Ok(None),
            Records::Table { reader, .. } => {
                let header = reader.headers().map_err(|error| problem(&error, 0))?;
                Ok(Some(header.clone()))
            }
        }
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<(u64, Record), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Records::Lines { reader, line } => loop {
                let mut bytes = Vec::new();
                match reader.read_until(b'\n', &mut bytes) {
                    Ok(0) => return None,
                    Ok(_) => *line += 1,
                    Err(error) => return Some(Err(Problem::Read(error.to_string()))),
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
            Records::Table { reader, lag } => {
                let second = match reader.byte_headers() {
                    Ok(header) => 2 + breaks(header),
                    Err(error) => return Some(Err(problem(&error, 0))),
                };
                let mut row = ByteRecord::new();
                let read = reader.read_byte_record(&mut row);
                let position = match &read {
                    Ok(_) => row.position(),
                    Err(error) => error.position(),
                };
                let line = position.map_or(second, csv::Position::line);
                let lag = *lag.get_or_insert(u64::from(line < second));
                match read {
                    Ok(false) => None,
                    Ok(true) => Some(match StringRecord::from_byte_record(row) {
                        Ok(row) => Ok((line + lag, Record::Row(row))),
                        Err(_) => Err(Problem::record(line + lag, NOT_TEXT)),
                    }),
                    Err(error) => Some(Err(problem(&error, lag))),
                }
            }
        }
    }
}

/// The line breaks inside of fields.
fn breaks(row: &ByteRecord) -> u64 {
    let bytes = row.as_slice().iter();
    bytes.filter(|&&byte| byte == b'\n').count() as u64
}

fn problem(error: &csv::Error, lag: u64) -> Problem {
    let line = error.position().map_or(1, csv::Position::line) + lag;
    match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Problem::record(
            line,
            format!("it has {len} fields and the header {expected_len}"),
        ),
        ErrorKind::Utf8 { .. } => Problem::record(line, NOT_TEXT),
        _ => Problem::Read(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Layout = Layout::Table { separator: b',' };

    fn rows(text: &[u8]) -> Result<Vec<(u64, Vec<String>)>, Problem> {
        let row = |record| match record {
            (line, Record::Row(row)) => (line, row.iter().map(str::to_owned).collect()),
            (line, Record::Line(text)) => (line, vec![text]),
        };
        Records::new(text, CSV)
            .map(|record| record.map(row))
            .collect()
    }

    #[test]
    fn rows_have_quotes_line_breaks_and_the_numbers_of_their_first_lines() {
        let text = "\u{feff}id,text\r\n1,\"say \"\"hä\"\",\r\nthen go\"\r\n2,b\r\n";
        let header = Records::new(text.as_bytes(), CSV).header().unwrap();
        assert_eq!(header, Some(StringRecord::from(vec!["id", "text"])));
        let row = |id: &str, text: &str| vec![id.to_owned(), text.to_owned()];
        let expected = [(2, row("1", "say \"hä\",\r\nthen go")), (4, row("2", "b"))];
        assert_eq!(rows(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_row_of_another_length_or_encoding_is_named() {
        let problem = rows(b"a,b\n1,2\n3\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "line 3: it has 1 fields and the header 2"
        );
        let problem = rows(b"a,b\n\xff,2\n").unwrap_err();
        assert_eq!(problem.to_string(), "line 2: it is not UTF-8 text");
        let problem = rows(b"a,b\r\n1,2\r\n3,\xff\r\n").unwrap_err();
        assert_eq!(problem.to_string(), "line 3: it is not UTF-8 text");
        let header = Records::new(&b"\xff,b\n1,2\n"[..], CSV).header();
        let problem = header.unwrap_err();
        assert_eq!(problem.to_string(), "line 1: it is not UTF-8 text");
    }

    #[test]
    fn lines_keep_their_numbers_and_lose_breaks_and_the_byte_order_mark() {
        let text = "\u{feff}one\r\n\n \n  two";
        let lines: Result<Vec<_>, _> = Records::new(text.as_bytes(), Layout::Lines).collect();
        let line = |text: &str| Record::Line(text.to_owned());
        assert_eq!(lines.unwrap(), [(1, line("one")), (4, line("  two"))]);
    }

    proptest! {
        /// The oracle writes every field in quotes, by the three rules of RFC 4180.
        #[test]
        fn quoted_fields_are_read_as_they_were_written(
            table in prop::collection::vec(prop::collection::vec("[a\",ä\r\n ]{0,5}", 3), 1..6),
        ) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let row = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",");
            let text = table.iter().map(row).collect::<Vec<_>>().join("\r\n");
            let text = format!("x,y,z\r\n{text}\r\n");
            let read: Vec<_> = rows(text.as_bytes()).unwrap().into_iter().map(|(_, row)| row).collect();
            prop_assert_eq!(read, table);
        }
    }
}
