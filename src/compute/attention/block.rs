//! How one head's keys and values lie in a KV block.

use crate::tensor::PANEL_ROWS;

/// Positions in one KV block: the lanes of a score vector.
pub const BLOCK: usize = PANEL_ROWS;
/// Where one head's keys and values lie in a KV block: keys `[head_dim][16 positions]`, then values
/// `[ceil(head_dim / 16)][16 positions][16]`, padded with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBlock {
    pub head_dim: usize,
}

impl HeadBlock {
    /// Panels of values.
    pub(super) fn panels(self) -> usize {
        self.head_dim.div_ceil(PANEL_ROWS)
    }

    pub(super) fn keys_len(self) -> usize {
        BLOCK * self.head_dim
    }

    /// FP32 values of one head in one block.
    pub fn values_per_block(self) -> usize {
        self.keys_len() + self.panels() * BLOCK * PANEL_ROWS
    }

    /// Writes the key and value of one position (`lane` = position mod 16) into `block`.
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
}
