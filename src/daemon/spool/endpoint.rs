//! Which endpoint the requests of a file are for, found out while it is copied.

use serde::Deserialize;

use crate::job::Endpoint;

/// Of a line: what else is wrong with it is told when the batch is validated.
#[derive(Deserialize)]
struct Line {
    url: String,
}

/// Looks for the first line with a known `url`.
pub(super) struct Search {
    /// Bytes of a line at most.
    longest: u64,
    line: Vec<u8>,
    found: Option<Endpoint>,
    /// At a line that is too long: the validation goes no further either.
    given_up: bool,
}

impl Search {
    pub(super) fn new(longest: u64) -> Self {
        Search {
            longest,
            line: vec![],
            found: None,
            given_up: false,
        }
    }

    pub(super) fn look_at(&mut self, mut bytes: &[u8]) {
        while self.found.is_none() && !self.given_up && !bytes.is_empty() {
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (of_line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            self.given_up = (self.line.len() + of_line.len()) as u64 > self.longest;
            if !self.given_up {
                self.line.extend_from_slice(of_line);
            }
            if end.is_some() {
                self.end_line();
            }
        }
    }

    /// That of the file. Where no line has one, the validation says so, line by line.
    pub(super) fn end(mut self) -> Endpoint {
        self.end_line();
        self.found.unwrap_or(Endpoint::Completions)
    }

    fn end_line(&mut self) {
        let mark = "\u{feff}".as_bytes();
        let text = self.line.strip_prefix(mark).unwrap_or(&self.line);
        if !self.given_up
            && self.found.is_none()
            && let Ok(line) = serde_json::from_slice::<Line>(text)
        {
            self.found = Endpoint::from_path(&line.url);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: u64 = 100;

    fn endpoint(text: &str, chunk: usize) -> Endpoint {
        let mut search = Search::new(LONGEST);
        for bytes in text.as_bytes().chunks(chunk) {
            search.look_at(bytes);
        }
        search.end()
    }

    #[test]
    fn the_first_known_url_decides_wherever_chunks_end() {
        let chat = r#"{"url": "/v1/chat/completions", "body": {"x": [1]}}"#;
        let other = r#"{"url": "/v1/completions"}"#;
        for text in [
            format!("{chat}\n{other}\n"),
            format!("\u{feff}{chat}\n{other}"),
            format!("\n  \nno json\n{{\"url\": 3}}\n{{\"url\": \"/v1/x\"}}\n[1]\n{chat}"),
        ] {
            for chunk in [1, 7, 1 << 20] {
                assert_eq!(endpoint(&text, chunk), Endpoint::ChatCompletions, "{text}");
            }
        }
        assert_eq!(
            endpoint(&format!("{other}\n{chat}"), 9),
            Endpoint::Completions
        );
        assert_eq!(endpoint("", 1), Endpoint::Completions);
    }

    #[test]
    fn lines_are_as_long_as_those_of_a_batch() {
        let most = usize::try_from(LONGEST).unwrap();
        let mut line = r#"{"url": "/v1/chat/completions"}"#.to_owned();
        line += &" ".repeat(most - line.len() - 1);
        assert_eq!(
            endpoint(&format!("{line}\n"), 1 << 20),
            Endpoint::ChatCompletions
        );
        // One byte more: this line and all after it.
        let text = format!("{line} \n{}\n", r#"{"url": "/v1/chat/completions"}"#);
        assert_eq!(endpoint(&text, 1 << 20), Endpoint::Completions);
    }
}
