//! Helpers of the behaviour tests.

pub mod block_on;
pub mod queue;
pub mod queue_oracle;
