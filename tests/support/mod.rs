//! What several test files need.

pub mod batch_files;
pub mod block_on;
pub mod cli;
pub mod conformance;
pub mod daemon;
pub mod fake_daemon;
pub mod folder;
pub mod gguf_file;
pub mod http;
pub mod meter;
pub mod models;
pub mod published;
pub mod queue;
pub mod queue_double;
pub mod queue_oracle;
pub mod queue_oracle_batches;
pub mod runs;
pub mod rust_tokens;
pub mod served_model;
pub mod tiny_llama;
pub mod vocabularies;
