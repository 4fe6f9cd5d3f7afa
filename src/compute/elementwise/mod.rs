//! Everything between products that is not attention: one source for every instruction set, vectorized by the
//! compiler when entered through [`Isa::run`](super::Isa::run).
//!
//! - `norms`: of whole tokens; `heads`: norms and rotations of single heads; `pointwise`: value by value.

mod heads;
mod norms;
mod pointwise;

pub use heads::{HeadNorm, Rotary, normalize_head, rms_scale, rotate_heads};
pub use norms::{Moments, layer_moments, normalize, rms_moments};
pub use pointwise::{
    Activation, activate, add_bias, add_scaled, cap, exp_all, gate, sigmoid, softmax,
};
