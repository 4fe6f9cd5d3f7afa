//! One integration binary: a file per behaviour, helpers in `support`.

mod chat_template;
mod stream_decoder;
mod support;
mod tokenizer;
