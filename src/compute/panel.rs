//! Weight matrices in panels: `data[p][k][16]`, where panel p holds rows 16p..16p+15; in BF16
//! `data[p][k / 2][16][2]`.
//!
//! One 64-byte line is 16 rows at one k or two, so the weights are the vector operand of every kernel and
//! the summing order along k never depends on the vector width.

use super::Isa;
use crate::tensor::{PANEL_ROWS, Values};

/// A borrowed weight matrix `[rows, cols]` in panels; the last panel is padded with zero rows.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    data: Values<'a>,
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
    /// # Panics
    /// When `data` is not as long as [`TensorSpec::stored_len`](crate::tensor::TensorSpec::stored_len) says.
    pub fn new(data: Values<'a>, rows: usize, cols: usize) -> Self {
        let panel = data.element().panel_len(cols);
        let expected = panel.and_then(|len| rows.div_ceil(PANEL_ROWS).checked_mul(len));
        assert_eq!(Some(data.len()), expected, "panel data of {rows} x {cols}");
        Panels { data, rows, cols }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Stored values of one panel: `[cols, 16]`, or in BF16 `[ceil(cols / 2), 16, 2]`.
    pub fn panel(&self, index: usize) -> Values<'a> {
        let len = self.data.len() / self.count();
        self.data.part(index * len, len)
    }

    /// Copies values of one row, from column `start` on, into `out`: the look-up in a tied embedding.
    pub fn copy_row(&self, row: usize, start: usize, out: &mut [f32]) {
        assert!(row < self.rows && start + out.len() <= self.cols);
        let panel = self.panel(row / PANEL_ROWS);
        for (col, value) in (start..).zip(out) {
            *value = panel.in_panel(row % PANEL_ROWS, col);
        }
    }
}

/// Writes 16 rows of one panel side by side: `lines[k][lane] = rows[lane][k]`.
///
/// # Panics
/// When a row is not as long as there are lines.
pub fn interleave(isa: Isa, rows: &[&[f32]; PANEL_ROWS], lines: &mut [[f32; PANEL_ROWS]]) {
    assert!(rows.iter().all(|row| row.len() == lines.len()));
    let done = match isa {
        Isa::Portable => 0,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => token.interleave(rows, lines),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => token.interleave(rows, lines),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => token.interleave(rows, lines),
    };
    for (lane, row) in rows.iter().enumerate() {
        for (line, value) in lines[done..].iter_mut().zip(&row[done..]) {
            line[lane] = *value;
        }
    }
}

/// Packs a row-major matrix `[rows, cols]` into panels, for the kernels' tests.
#[cfg(test)]
pub(super) fn pack(matrix: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    packed(matrix, rows, cols, |row, k| k * PANEL_ROWS + row, |v| v)
}

/// The same in BF16.
#[cfg(test)]
pub(super) fn pack_pairs(matrix: &[f32], rows: usize, cols: usize) -> Vec<u16> {
    use crate::tensor::{narrow, pair_index};
    packed(matrix, rows, cols, pair_index, narrow)
}

#[cfg(test)]
fn packed<T: Clone + Default>(
    matrix: &[f32],
    rows: usize,
    cols: usize,
    place: impl Fn(usize, usize) -> usize,
    value: impl Fn(f32) -> T,
) -> Vec<T> {
    assert_eq!(matrix.len(), rows * cols);
    let panel = place(PANEL_ROWS - 1, cols - 1).next_multiple_of(PANEL_ROWS);
    let mut data = vec![T::default(); rows.div_ceil(PANEL_ROWS) * panel];
    for row in 0..rows {
        for k in 0..cols {
            data[row / PANEL_ROWS * panel + place(row % PANEL_ROWS, k)] =
                value(matrix[row * cols + k]);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_interleaves_rows_of_any_length() {
        for len in [0, 1, 7, 8, 9, 15, 16, 17, 24, 40, 100] {
            // NaNs of all payloads: bits are moved, not numbers.
            let matrix: Vec<f32> = (0..16 * len as u32)
                .map(|i| f32::from_bits(0x7f80_0001 + i))
                .collect();
            let rows: [&[f32]; 16] = std::array::from_fn(|row| &matrix[row * len..][..len]);
            for isa in Isa::all() {
                let mut lines = vec![[0.0; 16]; len];
                interleave(isa, &rows, &mut lines);
                for (k, line) in lines.iter().enumerate() {
                    let expected: [u32; 16] = std::array::from_fn(|lane| rows[lane][k].to_bits());
                    assert_eq!(line.map(f32::to_bits), expected, "{len} lines on {isa}");
                }
            }
        }
    }

    #[test]
    fn rows_come_back_out_of_panels() {
        let (rows, cols) = (37, 5);
        let matrix: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        let data = pack(&matrix, rows, cols);
        let panels = Panels::new(Values::F32(&data), rows, cols);
        assert_eq!(panels.count(), 3);
        let mut row = [0.0; 5];
        for r in 0..rows {
            panels.copy_row(r, 0, &mut row);
            assert_eq!(row, matrix[r * cols..(r + 1) * cols]);
        }
        // Row 37 is padding: zeros at every k.
        let last = panels.panel(2).f32().unwrap();
        assert!(last.chunks(16).all(|line| line[5..] == [0.0; 11]));
    }

    #[test]
    fn rows_come_back_rounded_out_of_panels_of_pairs() {
        let (rows, cols) = (37, 5);
        let matrix: Vec<f32> = (0..rows * cols).map(|i| i as f32 / 7.0).collect();
        let data = pack_pairs(&matrix, rows, cols);
        let panels = Panels::new(Values::Bf16(&data), rows, cols);
        let mut row = [0.0; 3];
        for r in 0..rows {
            panels.copy_row(r, 2, &mut row);
            let want: [f32; 3] =
                std::array::from_fn(|i| half::bf16::from_f32(matrix[r * cols + 2 + i]).to_f32());
            assert_eq!(row, want);
        }
        // The sixth column of every row is padding.
        assert!((0..16).all(|row| panels.panel(1).in_panel(row, 5) == 0.0));
    }
}
