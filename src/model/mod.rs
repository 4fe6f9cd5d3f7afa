//! One transformer described by a spec: binding weights, KV blocks, forward over a batch.
//!
//! Invariant: knows nothing of jobs, sampling or scheduling.

mod error;
mod forward;
mod kv;
mod load;

pub use error::Error;
pub use forward::{BatchToken, Model, Runner};
pub use kv::{BlockTable, KV_BLOCK_TOKENS, KvPool};
pub use load::{LoadedModel, load};
