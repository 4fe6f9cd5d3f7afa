//! GGUF versions 2 and 3, read as if an enemy wrote the file.
//!
//! Invariant: works on the bytes of the whole file; it opens, maps and dequantizes nothing. A refused
//! file gives one [`Error`] that says which part is wrong.
#![deny(clippy::indexing_slicing)]

mod cursor;
mod error;
mod header;
mod metadata;
pub mod split;
mod value;
pub mod write;

pub use error::Error;
pub use header::{Header, TensorInfo};
pub use metadata::{Metadata, Value};
