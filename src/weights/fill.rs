//! Blocks to the values of a cache file: row by row, or 16 rows side by side in a panel. On the way,
//! values that are not finite are counted.
//!
//! A few thousand values at a time, so that they are still in the first-level cache when they are
//! counted and interleaved.
//!
//! Invariant: knows nothing of files or of tensors' names; moves the bits that [`TensorType`] gives.

use crate::compute::{Isa, Kernel, panel};
use crate::tensor::PANEL_ROWS;

use super::dequant::TensorType;

/// Values of each row that are converted before they are interleaved, whole blocks of any type. 16 rows
/// of them are half of the first-level cache.
const CHUNK: usize = 256;
/// The exponent of infinities and NaNs.
const SPECIAL: u32 = 0x7f80_0000;

/// One thread's tools.
pub(super) struct Filler {
    isa: Isa,
    rows: Box<Rows>,
}

/// Chunks of the rows of a panel. On cache lines, because vectors are as wide as these.
#[repr(align(64))]
struct Rows([[f32; CHUNK]; PANEL_ROWS]);

impl Filler {
    pub(super) fn new(isa: Isa) -> Self {
        let rows = Box::new(Rows([[0.0; CHUNK]; PANEL_ROWS]));
        Filler { isa, rows }
    }

    /// Converts `blocks`, whole rows, to `out`. Returns how many values are not finite.
    pub(super) fn rows(&self, kind: TensorType, blocks: &[u8], out: &mut [f32]) -> u64 {
        const CHUNK_OF_ROWS: usize = CHUNK * PANEL_ROWS;
        let chunk_bytes = CHUNK_OF_ROWS / kind.block_values() * kind.block_bytes();
        let chunks = blocks
            .chunks(chunk_bytes)
            .zip(out.chunks_mut(CHUNK_OF_ROWS));
        let mut non_finite = 0;
        for (blocks, out) in chunks {
            kind.dequantize_on(self.isa, blocks, out);
            non_finite += self.isa.run(CountNonFinite(out));
        }
        non_finite
    }

    /// Converts up to 16 rows of blocks to the lines of one panel, zeros for the rows that are missing.
    /// Returns how many values are not finite.
    pub(super) fn panel(&mut self, kind: TensorType, rows: &[&[u8]], panel: &mut [f32]) -> u64 {
        let Rows(chunks) = &mut *self.rows;
        for chunk in &mut chunks[rows.len()..] {
            chunk.fill(0.0);
        }
        let chunk_bytes = CHUNK / kind.block_values() * kind.block_bytes();
        let (lines, _) = panel.as_chunks_mut::<PANEL_ROWS>();
        let mut non_finite = 0;
        for (part, lines) in lines.chunks_mut(CHUNK).enumerate() {
            let len = lines.len();
            let bytes = len / kind.block_values() * kind.block_bytes();
            for (row, chunk) in rows.iter().zip(&mut *chunks) {
                let blocks = &row[part * chunk_bytes..][..bytes];
                kind.dequantize_on(self.isa, blocks, &mut chunk[..len]);
            }
            panel::interleave(
                self.isa,
                &chunks.each_ref().map(|chunk| &chunk[..len]),
                lines,
            );
            non_finite += self.isa.run(CountNonFinite(lines.as_flattened()));
        }
        non_finite
    }
}

/// Values with the exponent of infinities and NaNs. By integers: a comparison of floats and a sum of 64
/// bits would cost as much as the conversion.
struct CountNonFinite<'a>(&'a [f32]);

impl Kernel for CountNonFinite<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut count = 0_u32;
        for value in self.0 {
            count += u32::from(value.to_bits() & SPECIAL == SPECIAL);
        }
        u64::from(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks with NaNs, infinities and everything else.
    fn blocks(count: usize) -> Vec<u8> {
        let mix = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        (0..count).map(|i| mix(i) as u8).collect()
    }

    /// Values as bits, any NaN the same.
    fn bits(values: &[f32]) -> Vec<u32> {
        let bits = |value: &f32| {
            if value.is_nan() {
                f32::NAN.to_bits()
            } else {
                value.to_bits()
            }
        };
        values.iter().map(bits).collect()
    }

    #[test]
    fn a_panel_is_its_rows_side_by_side() {
        for (kind, cols) in [
            (TensorType::Bf16, 1),
            (TensorType::Bf16, 37),
            (TensorType::Bf16, 600),
            (TensorType::Q8_0, 32),
            (TensorType::Q8_0, 288),
            (TensorType::Iq4Xs, 256),
            (TensorType::Iq4Xs, 768),
        ] {
            let row_bytes = cols / kind.block_values() * kind.block_bytes();
            for isa in Isa::all() {
                let mut filler = Filler::new(isa);
                // A whole panel first: what it leaves behind must not show in the next ones.
                for rows in [16, 15, 1, 0] {
                    let blocks = blocks(rows * row_bytes);
                    let mut expected = vec![0.0; 16 * cols];
                    kind.dequantize_on(Isa::Portable, &blocks, &mut expected[..rows * cols]);
                    let special = expected.iter().filter(|value| !value.is_finite()).count();
                    let lines = (0..cols).flat_map(|k| (0..16).map(move |row| row * cols + k));
                    let expected: Vec<f32> = lines.map(|at| expected[at]).collect();

                    let blocks: Vec<_> = blocks.chunks(row_bytes).collect();
                    let mut found = vec![9.0; 16 * cols];
                    let count = filler.panel(kind, &blocks, &mut found);
                    let case = format!("{rows} rows of {cols} {} on {isa}", kind.name());
                    assert!(bits(&found) == bits(&expected), "{case}");
                    assert_eq!(count, special as u64, "{case}");
                }
            }
        }
    }

    #[test]
    fn rows_longer_than_a_piece_are_converted_whole() {
        let kind = TensorType::Q4_0;
        for count in [0, 1, 127, 128, 129, 300] {
            let blocks = blocks(count * kind.block_bytes());
            let mut expected = vec![0.0; count * kind.block_values()];
            kind.dequantize_on(Isa::Portable, &blocks, &mut expected);
            let special = expected.iter().filter(|value| !value.is_finite()).count();
            for isa in Isa::all() {
                let mut found = vec![9.0; expected.len()];
                let non_finite = Filler::new(isa).rows(kind, &blocks, &mut found);
                assert!(bits(&found) == bits(&expected), "{count} on {isa}");
                assert_eq!(non_finite, special as u64, "{count} on {isa}");
            }
        }
    }
}
