//! The one integration binary: a file per behaviour.
#![allow(
    unreachable_pub,
    reason = "one crate: `pub` here means for the other test files"
)]

mod api_completions;
mod api_jobs;
mod chat_template;
mod config;
mod daemon_lifecycle;
mod equal_bytes;
mod queue_crash;
mod queue_handle;
mod queue_store;
mod reference;
mod stream_decoder;
mod support;
mod tokenizer;
