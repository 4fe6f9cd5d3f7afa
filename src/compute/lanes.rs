//! Activations of the tokens of one step: `data[block][token][16]`, where block b holds the values
//! 16b..16b+15 of every token.
//!
//! A kernel's result for one panel and all tokens is one contiguous run of this layout and already
//! the next product's input, so no pass repacks anything. For one token it is a plain vector.

use crate::tensor::PANEL_ROWS;

/// `[width, tokens]` activations, the width padded to a multiple of 16.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    data: Vec<f32>,
    width: usize,
    tokens: usize,
    stride: usize,
}

/// Borrowed activations whose blocks may lie further apart than their tokens need: the input of a
/// product.
#[derive(Debug, Clone, Copy)]
pub struct LanesView<'a> {
    pub values: &'a [f32],
    pub width: usize,
    pub tokens: usize,
    /// Values between the starts of two blocks.
    pub block_len: usize,
}

/// Tokens between the starts of two blocks. Odd above one tile, so that the blocks of one token do
/// not all fall into the same sets of the L1 cache.
fn stride(tokens: usize) -> usize {
    if tokens <= 14 { tokens } else { tokens | 1 }
}

/// Sum of the 16 values of a lane vector, in the one order that whole-vector sums end with: halves are
/// added onto each other, 8, 4, 2, 1.
pub(super) fn sum_tree(mut lanes: [f32; PANEL_ROWS]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// `1 / sqrt(mean + eps)` of `count` squares that were summed in 16 lanes.
#[inline(always)]
pub(super) fn inverse_root(squares: [f32; PANEL_ROWS], count: usize, eps: f32) -> f32 {
    1.0 / (sum_tree(squares) / count as f32 + eps).sqrt()
}

impl Lanes {
    /// Room for `max_tokens` tokens of `width` values; [`Lanes::resize`] never allocates up to that.
    pub fn new(width: usize, max_tokens: usize) -> Self {
        let blocks = width.div_ceil(PANEL_ROWS);
        let mut lanes = Lanes {
            data: vec![0.0; blocks * stride(max_tokens) * PANEL_ROWS],
            width,
            tokens: 0,
            stride: 0,
        };
        lanes.resize(max_tokens);
        lanes
    }

    /// Sets the number of tokens; the values are then unspecified but initialized.
    pub fn resize(&mut self, tokens: usize) {
        self.tokens = tokens;
        self.stride = stride(tokens);
        let len = self.blocks() * self.stride * PANEL_ROWS;
        if self.data.len() < len {
            self.data.resize(len, 0.0);
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Blocks of 16 values.
    pub fn blocks(&self) -> usize {
        self.width.div_ceil(PANEL_ROWS)
    }

    /// Values of one block over all tokens, padding included.
    pub fn block_len(&self) -> usize {
        self.stride * PANEL_ROWS
    }

    pub fn values(&self) -> &[f32] {
        &self.data[..self.blocks() * self.block_len()]
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        let len = self.blocks() * self.block_len();
        &mut self.data[..len]
    }

    pub fn view(&self) -> LanesView<'_> {
        LanesView {
            values: self.values(),
            width: self.width,
            tokens: self.tokens,
            block_len: self.block_len(),
        }
    }

    /// The even blocks as activations of `width` values: what a gated product leaves behind.
    ///
    /// # Panics
    /// When there are not enough blocks.
    pub fn even_blocks(&self, width: usize) -> LanesView<'_> {
        assert!(2 * width.div_ceil(PANEL_ROWS) <= self.blocks());
        LanesView {
            width,
            block_len: 2 * self.block_len(),
            ..self.view()
        }
    }

    /// The 16 values of `block` for `token`.
    pub fn lane(&self, block: usize, token: usize) -> &[f32] {
        let start = (block * self.stride + token) * PANEL_ROWS;
        &self.data[start..start + PANEL_ROWS]
    }

    /// Writes one token's values from a plain vector `[width]`.
    pub fn set_token(&mut self, token: usize, values: &[f32]) {
        assert!(token < self.tokens && values.len() == self.width);
        for (block, chunk) in values.chunks(PANEL_ROWS).enumerate() {
            let start = (block * self.stride + token) * PANEL_ROWS;
            self.data[start..start + chunk.len()].copy_from_slice(chunk);
        }
    }

    /// Reads the values from number `start` on into a plain vector.
    pub fn copy_token(&self, token: usize, start: usize, out: &mut [f32]) {
        let (mut block, mut skip) = (start / PANEL_ROWS, start % PANEL_ROWS);
        let mut rest = out;
        while !rest.is_empty() {
            let count = (PANEL_ROWS - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&self.lane(block, token)[skip..skip + count]);
            (rest, block, skip) = (later, block + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_their_values_for_every_count() {
        for tokens in [1, 2, 14, 15, 16, 33] {
            let mut lanes = Lanes::new(37, 40);
            lanes.resize(tokens);
            for t in 0..tokens {
                let values: Vec<f32> = (0..37).map(|i| (t * 100 + i) as f32).collect();
                lanes.set_token(t, &values);
            }
            for t in 0..tokens {
                let mut out = [0.0; 37];
                lanes.copy_token(t, 0, &mut out);
                assert!(
                    out.iter()
                        .enumerate()
                        .all(|(i, &v)| v == (t * 100 + i) as f32)
                );
                assert_eq!(lanes.lane(1, t)[3], (t * 100 + 19) as f32);
                lanes.copy_token(t, 13, &mut out[..20]);
                assert!((13..33).zip(&out).all(|(i, &v)| v == (t * 100 + i) as f32));
            }
        }
    }

    #[test]
    fn one_token_is_a_plain_vector() {
        let mut lanes = Lanes::new(32, 1);
        let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
        lanes.set_token(0, &values);
        assert_eq!(lanes.values(), values);
    }
}
