//! Named FP32 tensors in one safetensors file: built once under an opaque fingerprint, then mapped.
//!
//! Invariant: knows nothing of GGUF, quantization or transformers.

pub mod mapped;

pub use mapped::{MappedFile, MappedTensors};
