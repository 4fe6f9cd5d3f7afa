//! What can go wrong with text.

/// A vocabulary or template that cannot be used, or a template that failed on a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("chat template: {0}")]
    Template(String),
}
