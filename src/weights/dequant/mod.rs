//! Blocks of GGUF tensors to FP32, bit-identical to the `gguf` Python package.
//!
//! - [`TensorType`]: which types there are, and the size of their blocks.
//! - `half`, `legacy`, `k_quants`: one function per type over one block.
//!
//! The order of the float operations is that of the reference, each rounded by itself. A change of any
//! value increments the cache's format version.
//!
//! Invariant: knows nothing of files, tensors' names or layouts.

mod half;
mod k_quants;
mod legacy;
mod types;

pub use types::TensorType;
