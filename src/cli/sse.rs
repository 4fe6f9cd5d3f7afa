//! Server-sent events: bytes to named payloads.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Only `event` and `data` fields matter
//! here; comments (keep-alives) and other fields are skipped. Chunks may end anywhere, also inside a character.

/// An event larger than this is no event of ours: the stream is refused instead of filling memory.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// One event with data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty for one without a name.
    pub(super) name: String,
    pub(super) data: String,
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Bytes of the line that is not complete yet.
    line: Vec<u8>,
    /// Of the event that is not complete yet.
    name: String,
    /// Its `data` lines.
    data: Option<String>,
}

/// An event does not fit into memory that a client should spend.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Parser {
    /// The events that became complete with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
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
    fn take_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => self.name = value.to_owned(),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data) => *data = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn comments_and_other_fields_are_skipped_and_data_lines_joined() {
        let mut parser = Parser::default();
        let text = b": keep-alive\n\nid: 12\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\n";
        let events = [event("", "{\"a\":1}"), event("", "x\ny")];
        assert_eq!(parser.push(text).unwrap(), events);
    }

    #[test]
    fn a_name_is_that_of_its_own_event_only() {
        let mut parser = Parser::default();
        let text = b"event: restarted\ndata: {}\n\ndata: x\n\nevent: lost\n\ndata: y\n\n";
        let events = [event("restarted", "{}"), event("", "x"), event("", "y")];
        assert_eq!(parser.push(text).unwrap(), events);
    }

    #[test]
    fn an_unfinished_event_is_not_given_out() {
        let mut parser = Parser::default();
        assert!(parser.push(b"data: half\n").unwrap().is_empty());
        assert_eq!(parser.push(b"\n").unwrap(), [event("", "half")]);
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
                seen.extend(parser.push(chunk).unwrap().into_iter().map(|event| event.data));
            }
            prop_assert_eq!(seen, payloads);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Parser::default().push(&bytes);
        }
    }
}
