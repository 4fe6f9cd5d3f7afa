//! What can go wrong with text.

use crate::weights;

/// A vocabulary or template that cannot be used, or a template that failed on a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A key that is missing or of another type.
    #[error("tokenizer: {0}")]
    Metadata(weights::Error),
    #[error(
        "tokenizer: tokenizer.ggml.model is {found:?}; known are \"gpt2\", \"llama\", \"t5\" and \"woolly-bytes\""
    )]
    UnknownModel { found: String },
    #[error("tokenizer: tokenizer.ggml.pre is {found:?}; known are {known}")]
    UnknownPreTokenizer { found: String, known: String },
    #[error("tokenizer: the vocabulary has {found} entries, expected 1 to {most}")]
    VocabularySize { found: usize, most: usize },
    #[error(
        "tokenizer: llama.vocab_size is {found}; a byte tokenizer needs {least} to {most} entries"
    )]
    ByteVocabularySize { found: u64, least: u64, most: u64 },
    #[error("tokenizer: {key} has {found} elements, expected {expected}, one for each token")]
    Length {
        key: &'static str,
        found: usize,
        expected: usize,
    },
    #[error("tokenizer: token {id} has {length} bytes, more than the {limit} that are read")]
    TokenLength {
        id: usize,
        length: usize,
        limit: usize,
    },
    #[error(
        "tokenizer: token {id} has the type {found} in tokenizer.ggml.token_type, expected 0 to 6"
    )]
    TokenType { id: usize, found: i32 },
    #[error(
        "tokenizer: token {id} is a byte by its type and {found:?} by its text, expected <0x00> to <0xFF>"
    )]
    ByteToken { id: usize, found: String },
    #[error("tokenizer: the vocabulary has {name:?} twice, as {first} and {second}")]
    DuplicateToken {
        name: String,
        first: u32,
        second: u32,
    },
    #[error(
        "tokenizer: no token stands for the byte {byte:#04x}, so plain text could not be written"
    )]
    MissingByte { byte: u8 },
    #[error(
        "tokenizer: {count} tokens are control or user-defined tokens, more than the {limit} that are read"
    )]
    TooManySpecial { count: usize, limit: usize },
    #[error("tokenizer: {key} is {id}, but the vocabulary has {size} entries")]
    RoleId { key: String, id: i64, size: usize },
    #[error("tokenizer: {key} has {merge:?}, which joins no two entries to a third")]
    Merge { key: String, merge: String },
    #[error("chat template: {0}")]
    Template(String),
    /// `tokenizer.chat_template` is of another type.
    #[error("chat template: {0}")]
    TemplateKey(weights::Error),
    #[error("chat template: it has {length} bytes, more than the {limit} that are read")]
    TemplateLength { length: usize, limit: usize },
    #[error("chat template: it took more steps than the {limit} it is given")]
    TemplateSteps { limit: u64 },
    #[error("chat template: it calls itself too deep; {limit} levels are allowed")]
    TemplateDepth { limit: usize },
    #[error("chat template: it produced more than {limit} bytes")]
    TemplateOutput { limit: usize },
}

impl Error {
    pub(super) fn metadata(error: weights::Error) -> Self {
        Error::Metadata(error)
    }
}
