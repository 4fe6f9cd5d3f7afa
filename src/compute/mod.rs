//! Panels, kernels for each instruction set, the one summing order, and the thread team.
//!
//! Every function gives the same bits on every [`Isa`], for any number of tokens and threads: a
//! matrix product is one chain of fused multiply-adds in increasing k per output element, a
//! whole-vector sum is 16 partial sums and a fixed tree, and everything else is element by element.
//! [`reference`] holds the plain loops that define those bits.
//!
//! Invariant: knows nothing of the rest of the crate but the words of [`crate::tensor`]. Lengths are
//! checked at the safe entry points, which panic on a wrong one: shapes are the caller's own.

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub mod attention;
pub mod elementwise;
mod isa;
pub mod lanes;
pub mod math;
pub mod matmul;
pub mod panel;
pub mod peak;
pub mod reference;
mod team;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Neon;
pub use isa::{Isa, Kernel, UnknownIsa};
pub use lanes::{Lanes, LanesView};
pub use panel::Panels;
pub use team::Team;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};
