//! Token ids from text and bytes from token ids.

use crate::weights::Metadata;

use super::Error;

/// A vocabulary with its merges and special tokens. Shared between threads.
pub struct Tokenizer {}

impl Tokenizer {
    /// Builds from `tokenizer.ggml.*`; an unknown model or pre-tokenizer is an error that names it.
    pub fn from_metadata(_metadata: &Metadata) -> Result<Self, Error> {
        todo!()
    }

    /// `add_special` adds BOS and EOS as the file says; `parse_special` lets control tokens in `text`
    /// become their ids, otherwise they are text.
    pub fn encode(
        &self,
        _text: &str,
        _add_special: bool,
        _parse_special: bool,
    ) -> Result<Vec<u32>, Error> {
        todo!()
    }

    /// All text of `ids`; control tokens print as nothing unless `special`; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, _ids: &[u32], _special: bool) -> String {
        todo!()
    }

    /// The bytes one token prints as; empty for control tokens and ids out of range.
    pub fn bytes(&self, _id: u32) -> &[u8] {
        todo!()
    }

    /// The vocabulary entry as written in the file, control tokens included; for logs and logprobs.
    pub fn name(&self, _id: u32) -> &str {
        todo!()
    }

    pub fn vocab_size(&self) -> usize {
        todo!()
    }

    pub fn bos(&self) -> Option<u32> {
        todo!()
    }

    pub fn eos(&self) -> Option<u32> {
        todo!()
    }

    /// Every end-of-generation token, ascending.
    pub fn end_tokens(&self) -> &[u32] {
        todo!()
    }
}
