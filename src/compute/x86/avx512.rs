//! AVX-512: one panel line is one register; up to 64 rows x 6 or 32 rows x 14 tokens in registers.
#![allow(
    unsafe_code,
    reason = "loads and stores through pointers, and entering functions with CPU features"
)]

use std::arch::x86_64::*;

use crate::compute::isa::Kernel;
use crate::compute::matmul::{FEW_TOKENS, Fetch, Store, Tile};
use crate::tensor::{Element, PANEL_ROWS};

/// How far ahead of the current line each panel is fetched into the second-level cache, in bytes. From 7 tokens on
/// the arithmetic is long enough that the hardware prefetcher loses the stream: without, 12 tokens were 6 % slower,
/// and 2 KiB or 8 KiB ahead a tenth. Fetched into the first level, which is full of activations, 8 tokens were a
/// sixth slower. Few tokens gain 2 to 6 % from 2 KiB (BF16 4 to 10 %), which 4 KiB or the first level do not give.
const AHEAD: usize = 4096;
const AHEAD_OF_FEW: usize = 2048;

const fn ahead_of(tokens: usize) -> usize {
    if tokens <= FEW_TOKENS {
        AHEAD_OF_FEW
    } else {
        AHEAD
    }
}

/// Several tiles have at least this many tokens: half of 15.
const SEVERAL_FROM_TOKENS: usize = 7;

/// `Fetch` as a parameter of the kernel.
const NOTHING: u8 = 0;
const OWN: u8 = 1;
const NEXT: u8 = 2;
const NEXT_TWO: u8 = 3;
const INPUT: u8 = 4;
const NEXT_EACH: u8 = 5;

/// Bytes of one line of a panel.
const LINE: usize = 64;
/// The second of each pair of BF16 values.
const ODD: __mmask32 = 0xaaaa_aaaa;

