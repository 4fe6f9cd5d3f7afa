//! Attention of the query heads that share one key/value head, over the KV blocks of a sequence.
//!
//! Positions are cut into spans of [`SPAN`], aligned to absolute positions. Inside a span: scores (a
//! chain over the head dimension, lanes are positions), their maximum, `p = exp(score - maximum)`, the
//! sum of p in 16 lanes by absolute position, and the value sum (a chain over positions). Spans are
//! merged in increasing order with one formula. So decode, chunked prefill and any split give the
//! same bits.
//!
//! A KV block is a panel: its keys are 16 rows (positions) over the head dimension, its values are
//! head dimensions over 16 positions. Both products therefore run on the tile kernels of
//! [`matmul`](super::matmul), and the scores are already laid out as the input of the second.

use crate::tensor::PANEL_ROWS;

use super::isa::{Isa, Kernel};
use super::lanes::sum_tree;
use super::math;
use super::matmul::{Store, Tile, group_size, run_tile};

/// Positions in one KV block: the lanes of a score vector.
pub const BLOCK: usize = PANEL_ROWS;
/// Positions in one span.
pub const SPAN: usize = 512;
/// Largest head dimension the kernels have room for.
pub const MAX_HEAD_DIM: usize = 256;
/// Query heads computed together at most; a larger group is computed in several pieces.
pub const MAX_HEADS: usize = 8;

const SPAN_BLOCKS: usize = SPAN / BLOCK;
const DIM_BLOCKS: usize = MAX_HEAD_DIM / PANEL_ROWS;

/// Where one head's keys and values lie in a KV block: keys `[head_dim][16 positions]`, then values
/// `[ceil(head_dim / 16)][16 positions][16]`, padded with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBlock {
    pub head_dim: usize,
}

impl HeadBlock {
    /// Panels of values.
    fn panels(self) -> usize {
        self.head_dim.div_ceil(PANEL_ROWS)
    }

