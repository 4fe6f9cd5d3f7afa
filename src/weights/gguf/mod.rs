//! GGUF versions 2 and 3, read as if an enemy wrote the file.

mod metadata;
mod scratch;

pub use scratch::Header;
pub use metadata::{Metadata, Value};
