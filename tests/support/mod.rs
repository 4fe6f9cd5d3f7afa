//! What several test files need.

pub mod gguf_file;
pub mod models;
pub mod runs;
pub mod served_model;
pub mod vocabularies;
