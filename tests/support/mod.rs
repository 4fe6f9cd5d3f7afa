//! What several test files need.

pub mod daemon;
pub mod http;
pub mod models;
pub mod runs;
pub mod vocabularies;
