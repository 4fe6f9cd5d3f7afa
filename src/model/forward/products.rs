//! Matrix products cut into chunks of panels for the thread team.

use crate::compute::elementwise::Activation;
use crate::compute::matmul::{Product, Store};
use crate::compute::{Isa, Lanes, LanesView, Panels, Team, elementwise};

/// Chunks per thread and phase: enough that a thread which was interrupted leaves little behind.
const CHUNKS_PER_THREAD: usize = 16;
/// Panels in a chunk at least. At the end of a phase threads wait for half a chunk on the mean: with 2 instead of 4 to
/// 6 panels of a 576-wide matrix, the threads' time outside of chunks fell from 0.050 to 0.038 of a token.
const MIN_PANELS: usize = 2;
/// And at most: 16 panels of a 576-wide matrix are 590 KB, some tens of microseconds.
const MAX_PANELS: usize = 16;

/// A weight matrix, and what is added to its product: after the chain, and after the stream where the product is
/// added to it.
#[derive(Clone, Copy)]
pub(in crate::model) struct Matrix<'a> {
    pub(in crate::model) panels: Panels<'a>,
    pub(in crate::model) bias: Option<&'a [f32]>,
}

impl Matrix<'_> {
    /// Adds the bias to the blocks of `out` from number `first` on.
    fn add_bias(&self, block_len: usize, first: usize, out: &mut [f32]) {
        if let Some(bias) = self.bias {
            elementwise::add_bias(block_len, first, bias, out);
        }
    }
}

/// Products with one input.
pub(super) struct Products<'a> {
    isa: Isa,
    team: &'a Team,
    x: LanesView<'a>,
}

impl<'a> Products<'a> {
    pub(super) fn new(isa: Isa, team: &'a Team, x: LanesView<'a>) -> Self {
        Products { isa, team, x }
    }

    /// The product with one matrix, and then the activation if there is one.
    pub(super) fn one(
        &self,
        matrix: Matrix<'_>,
        out: &mut Lanes,
        store: Store,
        activation: Option<Activation>,
    ) {
        let block_len = out.block_len();
        let product = self.with(matrix.panels, block_len, store);
        let isa = self.isa;
        // There may be room for more: parts that stand apart are padded each.
        let len = matrix.panels.count() * block_len;
        spread(
            self.team,
            &mut out.values_mut()[..len],
            block_len,
            |first, follow, out| {
                product.run(first, out, Some((matrix.panels, follow)));
                matrix.add_bias(block_len, first, out);
                if let Some(activation) = activation {
                    elementwise::activate(isa, activation, out);
                }
            },
        );
    }

    /// The products with several matrices one below the other, each starting on its own panel.
    pub(super) fn concatenated(&self, matrices: &[Matrix<'_>; 3], out: &mut Lanes) {
        let block_len = out.block_len();
        let parts = &matrices.map(|matrix| matrix.panels);
        let products = parts.map(|part| self.with(part, block_len, Store::Replace));
        spread(
            self.team,
            out.values_mut(),
            block_len,
            |first, follow, out| {
                let mut rest = out;
                let mut start = 0;
                let after = part_of(parts, follow);
                for (product, matrix) in products.iter().zip(matrices) {
                    let panels = product.weights.count();
                    let skip = first.saturating_sub(start);
                    let count = panels.saturating_sub(skip).min(rest.len() / block_len);
                    start += panels;
                    if count > 0 {
                        let (now, later) = rest.split_at_mut(count * block_len);
                        product.run(skip, now, after);
                        matrix.add_bias(block_len, skip, now);
                        rest = later;
                    }
                }
            },
        );
    }

    /// `f(gate x) * (up x)` in the even blocks of `out`; the odd ones keep the product with `up`.
    pub(super) fn gated(
        &self,
        gate: Matrix<'_>,
        up: Matrix<'_>,
        activation: Activation,
        out: &mut Lanes,
    ) {
        let block_len = out.block_len();
        let isa = self.isa;
        let [gates, ups] =
            [gate, up].map(|part| self.with(part.panels, 2 * block_len, Store::Replace));
        spread(
            self.team,
            out.values_mut(),
            2 * block_len,
            |first, follow, out| {
                gates.run(first, out, Some((up.panels, first)));
                ups.run(first, &mut out[block_len..], Some((gate.panels, follow)));
                for (block, pair) in (first..).zip(out.chunks_exact_mut(2 * block_len)) {
                    let (gates, ups) = pair.split_at_mut(block_len);
                    gate.add_bias(block_len, block, gates);
                    up.add_bias(block_len, block, ups);
                    elementwise::gate(isa, activation, gates, ups);
                }
            },
        );
    }

    fn with<'p>(&self, weights: Panels<'p>, out_block: usize, store: Store) -> Product<'p>
    where
        'a: 'p,
    {
        Product {
            isa: self.isa,
            weights,
            x: self.x,
            out_block,
            store,
        }
    }
}

/// Calls `f(first panel, first panel of the chunk that probably follows on the same thread, output)`.
pub(super) fn spread(
    team: &Team,
    out: &mut [f32],
    block_len: usize,
    f: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let panels = chunk_panels(out.len() / block_len, team.threads());
    team.chunks(out, panels * block_len, |index, chunk| {
        f(index * panels, (index + 1) * panels, chunk);
    });
}

/// The matrix and the panel in it that stand at `panel` when all are counted through.
fn part_of<'p>(parts: &[Panels<'p>], panel: usize) -> Option<(Panels<'p>, usize)> {
    let mut start = 0;
    for part in parts {
        if panel < start + part.count() {
            return Some((*part, panel - start));
        }
        start += part.count();
    }
    None
}

/// Panels per chunk of `count`: small enough that no thread waits long for another, and such that all threads
/// get equally many. The 36 panels of a 576-wide model in chunks of 4 are 5 chunks for one thread of two and 4
/// for the other.
fn chunk_panels(count: usize, threads: usize) -> usize {
    let share = count / (threads * CHUNKS_PER_THREAD);
    let least = share.next_multiple_of(2).clamp(MIN_PANELS, MAX_PANELS);
    let longest = |panels: &usize| count.div_ceil(*panels).div_ceil(threads) * panels;
    let sizes = (least..=2 * least).step_by(2);
    sizes.min_by_key(longest).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Values;

    #[test]
    fn threads_get_equally_many_panels_where_that_is_possible() {
        let sizes = [
            (36, 2),
            (60, 2),
            (96, 2),
            (3072, 2),
            (36, 1),
            (7, 2),
            (1, 4),
            (90, 3),
        ];
        let panels = sizes.map(|(count, threads)| chunk_panels(count, threads));
        assert_eq!(panels, [2, 2, 4, 16, 2, 2, 2, 2]);
    }

    #[test]
    fn a_panel_is_found_in_its_part() {
        let data = vec![0.0; 5 * 16];
        let parts = [
            Panels::new(Values::F32(&data[..48]), 40, 1),
            Panels::new(Values::F32(&data[48..]), 32, 1),
        ];
        let found = |panel| part_of(&parts, panel).map(|(part, panel)| (part.rows(), panel));
        assert_eq!(
            [0, 2, 3, 4, 5].map(found),
            [
                Some((40, 0)),
                Some((40, 2)),
                Some((32, 0)),
                Some((32, 1)),
                None
            ]
        );
    }
}
