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

/// Numbers for tests, of both signs and no pattern.
#[cfg(test)]
fn values(len: usize, salt: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + salt * 101) % 211) as f32 / 50.0 - 2.0)
        .collect()
}