/// Proof that the CPU has AVX-512 F, VL, BW and DQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("fma");
        has.then_some(Avx512(()))
    }

    /// Runs `kernel` compiled with AVX-512.
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
        macro_rules! by_tokens {
            ($panels:literal, $fetch:ident: $($tokens:literal)*) => {
                match tile.tokens {
                    // SAFETY: `self` proves the features; `run_tile` checked the lengths for the tile's
                    // panels, of which there are so many and of this number type, and tokens.
                    $($tokens => unsafe { kernel::<$panels, $tokens, $fetch, BF16>(tile, out) },)*
                    _ => unreachable!("tiles have at most TILE_TOKENS tokens"),
                }
            };
        }
        let fetch = match tile.fetch {
            Fetch::Own(_) => OWN,
            Fetch::Next(_) if tile.tokens >= SEVERAL_FROM_TOKENS => NEXT,
            Fetch::Input if tile.tokens >= SEVERAL_FROM_TOKENS => INPUT,
            Fetch::NextEach(_) if tile.tokens <= FEW_TOKENS => NEXT_EACH,
            Fetch::NextTwo(_) if tile.tokens > FEW_TOKENS => NEXT_TWO,
            _ => NOTHING,
        };
        match (tile.panels.len(), fetch) {
            (1, OWN) => by_tokens!(1, OWN: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (1, INPUT) => by_tokens!(1, INPUT: 7 8 9 10 11 12 13 14),
            (2, INPUT) => by_tokens!(2, INPUT: 7 8 9 10 11 12 13 14),
            (1, NEXT_TWO) => by_tokens!(1, NEXT_TWO: 7 8 9 10 11 12 13 14),
            (1, NEXT_EACH) => by_tokens!(1, NEXT_EACH: 1 2 3 4 5 6),
            (2, NEXT_TWO) => by_tokens!(2, NEXT_TWO: 7 8 9 10 11 12 13 14),
            (2, NEXT_EACH) => by_tokens!(2, NEXT_EACH: 1 2 3 4 5 6),
            (3, OWN) => by_tokens!(3, OWN: 7 8 9),
            (3, NEXT_TWO) => by_tokens!(3, NEXT_TWO: 7 8 9),
            (3, _) => by_tokens!(3, NOTHING: 7 8 9),
            (4, NEXT_EACH) => by_tokens!(4, NEXT_EACH: 1 2 3 4 5 6),
            (1, NEXT) => by_tokens!(1, NEXT: 7 8 9 10 11 12 13 14),
            (1, _) => by_tokens!(1, NOTHING: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (2, OWN) => by_tokens!(2, OWN: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (2, NEXT) => by_tokens!(2, NEXT: 7 8 9 10 11 12 13 14),
            (2, _) => by_tokens!(2, NOTHING: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (4, OWN) => by_tokens!(4, OWN: 1 2 3 4 5 6),
            (4, _) => by_tokens!(4, NOTHING: 1 2 3 4 5 6),
            _ => unreachable!("groups have at most MAX_GROUP panels"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// # Safety
/// `tile` has `P` panels of the number type, and its lengths and that of `out` fit them and `T` tokens, as
/// `Tile::check` asserts.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
unsafe fn kernel<const P: usize, const T: usize, const FETCH: u8, const BF16: bool>(
    tile: &Tile<'_>,
    out: &mut [f32],
) {
    let mut acc = [[_mm512_setzero_ps(); T]; P];
    if tile.store == Store::Continue {
        for p in 0..P {
            for t in 0..T {
                let place = out
                    .as_ptr()
                    .wrapping_add(p * tile.out_block + t * PANEL_ROWS);
                // SAFETY: `out` holds P blocks, the last with at least T tokens of 16 values.
                acc[p][t] = unsafe { _mm512_loadu_ps(place) };
            }
        }
    }
    let mut panels = [std::ptr::null(); P];
    for p in 0..P {
        panels[p] = tile.panels[p].address();
    }
    // Nothing is read through these: fetching from anywhere is harmless.
    let mut next = [[std::ptr::null(); 2]; P];
    match tile.fetch {
        Fetch::Next(panel) => next[0][0] = panel.address(),
        Fetch::NextTwo(panels) => {
            for (next, panels) in next.iter_mut().zip(panels) {
                *next = [panels[0].address(), panels[1].address()];
            }
        }
        Fetch::Own(following) | Fetch::NextEach(following) => {
            for (next, panel) in next.iter_mut().zip(following) {
                next[0] = panel.address();
            }
        }
        Fetch::Nothing | Fetch::Input => {}
    }
    let mut x = tile.x.as_ptr();
    let bytes = tile.panels[0].bytes();
    let mut ahead = panels.map(|panel| panel.wrapping_add(ahead_of(T)));
    let mut k = 0;
    // One column: the weights of all panels times the activations of all tokens. Of a pair of BF16 columns, which
    // share a line, `$odd` names the second.
    macro_rules! column {
        ($lane:expr, $odd:literal) => {{
            let lane = $lane;
            let offset = match BF16 {
                false => (k + lane) * LINE,
                true => (k + lane) / 2 * LINE,
            };
            if FETCH == NEXT && !$odd {
                _mm_prefetch::<_MM_HINT_T1>(next[0][0].wrapping_add(offset).cast());
            }
            if FETCH == NEXT || FETCH == INPUT {
                // One line of the next block of activations, and no other tile's: there are fewer tokens than lanes,
                // and what the others need would push out what this tile does (7 % at 16 to 64 tokens).
                let line = x.wrapping_add(tile.x_block + lane.min(T - 1) * PANEL_ROWS);
                _mm_prefetch::<_MM_HINT_T0>(line.cast());
            }
            if FETCH == NEXT_EACH && !$odd {
                for p in 0..P {
                    _mm_prefetch::<_MM_HINT_T1>(next[p][0].wrapping_add(offset).cast());
                }
            }
            if FETCH == NEXT_TWO && !$odd {
                for p in 0..P {
                    // A full tile's activations need the first level: prompts gain 2 to 5 %.
                    _mm_prefetch::<_MM_HINT_T1>(next[p][0].wrapping_add(offset).cast());
                    _mm_prefetch::<_MM_HINT_T1>(next[p][1].wrapping_add(offset).cast());
                }
            }
            let mut w = [_mm512_setzero_ps(); P];
            for p in 0..P {
                // SAFETY: the line of a column is within its panel: there are as many lines as columns, or half
                // as many, rounded up.
                let line = unsafe { panels[p].add(offset) };
                if FETCH == OWN && !$odd {
                    _mm_prefetch::<_MM_HINT_T1>(ahead[p].wrapping_add(offset).cast());
                }
                w[p] = match (BF16, $odd) {
                    // SAFETY: as above; unaligned loads have no alignment requirement.
                    (false, _) => unsafe { _mm512_loadu_ps(line.cast()) },
                    (true, false) => {
                        // SAFETY: as above.
                        let pairs = unsafe { _mm512_loadu_si512(line.cast()) };
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
                    }
                    // The load itself clears the first values: no register for a mask, and no operation.
                    (true, true) => {
                        // SAFETY: as above.
                        let upper = unsafe { _mm512_maskz_loadu_epi16(ODD, line.cast()) };
                        _mm512_castsi512_ps(upper)
                    }
                };
            }
            for t in 0..T {
                // SAFETY: `x` points to this block, which has T tokens of 16 values.
                let value = unsafe { *x.wrapping_add(t * PANEL_ROWS + lane) };
                let value = _mm512_set1_ps(value);
                for p in 0..P {
                    acc[p][t] = _mm512_fmadd_ps(w[p], value, acc[p][t]);
                }
            }
        }};
    }
    while k < tile.cols {
        let lanes = (tile.cols - k).min(PANEL_ROWS);
        let done = match BF16 {
            false => k * LINE,
            true => k / 2 * LINE,
        };
        if FETCH == OWN && done + ahead_of(T) >= bytes {
            // Past their ends: the beginnings of the panels that follow.
            for p in 0..P {
                ahead[p] = next[p][0].wrapping_add(ahead_of(T)).wrapping_sub(bytes);
            }
        }
        if BF16 {
            for pair in 0..lanes / 2 {
                column!(2 * pair, false);
                column!(2 * pair + 1, true);
            }
            if lanes % 2 == 1 {
                column!(lanes - 1, false);
            }
        } else {
            for lane in 0..lanes {
                column!(lane, false);
            }
        }
        k += PANEL_ROWS;
        x = x.wrapping_add(tile.x_block);
    }
    for p in 0..P {
        for t in 0..T {
            // SAFETY: `out` holds P blocks, the last with at least T tokens.
            let place = unsafe { out.as_mut_ptr().add(p * tile.out_block + t * PANEL_ROWS) };
            let value = match tile.store {
                Store::Replace | Store::Continue => acc[p][t],
                // SAFETY: `place` has 16 values.
                Store::Add => _mm512_add_ps(unsafe { _mm512_loadu_ps(place) }, acc[p][t]),
            };
            // SAFETY: `place` has 16 values.
            unsafe { _mm512_storeu_ps(place, value) };
        }
    }
}
