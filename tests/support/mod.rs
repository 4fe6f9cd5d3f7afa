//! What several test files need.

pub mod cli;
pub mod fake_daemon;
pub mod models;
pub mod runs;
pub mod vocabularies;
