//! Conversations to prompts with the model's own Jinja template.

use serde::{Deserialize, Serialize};

use crate::weights::Metadata;

use super::{Error, Tokenizer};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A compiled template.
pub struct ChatTemplate {}

impl ChatTemplate {
    /// `override_source` (or the name of a built-in such as `chatml`) wins over the file's template;
    /// without either, chatml.
    pub fn new(_metadata: &Metadata, _override_source: Option<&str>) -> Result<Self, Error> {
        todo!()
    }

    /// The prompt as text, generation prompt included.
    pub fn render(&self, _tokenizer: &Tokenizer, _messages: &[Message]) -> Result<String, Error> {
        todo!()
    }

    /// The prompt as tokens. Control tokens inside message content stay text: only the template's own
    /// text may produce them.
    pub fn encode(&self, _tokenizer: &Tokenizer, _messages: &[Message]) -> Result<Vec<u32>, Error> {
        todo!()
    }
}
