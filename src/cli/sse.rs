//! Server-sent events: bytes to `data` payloads.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Only `data` fields matter here;
//! comments (keep-alives) and other fields are skipped. Chunks may end anywhere, also inside a character.

/// An event larger than this is no event of ours: the stream is refused instead of filling memory.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Bytes of the line that is not complete yet.
    line: Vec<u8>,
    /// `data` lines of the event that is not complete yet.
    data: Option<String>,
}

/// An event does not fit into memory that a client should spend.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Parser {
    /// The payloads that became complete with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                events.extend(self.take_line(&line));
            }
        }
        Ok(events)
    }

    /// The event that this line ends, if it does.
    fn take_line(&mut self, line: &[u8]) -> Option<String> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.data.take();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_and_other_fields_are_skipped_and_data_lines_joined() {
        let mut parser = Parser::default();
        let text =
            b": keep-alive\n\nid: 12\nevent: token\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\n";
        assert_eq!(parser.push(text).unwrap(), ["{\"a\":1}", "x\ny"]);
    }

    #[test]
    fn an_unfinished_event_is_not_given_out() {
        let mut parser = Parser::default();
        assert!(parser.push(b"data: half\n").unwrap().is_empty());
        assert_eq!(parser.push(b"\n").unwrap(), ["half"]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; MAX_EVENT_BYTES / 2 + 1];
        assert!(parser.push(&chunk).is_ok());
        assert_eq!(parser.push(&chunk), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn chunks_may_be_cut_anywhere(payloads in prop::collection::vec("[^\r\n]{0,12}", 0..6), cut in 1usize..7) {
            let stream: String = payloads.iter().map(|p| format!("data: {p}\n\n")).collect();
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for chunk in stream.as_bytes().chunks(cut) {
                seen.extend(parser.push(chunk).unwrap());
            }
            prop_assert_eq!(seen, payloads);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Parser::default().push(&bytes);
        }
    }
}