    fn keys_len(self) -> usize {
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

/// Query heads of one token that share a key/value head.
pub struct Query<'a, F> {
    /// `[heads, head_dim]`, already rotated.
    pub queries: &'a [f32],
    pub head_dim: usize,
    pub scale: f32,
    /// Last position that is seen; the first is 0.
    pub position: usize,
    /// The head's part of the block that holds positions `16 * index..`, laid out as [`HeadBlock`].
    pub block: F,
}

/// Writes the attention output `[heads, head_dim]` to `out`.
///
/// # Panics
/// When a head is larger than [`MAX_HEAD_DIM`] or the lengths differ.
pub fn attend<'b, F: Fn(usize) -> &'b [f32]>(isa: Isa, query: &Query<'_, F>, out: &mut [f32]) {
    let dim = query.head_dim;
    assert!((1..=MAX_HEAD_DIM).contains(&dim));
    assert!(query.queries.len() == out.len() && out.len().is_multiple_of(dim));
    let pieces = query
        .queries
        .chunks(MAX_HEADS * dim)
        .zip(out.chunks_mut(MAX_HEADS * dim));
    for (queries, out) in pieces {
        let Query {
            head_dim,
            scale,
            position,
            ref block,
            ..
        } = *query;
        let query = Query {
            queries,
            head_dim,
            scale,
            position,
            block,
        };
        match queries.len() / dim {
            1 => attend_heads::<1, _>(isa, &query, out),
            2 => attend_heads::<2, _>(isa, &query, out),
            3 => attend_heads::<3, _>(isa, &query, out),
            4 => attend_heads::<4, _>(isa, &query, out),
            5 => attend_heads::<5, _>(isa, &query, out),
            6 => attend_heads::<6, _>(isa, &query, out),
            7 => attend_heads::<7, _>(isa, &query, out),
            _ => attend_heads::<8, _>(isa, &query, out),
        }
    }
}

/// 16 lanes of each of T heads.
type Lines<const T: usize> = [[f32; PANEL_ROWS]; T];

/// Maximum, sum of p, and value sum of the positions so far, for each of T heads.
struct State<const T: usize> {
    m: [f32; T],
    l: [f32; T],
    o: [Lines<T>; DIM_BLOCKS],
}

fn attend_heads<'b, const T: usize, F: Fn(usize) -> &'b [f32]>(
    isa: Isa,
    query: &Query<'_, F>,
    out: &mut [f32],
) {
    let mut queries = [[[0.0f32; PANEL_ROWS]; T]; DIM_BLOCKS];
    for (t, head) in query.queries.chunks_exact(query.head_dim).enumerate() {
        for (block, values) in head.chunks(PANEL_ROWS).enumerate() {
            queries[block][t][..values.len()].copy_from_slice(values);
        }
    }
    let queries = queries.as_flattened().as_flattened();
    let positions = query.position + 1;
    let mut total = span::<T, F>(isa, query, queries, 0, positions.min(SPAN));
    for start in (SPAN..positions).step_by(SPAN) {
        let next = span::<T, F>(isa, query, queries, start, (positions - start).min(SPAN));
        let blocks = query.head_dim.div_ceil(PANEL_ROWS);
        isa.run(Merge {
            total: &mut total,
            next: &next,
            blocks,
        });
    }
    for (t, out) in out.chunks_exact_mut(query.head_dim).enumerate() {
        for (o, out) in total.o.iter().zip(out.chunks_mut(PANEL_ROWS)) {
            for (out, &o) in out.iter_mut().zip(&o[t]) {
                *out = o / total.l[t];
            }
        }
    }
}

/// Positions `start..start + count` of one span.
fn span<'b, const T: usize, F: Fn(usize) -> &'b [f32]>(
    isa: Isa,
    query: &Query<'_, F>,
    queries: &[f32],
    start: usize,
    count: usize,
) -> State<T> {
    let head = HeadBlock {
        head_dim: query.head_dim,
    };
    let line = T * PANEL_ROWS;
    let first = start / BLOCK;
    let blocks = count.div_ceil(BLOCK);
    let mut p = [[[0.0f32; PANEL_ROWS]; T]; SPAN_BLOCKS];
    for (index, scores) in p[..blocks].iter_mut().enumerate() {
        let tile = Tile {
            weights: &(query.block)(first + index)[..head.keys_len()],
            cols: head.head_dim,
            x: queries,
            x_block: line,
            out_block: line,
            tokens: T,
            store: Store::Replace,
        };
        run_tile(isa, 1, &tile, scores.as_flattened_mut());
    }

    let mut state = State {
        m: [0.0; T],
        l: [0.0; T],
        o: [[[0.0; PANEL_ROWS]; T]; DIM_BLOCKS],
    };
    let scale = query.scale;
    isa.run(SoftMax {
        p: &mut p[..blocks],
        count,
        scale,
        m: &mut state.m,
        l: &mut state.l,
    });

    let o = state.o.as_flattened_mut().as_flattened_mut();
    for (index, p) in p[..blocks].iter().enumerate() {
        let values = &(query.block)(first + index)[head.keys_len()..head.values_per_block()];
        let mut done = 0;
        while done < head.panels() {
            let group = group_size(isa, head.panels() - done, T);
            let tile = Tile {
                weights: &values[done * BLOCK * PANEL_ROWS..][..group * BLOCK * PANEL_ROWS],
                cols: BLOCK,
                x: p.as_flattened(),
                x_block: line,
                out_block: line,
                tokens: T,
                store: Store::Continue,
            };
            run_tile(isa, group, &tile, &mut o[done * line..]);
            done += group;
        }
    }
    state
}

/// Turns the dot products of one span into p, and gives their maximum and sum.
struct SoftMax<'a, const T: usize> {
    p: &'a mut [Lines<T>],
    /// Positions seen; what is left of the last block is masked.
    count: usize,
    scale: f32,
    m: &'a mut [f32; T],
    l: &'a mut [f32; T],
}

