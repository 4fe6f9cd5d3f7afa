//! Attention of one query head over the KV blocks of its sequence.
//!
//! Positions are cut into spans of [`SPAN`], aligned to absolute positions. Inside a span: scores (a
//! chain over the head dimension, lanes are positions), their maximum, `p = exp(score - maximum)`, the
//! sum of p in 16 lanes by absolute position, and the value sum (a chain over positions). Spans are
//! merged in increasing order with one formula. So decode, chunked prefill and any split give the
//! same bits.

use super::isa::{Isa, Kernel};
use super::{math, reference};

/// Positions in one KV block: the lanes of a score vector.
pub const BLOCK: usize = 16;
/// Positions in one span.
pub const SPAN: usize = 512;
/// Largest head dimension the kernels have room for.
pub const MAX_HEAD_DIM: usize = 256;

/// Where one head's keys and values lie in a KV block: keys `[head_dim][16]`, then values
/// `[16][padded head_dim]`, padded to a multiple of 16 with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBlock {
    pub head_dim: usize,
}

impl HeadBlock {
    fn padded(self) -> usize {
        self.head_dim.next_multiple_of(BLOCK)
    }

    /// Values of one head in one block.
    pub fn len(self) -> usize {
        BLOCK * (self.head_dim + self.padded())
    }

    pub fn is_empty(self) -> bool {
        self.head_dim == 0
    }

    /// Writes the key and value of one position (`lane` = position mod 16) into `block`.
    pub fn write(self, block: &mut [f32], lane: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = block[..self.len()].split_at_mut(BLOCK * self.head_dim);
        for (line, &k) in keys.chunks_exact_mut(BLOCK).zip(key) {
            line[lane] = k;
        }
        values[lane * self.padded()..][..self.head_dim].copy_from_slice(&value[..self.head_dim]);
    }
}

/// One query head at one position.
pub struct Query<'a, F> {
    /// `[head_dim]`, already rotated.
    pub query: &'a [f32],
    pub scale: f32,
    /// Last position that is seen; the first is 0.
    pub position: usize,
    /// The head's part of the block that holds positions `16 * index..`, laid out as [`HeadBlock`].
    pub block: F,
}

/// Writes the attention output `[head_dim]` to `out`.
///
/// # Panics
/// When the head is larger than [`MAX_HEAD_DIM`] or the lengths differ.
pub fn attend<'b, F: Fn(usize) -> &'b [f32]>(isa: Isa, query: Query<'_, F>, out: &mut [f32]) {
    assert!(query.query.len() <= MAX_HEAD_DIM && query.query.len() == out.len());
    isa.run(Attend { query, out });
}

struct Attend<'a, F> {
    query: Query<'a, F>,
    out: &'a mut [f32],
}

/// Maximum, sum of p, and value sum of the positions so far.
struct State {
    m: f32,
    l: f32,
    o: [f32; MAX_HEAD_DIM],
}

impl<'b, F: Fn(usize) -> &'b [f32]> Kernel for Attend<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Attend { query, out } = self;
        let positions = query.position + 1;
        let mut total = span(&query, 0, positions.min(SPAN));
        for start in (SPAN..positions).step_by(SPAN) {
            let next = span(&query, start, (positions - start).min(SPAN));
            merge(&mut total, &next, out.len());
        }
        for (out, &o) in out.iter_mut().zip(&total.o) {
            *out = o / total.l;
        }
    }
}

#[inline(always)]
fn merge(total: &mut State, next: &State, head_dim: usize) {
    let m = if next.m > total.m { next.m } else { total.m };
    let (a, b) = (math::exp(total.m - m), math::exp(next.m - m));
    for (o1, &o2) in total.o[..head_dim].iter_mut().zip(&next.o) {
        *o1 = o2.mul_add(b, *o1 * a);
    }
    total.l = next.l.mul_add(b, total.l * a);
    total.m = m;
}

/// Positions `start..start + count` of one span.
#[inline(always)]
fn span<'b, F: Fn(usize) -> &'b [f32]>(query: &Query<'_, F>, start: usize, count: usize) -> State {
    let head = HeadBlock {
        head_dim: query.query.len(),
    };
    let first = start / BLOCK;
    let blocks = count.div_ceil(BLOCK);
    let mut p = [[f32::NEG_INFINITY; BLOCK]; SPAN / BLOCK];
    // Four blocks at once: one chain has a latency of four cycles per step, so four fill the unit.
    let mut done = 0;
    while done + 4 <= blocks {
        let scores = scores::<4>(query, [0, 1, 2, 3].map(|i| (query.block)(first + done + i)));
        p[done..done + 4].copy_from_slice(&scores);
        done += 4;
    }
    for index in done..blocks {
        [p[index]] = scores::<1>(query, [(query.block)(first + index)]);
    }
    for lane in count - (blocks - 1) * BLOCK..BLOCK {
        p[blocks - 1][lane] = f32::NEG_INFINITY;
    }

    let mut m = [f32::NEG_INFINITY; BLOCK];
    for block in &p[..blocks] {
        for (m, &s) in m.iter_mut().zip(block) {
            *m = if s > *m { s } else { *m };
        }
    }
    let m = m
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });

    let mut l = [0.0f32; BLOCK];
    for block in &mut p[..blocks] {
        for (p, l) in block.iter_mut().zip(&mut l) {
            *p = math::exp(*p - m);
            *l += *p;
        }
    }

    let mut o = [0.0f32; MAX_HEAD_DIM];
    let padded = head.padded();
    let values = |index: usize| &(query.block)(first + index)[BLOCK * head.head_dim..head.len()];
    let mut dim = 0;
    while dim + 4 * BLOCK <= padded {
        value_sum::<4>(&p[..blocks], values, padded, dim, &mut o);
        dim += 4 * BLOCK;
    }
    while dim < padded {
        value_sum::<1>(&p[..blocks], values, padded, dim, &mut o);
        dim += BLOCK;
    }
    State {
        m,
        l: reference::tree(l),
        o,
    }
}

