//! Weight sources: a GGUF file through the FP32 cache, or synthetic random values. Each gives a
//! [`WeightStore`] of named tensors and the [`Metadata`] that describes model and tokenizer.
//!
//! Invariant: does not know what a transformer computes; names and shapes are data here.

mod convert;
pub mod dequant;
mod error;
pub mod gguf;
mod source;
mod store;
mod synthetic;

pub use crate::cache::Progress;
pub use error::Error;
pub use gguf::Metadata;
pub use source::{LoadReport, Loaded, open, open_if};
pub use store::{Tensor, Unverified, Verdict, WeightStore};