impl<const T: usize> Kernel for SoftMax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let SoftMax {
            p,
            count,
            scale,
            m,
            l,
        } = self;
        for score in p.as_flattened_mut().as_flattened_mut() {
            *score *= scale;
        }
        let masked = p.len() * BLOCK - count;
        for lanes in p.last_mut().into_iter().flatten() {
            lanes[BLOCK - masked..].fill(f32::NEG_INFINITY);
        }
        for t in 0..T {
            let mut lanes = [f32::NEG_INFINITY; PANEL_ROWS];
            for block in p.iter() {
                for (m, &s) in lanes.iter_mut().zip(&block[t]) {
                    *m = if s > *m { s } else { *m };
                }
            }
            m[t] = lanes
                .iter()
                .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            let mut lanes = [0.0f32; PANEL_ROWS];
            for block in p.iter_mut() {
                for (p, l) in block[t].iter_mut().zip(&mut lanes) {
                    *p = math::exp(*p - m[t]);
                    *l += *p;
                }
            }
            l[t] = sum_tree(lanes);
        }
    }
}

/// Adds the next span to the total.
struct Merge<'a, const T: usize> {
    total: &'a mut State<T>,
    next: &'a State<T>,
    /// Blocks of the value sum that are in use.
    blocks: usize,
}

impl<const T: usize> Kernel for Merge<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Merge {
            total,
            next,
            blocks,
        } = self;
        for t in 0..T {
            let m = if next.m[t] > total.m[t] {
                next.m[t]
            } else {
                total.m[t]
            };
            let (a, b) = (math::exp(total.m[t] - m), math::exp(next.m[t] - m));
            for (o1, o2) in total.o[..blocks].iter_mut().zip(&next.o) {
                for (o1, &o2) in o1[t].iter_mut().zip(&o2[t]) {
                    *o1 = o2.mul_add(b, *o1 * a);
                }
            }
            total.l[t] = next.l[t].mul_add(b, total.l[t] * a);
            total.m[t] = m;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::reference;

    fn value(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 250.0 - 2.0
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn every_isa_equals_the_plain_loop_bit_for_bit() {
        for (head_dim, heads) in [
            (8, 1),
            (16, 3),
            (36, 2),
            (64, 3),
            (64, 1),
            (80, 9),
            (128, 8),
        ] {
            let head = HeadBlock { head_dim };
            let queries: Vec<f32> = (0..heads * head_dim).map(|i| value(i + 5)).collect();
            let scale = 1.0 / (head_dim as f32).sqrt();
            for positions in [1, 15, 16, 17, 70, 511, 512, 513, 1100] {
                let rows = |salt: usize| -> Vec<Vec<f32>> {
                    let row = |p: usize| (0..head_dim).map(move |d| value(p * 131 + d * 17 + salt));
                    (0..positions).map(|p| row(p).collect()).collect()
                };
                let (keys, values) = (rows(0), rows(400));
                let mut blocks =
                    vec![vec![0.0; head.values_per_block()]; positions.div_ceil(BLOCK)];
                for p in 0..positions {
                    head.write(&mut blocks[p / BLOCK], p % BLOCK, &keys[p], &values[p]);
                }
                let want: Vec<f32> = queries
                    .chunks_exact(head_dim)
                    .flat_map(|query| reference::attention(query, &keys, &values, scale, SPAN))
                    .collect();
                for isa in Isa::all() {
                    let mut out = vec![0.0; heads * head_dim];
                    let block = |index: usize| blocks[index].as_slice();
                    let position = positions - 1;
                    let query = Query {
                        queries: &queries,
                        head_dim,
                        scale,
                        position,
                        block,
                    };
                    attend(isa, &query, &mut out);
                    assert_eq!(
                        bits(&out),
                        bits(&want),
                        "{isa} {heads} x {head_dim}, {positions}"
                    );
                }
            }
        }
    }

    #[test]
    fn later_positions_in_the_last_block_do_not_count() {
        let head = HeadBlock { head_dim: 16 };
        let mut block = vec![0.0; head.values_per_block()];
        head.write(&mut block, 0, &[1.0; 16], &[3.0; 16]);
        head.write(&mut block, 1, &[9.0; 16], &[100.0; 16]);
        for isa in Isa::all() {
            let mut out = [0.0; 16];
            let block = |_| block.as_slice();
            let query = Query {
                queries: &[1.0; 16],
                head_dim: 16,
                scale: 0.25,
                position: 0,
                block,
            };
            attend(isa, &query, &mut out);
            assert_eq!(out, [3.0; 16], "{isa}");
        }
    }
}
