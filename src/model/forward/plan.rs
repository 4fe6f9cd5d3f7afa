//! How the attention of a step is divided: which tokens are computed together, and into which tasks. Pure
//! bookkeeping, done once per step for all layers.
//!
//! Invariant: no division changes a bit, because no row depends on its neighbours.

use crate::compute::attention::{BLOCK, MAX_ROWS, span_count};

use super::BatchToken;
use crate::model::{BlockTable, PerReach, Reach};

/// Below this many tasks per thread the threads would wait for each other.
const TASKS_PER_THREAD: usize = 4;

/// Sizes of the model that count here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    /// Query heads for each key/value head.
    pub(super) group: usize,
    pub(super) kv_heads: usize,
    /// Whether there are layers with a window.
    pub(super) windows: bool,
}

/// Adjacent tokens of one sequence whose positions lie in one KV block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) table: usize,
    /// Index of the first token in the step.
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// Position of the first token.
    pub(super) position: usize,
}

/// One piece of attention: some query heads of a run, over all spans or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) unit: usize,
    pub(super) kv_head: usize,
    /// First query head and their number.
    pub(super) head: usize,
    pub(super) heads: usize,
    /// The only span, where spans are divided.
    pub(super) span: usize,
}

/// The division of one step.
#[derive(Debug, Default)]
pub(in crate::model) struct Plan {
    /// What is written to KV blocks together, in the order of the blocks in the pool.
    pub(super) writes: PerReach<Vec<Run>>,
    /// What attends together.
    pub(super) units: Vec<Run>,
    /// Unit of each token of the step.
    unit_of: Vec<usize>,
    /// Query heads in one task, and tasks for the heads of one key/value head.
    heads: usize,
    pieces: usize,
    /// Spans that are divided among tasks; 1 when each task computes all of its own.
    spans: usize,
    sizes: (usize, usize),
}

impl Plan {
    pub(super) fn make(
        &mut self,
        tables: &[&BlockTable],
        batch: &[BatchToken],
        sizes: Heads,
        threads: usize,
    ) {
        let Heads {
            group,
            kv_heads,
            windows,
        } = sizes;
        self.sizes = (group, kv_heads);
        runs(batch, BLOCK, &mut self.writes.all);
        self.pieces = group.div_ceil(MAX_ROWS);
        self.heads = group.div_ceil(self.pieces);
        runs(batch, MAX_ROWS / self.heads, &mut self.units);
        let enough = TASKS_PER_THREAD * threads;
        let last = |unit: &Run| span_count(unit.position + unit.tokens - 1);
        let spans = self.units.iter().map(last).max().unwrap_or(1);
        let tasks = self.units.len() * kv_heads * self.pieces;
        self.spans = 1;
        if threads > 1 && tasks < enough {
            if spans > 1 {
                self.spans = spans;
            } else {
                // Each head alone: keys and values are read again, but no thread stands idle.
                (self.pieces, self.heads) = (group, 1);
            }
        }
        self.unit_of.clear();
        for (number, unit) in self.units.iter().enumerate() {
            self.unit_of.resize(unit.first + unit.tokens, number);
        }
        let by_block =
            |reach: Reach| move |run: &Run| tables[run.table].block(reach, run.position / BLOCK);
        if windows {
            self.writes.window.clone_from(&self.writes.all);
            let key = by_block(Reach::Window);
            self.writes.window.sort_unstable_by_key(key);
        }
        self.writes.all.sort_unstable_by_key(by_block(Reach::All));
    }

    /// Tasks of one step and layer.
    pub(super) fn tasks(&self) -> usize {
        self.units.len() * self.sizes.1 * self.pieces * self.spans
    }

    /// Rows of the largest task.
    pub(super) fn rows(&self) -> usize {
        let tokens = self.units.iter().map(|unit| unit.tokens).max().unwrap_or(0);
        tokens * self.heads
    }

    /// Spans that are divided among tasks.
    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    pub(super) fn task(&self, index: usize) -> Task {
        let (group, kv_heads) = self.sizes;
        let (rest, span) = (index / self.spans, index % self.spans);
        let (rest, piece) = (rest / self.pieces, rest % self.pieces);
        let (unit, kv_head) = (rest / kv_heads, rest % kv_heads);
        let first = piece * self.heads;
        Task {
            unit,
            kv_head,
            head: kv_head * group + first,
            heads: self.heads.min(group - first),
            span,
        }
    }

