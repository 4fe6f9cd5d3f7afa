//! Rows to panel lines by transposing squares in registers; moves bits, computes nothing.
#![allow(
    unsafe_code,
    reason = "loads and stores through pointers, and entering functions with CPU features"
)]

use std::arch::x86_64::*;

use super::{Avx2, Avx512};
use crate::tensor::PANEL_ROWS;

/// Rows side by side, all as long as there are lines.
type Rows<'a> = [&'a [f32]; PANEL_ROWS];
type Line = [f32; PANEL_ROWS];

impl Avx2 {
    /// Writes whole runs of 8 lines and returns how many lines these are.
    pub(in crate::compute) fn interleave(self, rows: &Rows<'_>, lines: &mut [Line]) -> usize {
        let (squares, _) = lines.as_chunks_mut::<8>();
        for (i, square) in squares.iter_mut().enumerate() {
            for half in [0, 8] {
                let rows = std::array::from_fn(|row| {
                    let row = rows[half + row][i * 8..].first_chunk();
                    row.expect("rows are as long as there are lines")
                });
                // SAFETY: `self` proves the features.
                unsafe { eight_by_eight(rows, half, square) };
            }
        }
        squares.len() * 8
    }
}

impl Avx512 {
    /// Writes whole runs of 16 lines and returns how many lines these are.
    pub(in crate::compute) fn interleave(self, rows: &Rows<'_>, lines: &mut [Line]) -> usize {
        let (squares, _) = lines.as_chunks_mut::<16>();
        for (i, square) in squares.iter_mut().enumerate() {
            let rows = rows.map(|row| {
                let row = row[i * 16..].first_chunk();
                row.expect("rows are as long as there are lines")
            });
            // SAFETY: `self` proves the features.
            unsafe { sixteen_by_sixteen(rows, square) };
        }
        squares.len() * 16
    }
}

/// Columns `first..first + 8` of the lines; `first` is 0 or 8.
#[target_feature(enable = "avx2")]
fn eight_by_eight(rows: [&[f32; 8]; 8], first: usize, lines: &mut [Line; 8]) {
    // Loops, because `map` is compiled without the features and would be called.
    let mut whole = [_mm256_setzero_ps(); 8];
    for i in 0..8 {
        // SAFETY: a row has 8 values.
        whole[i] = unsafe { _mm256_loadu_ps(rows[i].as_ptr()) };
    }
    // Pairs of rows, then fours, each in the 128-bit half where it began.
    let mut twos = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        twos[2 * i] = _mm256_unpacklo_ps(whole[2 * i], whole[2 * i + 1]);
        twos[2 * i + 1] = _mm256_unpackhi_ps(whole[2 * i], whole[2 * i + 1]);
    }
    let mut fours = [_mm256_setzero_ps(); 8];
    for i in 0..2 {
        for j in 0..2 {
            let low = _mm256_castps_pd(twos[4 * i + j]);
            let high = _mm256_castps_pd(twos[4 * i + j + 2]);
            fours[4 * i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
            fours[4 * i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
        }
    }
    for k in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(fours[k], fours[k + 4]);
        let high = _mm256_permute2f128_ps::<0x31>(fours[k], fours[k + 4]);
        for (line, value) in [(k, low), (k + 4, high)] {
            let place = lines[line][first..first + 8].as_mut_ptr();
            // SAFETY: `place` has 8 values.
            unsafe { _mm256_storeu_ps(place, value) };
        }
    }
}

#[target_feature(enable = "avx512f")]
fn sixteen_by_sixteen(rows: [&[f32; 16]; 16], lines: &mut [Line; 16]) {
    // Loops, because `map` is compiled without the features and would be called.
    let mut whole = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        // SAFETY: a row has 16 values.
        whole[i] = unsafe { _mm512_loadu_ps(rows[i].as_ptr()) };
    }
    // Pairs of rows, then fours, each in the 128-bit quarter where it began.
    let mut twos = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_ps(whole[2 * i], whole[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_ps(whole[2 * i], whole[2 * i + 1]);
    }
    let mut fours = [_mm512_setzero_ps(); 16];
    for i in 0..4 {
        for j in 0..2 {
            let low = _mm512_castps_pd(twos[4 * i + j]);
            let high = _mm512_castps_pd(twos[4 * i + j + 2]);
            fours[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            fours[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    // fours[4i + k] has rows 4i..4i+4 of columns k, k + 4, k + 8, k + 12: a transposition of quarters.
    for k in 0..4 {
        let [a, b, c, d] = [fours[k], fours[k + 4], fours[k + 8], fours[k + 12]];
        let even = [
            _mm512_shuffle_f32x4::<0x88>(a, b),
            _mm512_shuffle_f32x4::<0x88>(c, d),
        ];
        let odd = [
            _mm512_shuffle_f32x4::<0xdd>(a, b),
            _mm512_shuffle_f32x4::<0xdd>(c, d),
        ];
        for (line, value) in [
            (k, _mm512_shuffle_f32x4::<0x88>(even[0], even[1])),
            (k + 4, _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1])),
            (k + 8, _mm512_shuffle_f32x4::<0xdd>(even[0], even[1])),
            (k + 12, _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1])),
        ] {
            // SAFETY: a line has 16 values.
            unsafe { _mm512_storeu_ps(lines[line].as_mut_ptr(), value) };
        }
    }
}
