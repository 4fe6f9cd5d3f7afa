//! Tensors cut into strips that threads fill independently.

use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

/// A run of whole panels or rows of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strip {
    /// Index of the tensor.
    pub(super) tensor: usize,
    pub(super) first_row: usize,
    /// Values of the tensor before the strip.
    pub(super) start: usize,
    /// Values in the strip.
    pub(super) len: usize,
}

/// Cuts all of `specs` into strips of at most `max_len` values, or one panel or row where that is more.
pub(super) fn strips<'a>(
    specs: impl IntoIterator<Item = &'a TensorSpec>,
    max_len: usize,
) -> Vec<Strip> {
    let mut strips = vec![];
    for (tensor, spec) in specs.into_iter().enumerate() {
        let unit_rows = match spec.layout {
            Layout::Panels => PANEL_ROWS,
            Layout::Rows | Layout::Vector => 1,
        };
        let unit = unit_rows * spec.cols;
        let units = spec.rows.div_ceil(unit_rows);
        let step = (max_len / unit.max(1)).max(1);
        for first in (0..units).step_by(step) {
            let len = step.min(units - first) * unit;
            strips.push(Strip {
                tensor,
                first_row: first * unit_rows,
                start: first * unit,
                len,
            });
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
        let strips = strips(&[spec(Layout::Panels, 70, 3)], 100);
        let rows: Vec<_> = strips
            .iter()
            .map(|s| (s.first_row, s.start, s.len))
            .collect();
        // A panel is 48 values, so two fit in 100; 70 rows are five panels.
        assert_eq!(rows, [(0, 0, 96), (32, 96, 96), (64, 192, 48)]);
    }

    #[test]
    fn a_row_longer_than_the_limit_is_a_strip_of_its_own() {
        let strips = strips(&[spec(Layout::Rows, 2, 7), spec(Layout::Vector, 1, 9)], 5);
        let found: Vec<_> = strips
            .iter()
            .map(|s| (s.tensor, s.first_row, s.len))
            .collect();
        assert_eq!(found, [(0, 0, 7), (0, 1, 7), (1, 0, 9)]);
    }
}
