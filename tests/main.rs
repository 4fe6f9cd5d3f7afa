//! One integration binary; a file per behaviour.

mod cache_format;
mod dequant;
mod gguf_reader;
mod synthetic_weights;
