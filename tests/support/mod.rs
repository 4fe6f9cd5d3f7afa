//! What several test files need.

pub mod models;
pub mod runs;
pub mod vocabularies;
