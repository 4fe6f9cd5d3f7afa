//! Text to tokens and back: tokenizer, chat template, streaming detokenization.
//!
//! A [`Tokenizer`] is a vocabulary and one encoder: byte-pair encoding for the `gpt2` and `llama` vocabularies of
//! GGUF files and for the `tokenizer.json` of model folders, unigram for their `t5` vocabularies, or plain bytes for
//! synthetic models. Token ids equal llama.cpp's for the same file.
//!
//! Invariant: knows nothing of models, jobs or HTTP. No text and no list of ids makes it panic.
//! A vocabulary or template that cannot be used is an [`Error`] when it is built, not later.

mod bpe;
mod byte_alphabet;
mod byte_tokens;
mod chat_template;
mod control_guard;
mod end_tokens;
mod error;
mod huggingface;
mod methods;
mod namespace;
mod pipelines;
mod pre_tokenizers;
mod sentencepiece;
mod shared_model;
mod stream_decoder;
mod templates;
mod tokenizer;
mod unigram;
mod vocabulary;

pub use chat_template::{ChatTemplate, Message};
pub use error::Error;
pub use stream_decoder::StreamDecoder;
pub use tokenizer::{MAX_TEXT_BYTES, Tokenizer};
