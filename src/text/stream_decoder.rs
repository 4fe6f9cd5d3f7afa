//! Tokens to text as they come, never half a UTF-8 character.

/// Holds back the bytes of an unfinished character.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    held: Vec<u8>,
}

impl StreamDecoder {
    /// The text that became complete with these bytes; invalid sequences become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.held.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.held[..valid]));
                    let Some(bad) = error.error_len() else {
                        self.held.drain(..valid);
                        return text;
                    };
                    text.push('\u{fffd}');
                    self.held.drain(..valid + bad);
                }
            }
        }
    }

    /// What is left when the sequence ends: U+FFFD for an unfinished character, else nothing.
    pub fn finish(&mut self) -> String {
        if std::mem::take(&mut self.held).is_empty() { String::new() } else { '\u{fffd}'.to_string() }
    }
}
