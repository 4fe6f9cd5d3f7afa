//! Weight matrices in panels: `data[p][k][16]`, where panel p holds rows 16p..16p+15.
//!
//! One 64-byte line is 16 rows at one k, so the weights are the vector operand of every kernel and
//! the summing order along k never depends on the vector width.

use super::Isa;
use crate::tensor::PANEL_ROWS;

/// A borrowed weight matrix `[rows, cols]` in panels; the last panel is padded with zero rows.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
    /// # Panics
    /// When `data` is not `ceil(rows / 16) * cols * 16` values long.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(
            data.len(),
            rows.div_ceil(PANEL_ROWS) * cols * PANEL_ROWS,
            "panel data of {rows} x {cols}"
        );
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

    /// Values of panels `first..first + count`: `[count, cols, 16]`.
    pub fn slice(&self, first: usize, count: usize) -> &'a [f32] {
        let len = self.cols * PANEL_ROWS;
        &self.data[first * len..(first + count) * len]
    }

    /// Copies values of one row, from column `start` on, into `out`: the look-up in a tied embedding.
    pub fn copy_row(&self, row: usize, start: usize, out: &mut [f32]) {
        assert!(row < self.rows && start + out.len() <= self.cols);
        let panel = &self.slice(row / PANEL_ROWS, 1)[start * PANEL_ROWS..];
        for (value, line) in out.iter_mut().zip(panel.chunks_exact(PANEL_ROWS)) {
            *value = line[row % PANEL_ROWS];
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
    assert_eq!(matrix.len(), rows * cols);
    let mut data = vec![0.0; rows.div_ceil(PANEL_ROWS) * cols * PANEL_ROWS];
    for row in 0..rows {
        let panel = &mut data[row / PANEL_ROWS * cols * PANEL_ROWS..];
        for k in 0..cols {
            panel[k * PANEL_ROWS + row % PANEL_ROWS] = matrix[row * cols + k];
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
        let panels = Panels::new(&data, rows, cols);
        assert_eq!(panels.count(), 3);
        let mut row = [0.0; 5];
        for r in 0..rows {
            panels.copy_row(r, 0, &mut row);
            assert_eq!(row, matrix[r * cols..(r + 1) * cols]);
        }
        // Row 37 is padding: zeros at every k.
        assert!(
            panels
                .slice(2, 1)
                .chunks(16)
                .all(|line| line[5..] == [0.0; 11])
        );
    }
}
