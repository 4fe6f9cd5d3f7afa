//! Tensors cut into strips that threads fill independently.

use crate::tensor::{Element, Layout, PANEL_ROWS, TensorSpec, narrow, pair_index};

use super::contents::{COLUMN_STEP, Contents, Part};

/// Panels and rows longer than this many strips are cut along their columns; others stay whole, because a
/// cut costs more than a strip somewhat longer than the others.
const LONGEST: usize = 4;

/// A run of whole panels or rows of one tensor, or a piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strip {
    /// Index of the tensor.
    pub(super) tensor: usize,
    pub(super) part: Part,
    /// Number type of the stored values.
    pub(super) element: Element,
    /// Stored bytes of the tensor before the strip.
    pub(super) start: usize,
    /// Stored bytes of the strip.
    pub(super) bytes: usize,
    /// Values that are computed for it.
    pub(super) len: usize,
}

impl Strip {
    /// Computes the strip of `spec` into `out`, as it is stored. `memory` is for values that are to be rounded.
    pub(super) fn make(
        &self,
        contents: &dyn Contents,
        spec: &TensorSpec,
        memory: &mut Vec<f32>,
        out: &mut [u8],
    ) {
        match self.element {
            Element::F32 => contents.fill(spec, &self.part, bytemuck::cast_slice_mut(out)),
            Element::Bf16 => {
                if memory.len() < self.len {
                    memory.resize(self.len, 0.0);
                }
                let values = &mut memory[..self.len];
                contents.fill(spec, &self.part, values);
                let out: &mut [u16] = bytemuck::cast_slice_mut(out);
                match spec.layout {
                    Layout::Panels => {
                        let len = self.part.cols.len() * PANEL_ROWS;
                        let stored = len.next_multiple_of(2 * PANEL_ROWS);
                        let panels = values.chunks_exact(len).zip(out.chunks_exact_mut(stored));
                        panels.for_each(|(panel, out)| pair_up(panel, out));
                    }
                    Layout::Rows | Layout::Vector => {
                        for (out, &value) in out.iter_mut().zip(&*values) {
                            *out = narrow(value);
                        }
                    }
                }
            }
        }
    }
}

/// The columns of a panel, `[cols][16]`, rounded and in pairs, `[ceil(cols / 2)][16][2]`.
fn pair_up(panel: &[f32], out: &mut [u16]) {
    for (columns, pairs) in panel
        .chunks(2 * PANEL_ROWS)
        .zip(out.chunks_exact_mut(2 * PANEL_ROWS))
    {
        let (first, second) = columns.split_at(PANEL_ROWS);
        for row in 0..PANEL_ROWS {
            pairs[pair_index(row, 0)] = narrow(first[row]);
            pairs[pair_index(row, 1)] = second.get(row).map_or(0, |&value| narrow(value));
        }
    }
}

/// Cuts all of `specs` into strips of about `max_len` values, in the order of the values. None is longer
/// than four times that, so that the memory of a thread is bounded whatever the shapes. Matrices are stored as
/// `matrices`.
pub(super) fn strips<'a>(
    specs: impl IntoIterator<Item = &'a TensorSpec>,
    matrices: Element,
    max_len: usize,
) -> Vec<Strip> {
    let mut strips = vec![];
    for (tensor, spec) in specs.into_iter().enumerate() {
        let unit_rows = match spec.layout {
            Layout::Panels => PANEL_ROWS,
            Layout::Rows | Layout::Vector => 1,
        };
        let unit = unit_rows * spec.cols;
        let element = spec.element(matrices);
        // Columns that `cols` columns take where they are stored.
        let stored = |cols: usize| match spec.layout {
            Layout::Panels => cols.next_multiple_of(element.line_columns()),
            Layout::Rows | Layout::Vector => cols,
        };
        let row_bytes = unit_rows * element.bytes();
        let units = spec.rows.div_ceil(unit_rows);
        let (step, width) = if unit > LONGEST * max_len {
            (1, (max_len / unit_rows / COLUMN_STEP).max(1) * COLUMN_STEP)
        } else {
            ((max_len / unit.max(1)).max(1), spec.cols)
        };
        for first in (0..units).step_by(step) {
            for first_col in (0..spec.cols).step_by(width.max(1)) {
                let cols = first_col..spec.cols.min(first_col + width);
                let count = step.min(units - first);
                strips.push(Strip {
                    tensor,
                    element,
                    start: (first * stored(spec.cols) + first_col) * row_bytes,
                    bytes: count * stored(cols.len()) * row_bytes,
                    len: count * unit_rows * cols.len(),
                    part: Part {
                        first_row: first * unit_rows,
                        cols,
                    },
                });
            }
        }
    }
    strips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(layout: Layout, rows: usize, cols: usize) -> TensorSpec {
        TensorSpec {
            name: "t".into(),
            layout,
            rows,
            cols,
        }
    }

    #[test]
    fn strips_cover_padded_panels_in_whole_panels() {
        let strips = strips(&[spec(Layout::Panels, 70, 3)], Element::F32, 100);
        let rows: Vec<_> = strips
            .iter()
            .map(|s| (s.part.first_row, s.start / 4, s.len))
            .collect();
        // A panel is 48 values, so two fit in 100; 70 rows are five panels.
        assert_eq!(rows, [(0, 0, 96), (32, 96, 96), (64, 192, 48)]);
    }

    #[test]
    fn a_row_somewhat_longer_than_the_limit_is_a_strip_of_its_own() {
        let strips = strips(
            &[spec(Layout::Rows, 2, 7), spec(Layout::Vector, 1, 9)],
            Element::F32,
            5,
        );
        let found: Vec<_> = strips
            .iter()
            .map(|s| (s.tensor, s.part.first_row, s.len))
            .collect();
        assert_eq!(found, [(0, 0, 7), (0, 1, 7), (1, 0, 9)]);
    }

    #[test]
    fn very_long_panels_and_rows_are_cut_along_their_columns() {
        let max_len = 16 * COLUMN_STEP;
        let cut = |layout, rows, cols| -> Vec<_> {
            strips(&[spec(layout, rows, cols)], Element::F32, max_len)
                .into_iter()
                .map(|s| (s.part.first_row, s.part.cols, s.start / 4, s.len))
                .collect()
        };
        // A panel of 1100 columns is 17,600 values, more than four strips of 4096.
        assert_eq!(
            cut(Layout::Panels, 17, 1100)[4..7],
            [
                (0, 1024..1100, 16_384, 1216),
                (16, 0..256, 17_600, 4096),
                (16, 256..512, 21_696, 4096),
            ]
        );
        assert_eq!(
            cut(Layout::Vector, 1, 20_000).last(),
            Some(&(0, 16_384..20_000, 16_384, 3616))
        );
        for (layout, rows, cols) in [
            (Layout::Panels, 100, 2000),
            (Layout::Rows, 3, 100_000),
            (Layout::Vector, 1, 1 << 20),
        ] {
            let spec = spec(layout, rows, cols);
            for element in Element::ALL {
                let mut end = 0;
                for strip in strips([&spec], element, max_len) {
                    assert_eq!(strip.start, end);
                    assert!(strip.len <= LONGEST * max_len);
                    end += strip.bytes;
                }
                let len = spec.stored_len(element).unwrap();
                assert_eq!(end, len * spec.element(element).bytes());
            }
        }
    }
}
