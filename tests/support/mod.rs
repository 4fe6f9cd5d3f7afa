//! What several test files need.

pub mod block_on;
pub mod daemon;
pub mod http;
pub mod models;
pub mod queue;
pub mod queue_oracle;
pub mod runs;
pub mod vocabularies;
