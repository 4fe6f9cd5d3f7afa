//! Tokens to text as they come, never half a UTF-8 character.

/// Holds back the bytes of an unfinished character.
#[derive(Debug, Default)]
pub struct StreamDecoder {}

impl StreamDecoder {
    /// The text that became complete with these bytes; invalid sequences become U+FFFD.
    pub fn push(&mut self, _bytes: &[u8]) -> String {
        todo!()
    }

    /// What is left when the sequence ends: U+FFFD for an unfinished character, else nothing.
    pub fn finish(&mut self) -> String {
        todo!()
    }
}
