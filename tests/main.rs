//! One integration binary; a file per behaviour.
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, in helpers too"
)]

mod cache_format;
mod dequant;
mod gguf_reader;
mod model_cache;
mod support;
mod synthetic_weights;
