//! Softmax inside a span, and the merging of spans: the same operations in the same order on every instruction
//! set.

use super::BLOCK;
use crate::compute::isa::{Isa, Kernel};
use crate::compute::lanes::sum_tree;
use crate::compute::math;
use crate::tensor::PANEL_ROWS;

/// Turns the dot products of one span into p, and gives their maximum and sum.
pub(super) struct SoftMax<'a> {
    /// `[blocks][rows][16]`.
    pub(super) p: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) heads: usize,
    /// Lanes of the last block that the first token sees; `None` sees all.
    pub(super) seen: Option<usize>,
    /// Positions from the first on that the first token does not see; the next token sees one less.
    pub(super) hidden: isize,
    pub(super) scale: f32,
    pub(super) cap: Option<f32>,
    pub(super) m: &'a mut [f32],
    pub(super) l: &'a mut [f32],
}

impl Kernel for SoftMax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let SoftMax {
            p,
            rows,
            heads,
            seen,
            hidden,
            mut scale,
            cap,
            m,
            l,
        } = self;
        let (lines, _) = p.as_chunks_mut::<PANEL_ROWS>();
        if let Some(cap) = cap {
            for score in lines.as_flattened_mut() {
                *score = cap * math::tanh(*score * scale / cap);
            }
            scale = 1.0;
        }
        if let Some(seen) = seen {
            let last = lines.len() - rows;
            for (row, lanes) in lines[last..].iter_mut().enumerate() {
                // A negative score must not become the maximum of what is seen, and infinities stay when scaled.
                lanes[(seen + row / heads).min(BLOCK)..].fill(f32::NEG_INFINITY);
            }
        }
        let blocks = lines.len() / rows;
        for row in 0..rows {
            let hidden = usize::try_from(hidden + (row / heads) as isize).unwrap_or(0);
            for block in 0..blocks.min(hidden.div_ceil(BLOCK)) {
                let count = (hidden - block * BLOCK).min(BLOCK);
                lines[block * rows + row][..count].fill(f32::NEG_INFINITY);
            }
        }
        for (row, (m, l)) in m.iter_mut().zip(l).enumerate() {
            let mut lanes = [f32::NEG_INFINITY; PANEL_ROWS];
            for line in lines[row..].iter_mut().step_by(rows) {
                for (m, s) in lanes.iter_mut().zip(line) {
                    *s *= scale;
                    *m = if *s > *m { *s } else { *m };
                }
            }
            let max = lanes
                .iter()
                .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            *m = max;
            if max == f32::NEG_INFINITY {
                // Nothing is seen: `merge` skips it.
                lines[row..]
                    .iter_mut()
                    .step_by(rows)
                    .for_each(|line| line.fill(0.0));
                *l = 0.0;
                continue;
            }
            let mut lanes = [0.0f32; PANEL_ROWS];
            for line in lines[row..].iter_mut().step_by(rows) {
                for (p, l) in line.iter_mut().zip(&mut lanes) {
                    *p = math::exp(*p - max);
                    *l += *p;
                }
            }
            *l = sum_tree(lanes);
        }
    }
}

/// Adds the next span to the total.
pub(super) fn merge(isa: Isa, rows: usize, total: &mut [f32], next: &[f32]) {
    isa.run(Merge { rows, total, next });
}

struct Merge<'a> {
    rows: usize,
    /// States as [`state_len`] describes them.
    total: &'a mut [f32],
    next: &'a [f32],
}

impl Kernel for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Merge { rows, total, next } = self;
        let sums = total.len() - 2 * rows;
        let (o1, ml1) = total.split_at_mut(sums);
        let (o2, ml2) = next.split_at(sums);
        let (m1, l1) = ml1.split_at_mut(rows);
        let (m2, l2) = ml2.split_at(rows);
        let (o1, _) = o1.as_chunks_mut::<PANEL_ROWS>();
        let (o2, _) = o2.as_chunks::<PANEL_ROWS>();
        for row in 0..rows {
            if m1[row] == f32::NEG_INFINITY {
                // The row saw nothing so far: as if its first span came now.
                let lines = o1[row..].iter_mut().step_by(rows);
                for (o1, o2) in lines.zip(o2[row..].iter().step_by(rows)) {
                    *o1 = *o2;
                }
                (m1[row], l1[row]) = (m2[row], l2[row]);
                continue;
            }
            let m = if m2[row] > m1[row] { m2[row] } else { m1[row] };
            let (a, b) = (math::exp(m1[row] - m), math::exp(m2[row] - m));
            let lines = o1[row..].iter_mut().step_by(rows);
            for (o1, o2) in lines.zip(o2[row..].iter().step_by(rows)) {
                for (o1, &o2) in o1.iter_mut().zip(o2) {
                    *o1 = o2.mul_add(b, *o1 * a);
                }
            }
            l1[row] = l2[row].mul_add(b, l1[row] * a);
            m1[row] = m;
        }
    }
}
