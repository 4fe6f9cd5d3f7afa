//! What can go wrong with text.

use std::fmt;

/// A vocabulary or template that cannot be used, or a template that failed on a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("chat template: {0}")]
    Template(String),
}

impl Error {
    /// A tokenizer key that is missing or of another type.
    pub(super) fn metadata(error: impl fmt::Display) -> Self {
        Error::Tokenizer(error.to_string())
    }
}
