//! Kernels for ARM processors.

mod neon;

pub use neon::Neon;