    /// Number of the task that computes `head` of a token (its first span's), and the row there.
    pub(super) fn place(&self, token: usize, head: usize) -> (usize, usize) {
        let (group, kv_heads) = self.sizes;
        let unit = self.unit_of[token];
        let (kv_head, in_group) = (head / group, head % group);
        let (piece, in_piece) = (in_group / self.heads, in_group % self.heads);
        let heads = self.heads.min(group - piece * self.heads);
        let task = ((unit * kv_heads + kv_head) * self.pieces + piece) * self.spans;
        let row = (token - self.units[unit].first) * heads + in_piece;
        (task, row)
    }
}

/// Cuts the batch into runs of at most `most` tokens.
fn runs(batch: &[BatchToken], most: usize, out: &mut Vec<Run>) {
    out.clear();
    for (index, token) in batch.iter().enumerate() {
        match out.last_mut() {
            Some(run)
                if run.table == token.table
                    && run.position + run.tokens == token.position
                    && !token.position.is_multiple_of(BLOCK)
                    && run.tokens < most =>
            {
                run.tokens += 1;
            }
            _ => out.push(Run {
                table: token.table,
                first: index,
                tokens: 1,
                position: token.position,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(parts: &[(usize, std::ops::Range<usize>)]) -> Vec<BatchToken> {
        let tokens = parts.iter().flat_map(|(table, positions)| {
            positions.clone().map(|position| BatchToken {
                id: 0,
                position,
                table: *table,
                logits: false,
            })
        });
        tokens.collect()
    }

    fn plan(batch: &[BatchToken], group: usize, kv_heads: usize, threads: usize) -> Plan {
        let mut plan = Plan::default();
        // Blocks in the reverse order of the positions.
        let tables = [0, 1].map(|table| BlockTable::of((0..200).map(|i| 1000 - 200 * table - i)));
        let tables: Vec<&BlockTable> = tables.iter().collect();
        let sizes = Heads {
            group,
            kv_heads,
            windows: false,
        };
        plan.make(&tables, batch, sizes, threads);
        plan
    }

    #[test]
    fn tokens_of_one_block_are_together_and_no_others() {
        let batch = batch(&[(0, 14..35), (1, 3..4), (1, 4..5)]);
        let plan = plan(&batch, 3, 1, 1);
        let shape = |runs: &[Run]| -> Vec<(usize, usize, usize)> {
            runs.iter()
                .map(|run| (run.table, run.position, run.tokens))
                .collect()
        };
        assert_eq!(
            shape(&plan.units),
            [
                (0, 14, 2),
                (0, 16, 4),
                (0, 20, 4),
                (0, 24, 4),
                (0, 28, 4),
                (0, 32, 3),
                (1, 3, 2)
            ]
        );
        assert_eq!(
            shape(&plan.writes.all),
            [(1, 3, 2), (0, 32, 3), (0, 16, 16), (0, 14, 2)]
        );
    }

    #[test]
    fn every_head_of_every_token_has_one_row_of_one_task() {
        let long = batch(&[(0, 700..701), (1, 2000..2001)]);
        let short = batch(&[(0, 30..31), (1, 2..9)]);
        for (batch, group, kv_heads, threads, spans) in [
            (&long, 3, 1, 2, 4),
            (&long, 3, 8, 2, 1),
            (&long, 30, 1, 1, 1),
            (&short, 3, 1, 2, 1),
            (&short, 1, 2, 1, 1),
            (&short, 17, 1, 1, 1),
        ] {
            let plan = plan(batch, group, kv_heads, threads);
            assert_eq!(plan.spans(), spans);
            let mut seen = std::collections::HashSet::new();
            for (token, at) in batch.iter().enumerate() {
                for head in 0..group * kv_heads {
                    let (index, row) = plan.place(token, head);
                    assert!(index < plan.tasks() && row < plan.rows() && seen.insert((index, row)));
                    let task = plan.task(index);
                    let unit = plan.units[task.unit];
                    assert_eq!(task.head + row % task.heads, head);
                    assert_eq!(unit.position + row / task.heads, at.position);
                    assert_eq!((unit.table, task.span), (at.table, 0));
                    assert_eq!(task.kv_head, head / group);
                }
            }
        }
    }
}
