//! Kernels for x86-64. Each instruction set is a zero-sized token whose constructor returns `None`
//! without the CPU feature; its safe methods stand beside the kernels.

mod avx2;
mod avx512;
mod interleave;
mod peak;

pub use avx2::Avx2;
pub use avx512::Avx512;
