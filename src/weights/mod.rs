//! Weight sources: GGUF files and safetensors folders through the FP32 cache, or synthetic random values.
//! Each gives a [`WeightStore`] of named tensors and the [`Metadata`] that describes model and tokenizer,
//! in the words of GGUF.
//!
//! Invariant: does not know what a transformer computes; names and shapes are data here.

mod convert;
pub mod dequant;
mod error;
mod files;
mod fill;
pub mod folder;
pub mod gguf;
mod origin;
mod source;
mod store;
mod stored;
mod synthetic;
pub mod unpack;

pub use crate::cache::{Progress, Work};
pub use error::Error;
pub use files::{Description, default_name, describe};
pub use gguf::Metadata;
pub use origin::Origin;
pub use source::{LoadReport, Loaded, open, open_cached, open_if};
pub use store::{Tensor, Unverified, Verdict, WeightStore};
pub use stored::{Shape, Stored, slice_name};
pub use synthetic::Synthetic;
