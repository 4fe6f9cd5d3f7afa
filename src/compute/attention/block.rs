//! How one head's keys and values lie in a KV block.

use crate::tensor::{Element, PANEL_ROWS, Values, narrow, pair_index};

/// Positions in one KV block: the lanes of a score vector.
pub const BLOCK: usize = PANEL_ROWS;

/// Where one head's keys and values lie in a KV block: keys as a panel of 16 positions over the head dimension,
/// then values as `ceil(head_dim / 16)` panels of 16 dimensions over the positions, padded with zeros. In FP32
/// that is keys `[head_dim][16 positions]` and values `[ceil(head_dim / 16)][16 positions][16]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBlock {
    pub head_dim: usize,
    pub element: Element,
}

impl HeadBlock {
    /// Panels of values.
    pub(super) fn panels(self) -> usize {
        self.head_dim.div_ceil(PANEL_ROWS)
    }

    pub(super) fn keys_len(self) -> usize {
        let len = self.element.panel_len(self.head_dim);
        len.expect("head dimensions are small")
    }

    /// Values of one head in one block.
    pub fn values_per_block(self) -> usize {
        self.keys_len() + self.panels() * BLOCK * PANEL_ROWS
    }

    /// The keys of a block, and its values.
    pub(super) fn split<'a>(self, block: Values<'a>) -> (Values<'a>, Values<'a>) {
        let keys = self.keys_len();
        let values = self.values_per_block() - keys;
        (block.part(0, keys), block.part(keys, values))
    }

    /// Writes the key and value of one position (`lane` = position mod 16) into an FP32 `block`.
    pub fn write(self, block: &mut [f32], lane: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = block.split_at_mut(self.keys_len());
        for (line, &k) in keys.chunks_exact_mut(BLOCK).zip(key) {
            line[lane] = k;
        }
        let panels = values.chunks_exact_mut(BLOCK * PANEL_ROWS);
        for (panel, value) in panels.zip(value.chunks(PANEL_ROWS)) {
            panel[lane * PANEL_ROWS..][..value.len()].copy_from_slice(value);
        }
    }

    /// The same into a BF16 block, rounded.
    pub fn write_narrow(self, block: &mut [u16], lane: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = block.split_at_mut(self.keys_len());
        for (dim, &k) in key.iter().enumerate() {
            keys[pair_index(lane, dim)] = narrow(k);
        }
        let panels = values.chunks_exact_mut(BLOCK * PANEL_ROWS);
        for (panel, value) in panels.zip(value.chunks(PANEL_ROWS)) {
            for (dim, &v) in value.iter().enumerate() {
                panel[pair_index(dim, lane)] = narrow(v);
            }
        }
    }
}
