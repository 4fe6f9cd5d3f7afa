//! Text to tokens and back: tokenizer, chat template, streaming detokenization.
//!
//! Invariant: knows nothing of models, jobs or HTTP.

mod chat_template;
mod error;
mod stream_decoder;
mod tokenizer;

pub use chat_template::{ChatTemplate, Message};
pub use error::Error;
pub use stream_decoder::StreamDecoder;
pub use tokenizer::Tokenizer;
