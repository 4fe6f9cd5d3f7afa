//! What several test files need.

pub mod models;
pub mod runs;
mod scratch_gguf;
pub mod vocabularies;
