//! GGUF versions 2 and 3, read as if an enemy wrote the file.
//!
//! Invariant: works on the bytes of the whole file; it opens, maps and dequantizes nothing. A refused
//! file gives one [`Error`] that says which part is wrong.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod cursor;
mod error;
mod header;
mod metadata;
pub mod split;
mod value;
#[allow(
    clippy::arithmetic_side_effects,
    reason = "it writes what is mapped already, so no size of it overflows"
)]
pub mod write;

pub use cursor::Place;
pub use error::Error;
pub use header::{Header, TensorInfo};
pub use metadata::{Metadata, Value, excerpt};
