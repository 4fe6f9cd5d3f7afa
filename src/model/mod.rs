//! One transformer described by a spec: binding weights, KV blocks, forward over a batch.
//!
//! A model fails at load, with a sentence that says which part is missing or unknown; it never loads
//! with a part silently ignored. Forward itself cannot fail.
//!
//! Invariant: knows nothing of jobs, sampling or scheduling.

mod accept;
mod architectures;
mod bind;
mod error;
mod expect;
mod forward;
mod hyper;
mod inspect;
mod kv;
mod load;
mod parts;
mod rope;
mod scratch;
mod spec;

pub use accept::accept;
pub use bind::Model;
pub use error::{Error, HyperProblem};
pub use forward::{BatchToken, Runner};
pub use hyper::Hyper;
pub use inspect::{Inspection, Memory, Sizes, Template, Vocabulary, inspect};
pub use kv::{
    BlockTable, KV_BLOCK_TOKENS, KvPool, KvShape, PerReach, Reach, first_kept, ring_blocks,
};
pub use load::{LoadedModel, Times, load};
