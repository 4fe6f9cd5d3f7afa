//! A fixed pool of decode workers with continuous batching.
//!
//! Invariant: does not know that jobs are durable, nor who waits for them.

mod pool;

pub use pool::{Pool, Task};
