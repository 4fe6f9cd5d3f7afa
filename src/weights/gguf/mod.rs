//! GGUF versions 2 and 3, read as if an enemy wrote the file.

mod metadata;

pub use metadata::{Metadata, Value};
