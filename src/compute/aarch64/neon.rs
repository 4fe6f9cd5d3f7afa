//! NEON: one panel line is four registers; 16 rows x up to 6 tokens in registers.
#![allow(
    unsafe_code,
    reason = "loads and stores through pointers, and entering functions with CPU features"
)]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use crate::compute::isa::Kernel;
use crate::compute::matmul::{Store, Tile};
use crate::compute::peak::operands;
use crate::tensor::{Element, PANEL_ROWS, Values};

/// Tokens computed at once: 24 accumulators, 4 registers for the weights and 1 for the broadcast are 29 of 32.
const TOKENS: usize = 6;
/// Registers of one panel line, and values in each.
const PARTS: usize = 4;
const LANES: usize = 4;
/// Bytes of one line of a panel.
const LINE: usize = 64;
/// The second of each pair of BF16 values.
const SECOND: u32 = 0xffff_0000;

/// Proof that the CPU has NEON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    pub fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    /// Runs `kernel` compiled with NEON.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` exists only where `detect` found the feature.
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
                            // SAFETY: `self` proves the feature; `run_tile` checked the lengths and number
                            // types, of which this is one panel and a part of the tokens.
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

    /// Writes whole runs of 4 lines of 16 rows side by side and returns how many lines these are.
    pub(in crate::compute) fn interleave(
        self,
        rows: &[&[f32]; PANEL_ROWS],
        lines: &mut [[f32; PANEL_ROWS]],
    ) -> usize {
        let (squares, _) = lines.as_chunks_mut::<LANES>();
        for (i, square) in squares.iter_mut().enumerate() {
            for first in (0..PANEL_ROWS).step_by(LANES) {
                let rows = std::array::from_fn(|row| {
                    let row = rows[first + row][i * LANES..].first_chunk();
                    row.expect("rows are as long as there are lines")
                });
                // SAFETY: `self` proves the feature.
                unsafe { four_by_four(rows, first, square) };
            }
        }
        squares.len() * LANES
    }

    /// The sum of all chains of multiply-adds that never leave the registers, and how many values go through one
    /// round.
    pub(in crate::compute) fn chains(self, rounds: usize) -> (f32, usize) {
        // SAFETY: `self` proves the feature.
        unsafe { chains(rounds) }
    }
}

#[target_feature(enable = "neon")]
fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// # Safety
/// The lengths of `tile` fit, as `Tile::check` asserts, for `first + T` tokens; `weights` is one of its
/// panels, of that number type, and `out` has T tokens of 16 values.
#[target_feature(enable = "neon")]
unsafe fn kernel<const T: usize, const BF16: bool>(
    tile: &Tile<'_>,
    weights: Values<'_>,
    first: usize,
    out: &mut [f32],
) {
    let weights = weights.address();
    let mut acc = [[vdupq_n_f32(0.0); PARTS]; T];
    if tile.store == Store::Continue {
        for (t, acc) in acc.iter_mut().enumerate() {
            let place = out[t * PANEL_ROWS..][..PANEL_ROWS].as_ptr();
            for (part, acc) in acc.iter_mut().enumerate() {
                // SAFETY: `place` has 16 values, four of which are each part.
                *acc = unsafe { vld1q_f32(place.add(part * LANES)) };
            }
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
            let mut w = [vdupq_n_f32(0.0); PARTS];
            for (part, w) in w.iter_mut().enumerate() {
                // SAFETY: a line has four parts; NEON loads have no alignment requirement beyond the element's,
                // which slices of numbers have.
                let bits = unsafe { vld1q_u32(line.cast::<u32>().add(part * LANES)) };
                *w = vreinterpretq_f32_u32(match (BF16, lane % 2) {
                    (false, _) => bits,
                    (true, 0) => vshlq_n_u32::<16>(bits),
                    (true, _) => vandq_u32(bits, vdupq_n_u32(SECOND)),
                });
            }
            for (t, acc) in acc.iter_mut().enumerate() {
                // SAFETY: `x` points to this block, which has T tokens of 16 values.
                let value = unsafe { *x.wrapping_add(t * PANEL_ROWS + lane) };
                for (w, acc) in w.iter().zip(acc) {
                    *acc = vfmaq_n_f32(*acc, *w, value);
                }
            }
        }
        k += PANEL_ROWS;
        x = x.wrapping_add(tile.x_block);
    }
    for (t, acc) in acc.iter().enumerate() {
        let place = out[t * PANEL_ROWS..][..PANEL_ROWS].as_mut_ptr();
        for (part, acc) in acc.iter().enumerate() {
            // SAFETY: `place` has 16 values, four of which are each part.
            let place = unsafe { place.add(part * LANES) };
            let value = match tile.store {
                Store::Replace | Store::Continue => *acc,
                // SAFETY: as above.
                Store::Add => vaddq_f32(unsafe { vld1q_f32(place) }, *acc),
            };
            // SAFETY: as above.
            unsafe { vst1q_f32(place, value) };
        }
    }
}

/// Columns `first..first + 4` of the lines.
#[target_feature(enable = "neon")]
fn four_by_four(rows: [&[f32; LANES]; 4], first: usize, lines: &mut [[f32; PANEL_ROWS]; LANES]) {
    // SAFETY: a row has four values.
    let [a, b, c, d] = unsafe {
        [
            vld1q_f32(rows[0].as_ptr()),
            vld1q_f32(rows[1].as_ptr()),
            vld1q_f32(rows[2].as_ptr()),
            vld1q_f32(rows[3].as_ptr()),
        ]
    };
    // Pairs of rows, even and odd columns; then fours.
    let even_ab = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
    let odd_ab = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
    let even_cd = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
    let odd_cd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    let columns = [
        vtrn1q_f64(even_ab, even_cd),
        vtrn1q_f64(odd_ab, odd_cd),
        vtrn2q_f64(even_ab, even_cd),
        vtrn2q_f64(odd_ab, odd_cd),
    ];
    for (line, column) in lines.iter_mut().zip(columns) {
        let place = line[first..][..LANES].as_mut_ptr();
        // SAFETY: `place` has four values.
        unsafe { vst1q_f32(place, vreinterpretq_f32_f64(column)) };
    }
}

/// 24 of the 32 registers: more than latency (4) times units (4).
#[target_feature(enable = "neon")]
fn chains(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let (factor, summand) = (vdupq_n_f32(factor), vdupq_n_f32(summand));
    let mut chains = [vdupq_n_f32(0.0); 24];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = vfmaq_f32(summand, *chain, factor);
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        sum += vaddvq_f32(chain);
    }
    (sum, 24 * LANES)
}
