//! AVX2 with FMA: one panel line is two registers; 16 rows x up to 6 tokens in registers.
#![allow(
    unsafe_code,
    reason = "loads and stores through pointers, and entering functions with CPU features"
)]

use std::arch::x86_64::*;

use crate::compute::isa::Kernel;
use crate::compute::matmul::{Store, Tile};
use crate::tensor::{Element, PANEL_ROWS, Values};

/// Tokens computed at once: 12 accumulators, 2 registers for the weights and 1 for the broadcast are
/// 15 of 16.
const TOKENS: usize = 6;

/// Bytes of one line of a panel.
const LINE: usize = 64;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }

    /// Runs `kernel` compiled with AVX2 and FMA.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { enter(kernel) }
    }

    /// `tile` has checked its lengths.
    pub(in crate::compute) fn tile(self, tile: &Tile<'_>, out: &mut [f32]) {
        match tile.element() {
            Element::F32 => self.tile_of::<false>(tile, out),
            Element::Bf16 => self.tile_of::<true>(tile, out),
        }
    }

    /// `BF16` says whether the panels are.
    fn tile_of<const BF16: bool>(self, tile: &Tile<'_>, out: &mut [f32]) {
        for (panel, weights) in tile.panels.iter().enumerate() {
            for first in (0..tile.tokens).step_by(TOKENS) {
                let tokens = (tile.tokens - first).min(TOKENS);
                let out = &mut out[panel * tile.out_block + first * PANEL_ROWS..];
                macro_rules! by_tokens {
                    ($($tokens:literal)*) => {
                        match tokens {
                            // SAFETY: `self` proves the features; `run_tile` checked the lengths and
                            // number types, of which this is one panel and a part of the tokens.
                            $($tokens => unsafe {
                                kernel::<$tokens, BF16>(tile, *weights, first, out)
                            },)*
                            _ => unreachable!("at most TOKENS tokens at once"),
                        }
                    };
                }
                by_tokens!(1 2 3 4 5 6);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// # Safety
/// The lengths of `tile` fit, as `Tile::check` asserts, for `first + T` tokens; `weights` is one of its
/// panels, of that number type, and `out` has T tokens of 16 values.
#[target_feature(enable = "avx2,fma")]
unsafe fn kernel<const T: usize, const BF16: bool>(
    tile: &Tile<'_>,
    weights: Values<'_>,
    first: usize,
    out: &mut [f32],
) {
    let weights = weights.address();
    let mut low = [_mm256_setzero_ps(); T];
    let mut high = [_mm256_setzero_ps(); T];
    if tile.store == Store::Continue {
        for t in 0..T {
            let place = out[t * PANEL_ROWS..][..PANEL_ROWS].as_ptr();
            // SAFETY: `place` has 16 values; these are the first 8.
            low[t] = unsafe { _mm256_loadu_ps(place) };
            // SAFETY: and these the last 8.
            high[t] = unsafe { _mm256_loadu_ps(place.wrapping_add(8)) };
        }
    }
    let mut x = tile.x[first * PANEL_ROWS..].as_ptr();
    let mut k = 0;
    while k < tile.cols {
        let lanes = (tile.cols - k).min(PANEL_ROWS);
        for lane in 0..lanes {
            let offset = match BF16 {
                false => (k + lane) * LINE,
                true => (k + lane) / 2 * LINE,
            };
            // SAFETY: the line of a column is within its panel: there are as many lines as columns, or half as
            // many, rounded up.
            let line = unsafe { weights.add(offset) };
            // SAFETY: as above; unaligned loads have no alignment requirement.
            let mut w_low = unsafe { _mm256_loadu_ps(line.cast()) };
            // SAFETY: the second half of the same line.
            let mut w_high = unsafe { _mm256_loadu_ps(line.wrapping_add(LINE / 2).cast()) };
            if BF16 {
                w_low = widened(w_low, lane % 2 == 1);
                w_high = widened(w_high, lane % 2 == 1);
            }
            for t in 0..T {
                // SAFETY: `x` points to this block, which has T tokens of 16 values.
                let value = unsafe { *x.wrapping_add(t * PANEL_ROWS + lane) };
                let value = _mm256_set1_ps(value);
                low[t] = _mm256_fmadd_ps(w_low, value, low[t]);
                high[t] = _mm256_fmadd_ps(w_high, value, high[t]);
            }
        }
        k += PANEL_ROWS;
        x = x.wrapping_add(tile.x_block);
    }
    for t in 0..T {
        for (half, acc) in [low[t], high[t]].into_iter().enumerate() {
            let place = out[t * PANEL_ROWS + half * 8..][..8].as_mut_ptr();
            let value = match tile.store {
                Store::Replace | Store::Continue => acc,
                // SAFETY: `place` has 8 values.
                Store::Add => _mm256_add_ps(unsafe { _mm256_loadu_ps(place) }, acc),
            };
            // SAFETY: `place` has 8 values.
            unsafe { _mm256_storeu_ps(place, value) };
        }
    }
}

/// The first or second value of each pair of BF16 values.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn widened(pairs: __m256, second: bool) -> __m256 {
    let pairs = _mm256_castps_si256(pairs);
    _mm256_castsi256_ps(if second {
        _mm256_and_si256(pairs, _mm256_set1_epi32(!0xffff))
    } else {
        _mm256_slli_epi32::<16>(pairs)
    })
}
