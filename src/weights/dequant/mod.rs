//! Blocks of GGUF tensors to FP32, bit-identical to the `gguf` Python package, or to ggml itself for the
//! four types that the package cannot dequantize.
//!
//! - [`TensorType`]: which types there are, the size of their blocks, and the loop over blocks.
//! - `plain`, `half`, `legacy`, `k_quants`, `four_bits`, `ternary`, `grid_quants`: one function per type
//!   over one block; `grids` are the tables of the last.
//!
//! A block function is plain Rust, always inlined, and compiled once for each instruction set. The
//! portable build is the oracle of the others. The order of the float operations is that of the
//! reference, each rounded by itself, so that all give the same bits; only the payload of a NaN is left
//! open. A change of any other value increments the cache's format version.
//!
//! Invariant: knows nothing of files, tensors' names or layouts.

mod four_bits;
mod grid_quants;
mod grids;
mod half;
mod k_quants;
mod legacy;
mod plain;
mod ternary;
mod types;

pub use types::TensorType;

/// The field of N bytes at `start` of a block.
#[inline(always)]
fn bytes<const N: usize>(block: &[u8], start: usize) -> &[u8; N] {
    block[start..]
        .first_chunk()
        .expect("a field ends within its block")
}

/// The same value, opaque to the compiler. Where a loop over blocks or groups has short loops inside, the
/// compiler likes to make vectors across the groups, whose values lie far apart, and then gathers and
/// scatters them one by one: up to seven times slower than a vector of neighbours.
#[inline(always)]
fn one_by_one<T>(value: T) -> T {
    std::hint::black_box(value)
}