/// Scaled scores of B blocks of 16 positions.
#[inline(always)]
fn scores<const B: usize>(query: &Query<'_, impl Sized>, blocks: [&[f32]; B]) -> [[f32; BLOCK]; B] {
    let head_dim = query.query.len();
    let keys = blocks.map(|block| &block[..BLOCK * head_dim]);
    let mut acc = [[0.0f32; BLOCK]; B];
    for (d, &q) in query.query.iter().enumerate() {
        for b in 0..B {
            let line = &keys[b][d * BLOCK..(d + 1) * BLOCK];
            for (acc, &k) in acc[b].iter_mut().zip(line) {
                *acc = k.mul_add(q, *acc);
            }
        }
    }
    for acc in acc.iter_mut().flatten() {
        *acc *= query.scale;
    }
    acc
}

/// `o[dim..dim + 16 C] = sum over positions of p * value`, a chain over positions.
#[inline(always)]
fn value_sum<'b, const C: usize>(
    p: &[[f32; BLOCK]],
    values: impl Fn(usize) -> &'b [f32],
    padded: usize,
    dim: usize,
    o: &mut [f32; MAX_HEAD_DIM],
) {
    let mut acc = [[0.0f32; BLOCK]; C];
    for (index, p) in p.iter().enumerate() {
        let block = values(index);
        for (lane, &p) in p.iter().enumerate() {
            let row = &block[lane * padded + dim..][..C * BLOCK];
            for c in 0..C {
                for (acc, &v) in acc[c].iter_mut().zip(&row[c * BLOCK..(c + 1) * BLOCK]) {
                    *acc = p.mul_add(v, *acc);
                }
            }
        }
    }
    for c in 0..C {
        o[dim + c * BLOCK..dim + (c + 1) * BLOCK].copy_from_slice(&acc[c]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 250.0 - 2.0
    }

    #[test]
    fn every_isa_equals_the_plain_loop_bit_for_bit() {
        for head_dim in [8, 16, 36, 64, 80, 128] {
            let head = HeadBlock { head_dim };
            let query: Vec<f32> = (0..head_dim).map(|i| value(i + 5)).collect();
            let scale = 1.0 / (head_dim as f32).sqrt();
            for positions in [1, 15, 16, 17, 70, 511, 512, 513, 1100] {
                let row = |salt: usize| -> Vec<Vec<f32>> {
                    (0..positions)
                        .map(|p| {
                            (0..head_dim)
                                .map(|d| value(p * 131 + d * 17 + salt))
                                .collect()
                        })
                        .collect()
                };
                let (keys, values) = (row(0), row(400));
                let mut blocks = vec![vec![0.0; head.len()]; positions.div_ceil(BLOCK)];
                for p in 0..positions {
                    head.write(&mut blocks[p / BLOCK], p % BLOCK, &keys[p], &values[p]);
                }
                let want = reference::attention(&query, &keys, &values, scale, SPAN);
                for isa in Isa::all() {
                    let mut out = vec![0.0; head_dim];
                    let block = |index: usize| blocks[index].as_slice();
                    attend(
                        isa,
                        Query {
                            query: &query,
                            scale,
                            position: positions - 1,
                            block,
                        },
                        &mut out,
                    );
                    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(
                        bits(&out),
                        bits(&want),
                        "{isa} head {head_dim} positions {positions}"
                    );
                }
            }
        }
    }

    #[test]
    fn later_positions_in_the_last_block_do_not_count() {
        let head = HeadBlock { head_dim: 16 };
        let mut block = vec![0.0; head.len()];
        head.write(&mut block, 0, &[1.0; 16], &[3.0; 16]);
        head.write(&mut block, 1, &[9.0; 16], &[100.0; 16]);
        for isa in Isa::all() {
            let mut out = [0.0; 16];
            let query = Query {
                query: &[1.0; 16],
                scale: 0.25,
                position: 0,
                block: |_| block.as_slice(),
            };
            attend(isa, query, &mut out);
            assert_eq!(out, [3.0; 16], "{isa}");
        }
    }
}
