//! One integration binary: a file per behaviour, helpers in `support`.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails; helpers are tests too"
)]

mod chat_template;
mod protocol_jobs;
mod protocol_requests;
mod protocol_resolve;
mod protocol_responses;
mod protocol_stream;
mod stream_decoder;
mod support;
mod tokenizer;
