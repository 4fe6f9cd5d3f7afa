//! Helpers of the behaviour tests.

pub(crate) mod block_on;
pub(crate) mod queue;
pub(crate) mod queue_oracle;
pub(crate) mod rust_tokens;
