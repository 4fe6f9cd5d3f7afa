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

/// 12 of the 16 registers: more than latency (4) times units (2).
#[target_feature(enable = "avx2,fma")]
fn eight(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let (factor, summand) = (_mm256_set1_ps(factor), _mm256_set1_ps(summand));
    let mut chains = [_mm256_setzero_ps(); 12];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, summand);
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        let mut lanes = [0.0f32; 8];
        // SAFETY: there is room for 8 values.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), chain) };
        sum += lanes.iter().sum::<f32>();
    }
    (sum, 12 * 8)
}

/// 24 of the 32 registers.
#[target_feature(enable = "avx512f")]
fn sixteen(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let (factor, summand) = (_mm512_set1_ps(factor), _mm512_set1_ps(summand));
    let mut chains = [_mm512_setzero_ps(); 24];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, summand);
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        sum += _mm512_reduce_add_ps(chain);
    }
    (sum, 24 * 16)
}
