//! The one integration binary: a file per behaviour.
#![allow(
    unreachable_pub,
    reason = "one crate: `pub` here means for the other test files"
)]

mod chat_template;
mod cli_batch;
mod cli_cache;
mod cli_daemon;
mod cli_run;
mod cli_submit;
mod config;
mod equal_bytes;
mod reference;
mod stream_decoder;
mod support;
mod tokenizer;
