//! Chains of fused multiply-adds that never leave the registers.
#![allow(unsafe_code, reason = "entering functions with CPU features")]

use std::arch::x86_64::*;

use super::{Avx2, Avx512};
use crate::compute::peak::operands;

impl Avx2 {
    /// The sum of all chains, and how many values go through one round.
    pub(in crate::compute) fn chains(self, rounds: usize) -> (f32, usize) {
        // SAFETY: `self` proves the features.
        unsafe { eight(rounds) }
    }
}

impl Avx512 {
    /// The sum of all chains, and how many values go through one round.
    pub(in crate::compute) fn chains(self, rounds: usize) -> (f32, usize) {
        // SAFETY: `self` proves the features.
        unsafe { sixteen(rounds) }
    }
}

/// Declares 12 chains with names of their own, runs them, and gives them back: more than latency (4) times units (2).
/// An array would do if it always became registers; half of one of 24 stayed in memory, and the meter read a third
/// less than the kernels reached.
macro_rules! chains {
    ($rounds:ident, $zero:expr, $step:expr) => {
        chains!($rounds, $zero, $step, a b c d e f g h i j k l)
    };
    ($rounds:ident, $zero:expr, $step:expr, $($chain:ident)*) => {{
        $(let mut $chain = $zero;)*
        for _ in 0..$rounds {
            $($chain = $step($chain);)*
        }
        [$($chain),*]
    }};
}

#[target_feature(enable = "avx2,fma")]
fn eight(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let (factor, summand) = (_mm256_set1_ps(factor), _mm256_set1_ps(summand));
    let step = |chain| _mm256_fmadd_ps(chain, factor, summand);
    let chains = chains!(rounds, _mm256_setzero_ps(), step);
    let mut sum = 0.0;
    for chain in chains {
        let mut lanes = [0.0f32; 8];
        // SAFETY: there is room for 8 values.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), chain) };
        sum += lanes.iter().sum::<f32>();
    }
    (sum, 12 * 8)
}

#[target_feature(enable = "avx512f")]
fn sixteen(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let (factor, summand) = (_mm512_set1_ps(factor), _mm512_set1_ps(summand));
    let step = |chain| _mm512_fmadd_ps(chain, factor, summand);
    let chains = chains!(rounds, _mm512_setzero_ps(), step);
    let mut sum = 0.0;
    for chain in chains {
        sum += _mm512_reduce_add_ps(chain);
    }
    (sum, 12 * 16)
}
