//! Attention of a step: keys and values to their blocks, queries against them, results to the next product's
//! input.

use crate::compute::attention::{
    BLOCK, MAX_HEAD_DIM, MAX_ROWS, Query, attend, attend_span, combine, span_count, state_len,
};
use crate::compute::{Isa, Lanes, Team, elementwise};
use crate::tensor::PANEL_ROWS;

use super::plan::{Plan, Run, Task};
use super::{SERIAL_TOKENS, Step};
use crate::model::kv::ValuesMut;
use crate::model::rope::Angles;
use crate::model::scratch::Scratch;
use crate::model::spec::Rotary;
use crate::model::{BlockTable, KvPool, Model};

impl Step<'_> {
    /// From the products' queries, keys and values of `layer` to the input of the output product.
    pub(super) fn attend(&mut self, layer: usize) {
        self.store(layer);
        let dim = self.model.hyper.head_dim;
        let spans = self.scratch.plan.spans();
        let rows = self.scratch.plan.rows();
        let stride = match spans {
            1 => rows * dim,
            _ => state_len(rows, dim),
        };
        let len = self.scratch.plan.tasks() * stride;
        let mut results = std::mem::take(&mut self.scratch.results);
        if results.len() < len {
            results.resize(len, 0.0);
        }
        let Scratch {
            plan, qkv, angles, ..
        } = &*self.scratch;
        let inputs = Inputs {
            model: self.model,
            isa: self.isa,
            tables: self.tables,
            kv: self.kv,
            plan,
            qkv,
            angles,
        };
        let results_now = &mut results[..len];
        self.team.chunks(results_now, stride, |index, out| {
            inputs.run(layer, plan.task(index), out);
        });
        if spans > 1 {
            self.team
                .chunks(results_now, spans * stride, |index, states| {
                    inputs.combine(plan.task(index * spans), stride, states);
                });
        }
        self.gather(&results, stride);
        self.scratch.results = results;
    }

    /// Rotates keys by their positions, and writes keys and values to the KV blocks.
    fn store(&mut self, layer: usize) {
        let hyper = &self.model.hyper;
        let (dim, kv_heads) = (hyper.head_dim, hyper.kv_heads);
        let keys = hyper.heads * dim;
        let values = keys.next_multiple_of(PANEL_ROWS) + kv_heads * dim;
        let keys = keys.next_multiple_of(PANEL_ROWS);
        let values = values.next_multiple_of(PANEL_ROWS);
        let (isa, model, tables) = (self.isa, self.model, self.tables);
        let s = &mut *self.scratch;
        s.starts.clear();
        for head in 0..kv_heads {
            let place = |run: &Run| {
                let index = run.position / BLOCK;
                self.kv.start(tables[run.table], index, layer, head)
            };
            s.starts.extend(s.plan.writes.iter().map(place));
        }
        let head_block = self.kv.shape().head();
        let (plan, qkv, angles) = (&s.plan, &s.qkv, &s.angles);
        let write = |index: usize, store: StoreLane<'_>| {
            let runs = plan.writes.len();
            let (run, head) = (plan.writes[index % runs], index / runs);
            let Run {
                first,
                tokens,
                position,
                ..
            } = run;
            let mut row = [0.0; 2 * MAX_HEAD_DIM];
            let (key, value) = row[..2 * dim].split_at_mut(dim);
            for token in 0..tokens {
                qkv.copy_token(first + token, keys + head * dim, key);
                qkv.copy_token(first + token, values + head * dim, value);
                let (cos, sin) = angles.token(first + token);
                match model.spec.rotary {
                    Rotary::Adjacent => elementwise::rotate_heads(isa, key, dim, cos, sin),
                }
                store(position % BLOCK + token, key, value);
            }
        };
        let len = head_block.values_per_block();
        let team = (self.batch.len() > SERIAL_TOKENS).then_some(self.team);
        match self.kv.data_mut() {
            ValuesMut::F32(data) => each_part(team, data, &s.starts, len, |index, block| {
                write(index, &mut |lane, key, value| {
                    head_block.write(block, lane, key, value);
                });
            }),
            ValuesMut::Bf16(data) => each_part(team, data, &s.starts, len, |index, block| {
                write(index, &mut |lane, key, value| {
                    head_block.write_narrow(block, lane, key, value);
                });
            }),
        }
    }

    /// Puts the results of all tasks where the output product reads them.
    fn gather(&mut self, results: &[f32], stride: usize) {
        let dim = self.model.hyper.head_dim;
        let (width, tokens) = (self.scratch.attention.width(), self.batch.len());
        let plan = &self.scratch.plan;
        let block_len = self.scratch.attention.block_len();
        let copy = |first: usize, out: &mut [f32]| {
            for (block, out) in (first..).zip(out.chunks_mut(block_len)) {
                let (start, end) = (block * PANEL_ROWS, ((block + 1) * PANEL_ROWS).min(width));
                for (token, lanes) in out.chunks_exact_mut(PANEL_ROWS).take(tokens).enumerate() {
                    let mut at = start;
                    while at < end {
                        let (head, skip) = (at / dim, at % dim);
                        let count = (dim - skip).min(end - at);
                        let (task, row) = plan.place(token, head);
                        let from = task * stride + row * dim + skip;
                        lanes[at - start..][..count].copy_from_slice(&results[from..from + count]);
                        at += count;
                    }
                }
            }
        };
        let out = self.scratch.attention.values_mut();
        if tokens <= SERIAL_TOKENS {
            copy(0, out);
        } else {
            self.team.chunks(out, block_len, copy);
        }
    }
}

/// Takes the number of a lane of a block, and its key and value.
type StoreLane<'a> = &'a mut dyn FnMut(usize, &[f32], &[f32]);

/// Calls `f(index, part)` for the parts of `data` that begin at `starts`, shared by a team if there is one.
fn each_part<T: Send>(
    team: Option<&Team>,
    data: &mut [T],
    starts: &[usize],
    len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    match team {
        Some(team) => team.scattered(data, starts, len, f),
        None => {
            for (index, &start) in starts.iter().enumerate() {
                f(index, &mut data[start..start + len]);
            }
        }
    }
}

/// What the tasks of attention read.
struct Inputs<'a> {
    model: &'a Model,
    isa: Isa,
    tables: &'a [&'a BlockTable],
    kv: &'a KvPool,
    plan: &'a Plan,
    qkv: &'a Lanes,
    angles: &'a Angles,
}

impl Inputs<'_> {
    /// Computes one task.
    fn run(&self, layer: usize, task: Task, out: &mut [f32]) {
        let hyper = &self.model.hyper;
        let dim = hyper.head_dim;
        let unit = self.plan.units[task.unit];
        let rows = unit.tokens * task.heads;
        let mut memory = [0.0; QUERIES];
        let queries = &mut memory[..rows * dim];
        let width = task.heads * dim;
        for (token, heads) in (unit.first..).zip(queries.chunks_exact_mut(width)) {
            self.qkv.copy_token(token, task.head * dim, heads);
            let (cos, sin) = self.angles.token(token);
            match self.model.spec.rotary {
                Rotary::Adjacent => elementwise::rotate_heads(self.isa, heads, dim, cos, sin),
            }
        }
        let table = self.tables[unit.table];
        let query = Query {
            queries,
            heads: task.heads,
            head_dim: dim,
            element: self.kv.shape().element,
            scale: 1.0 / (dim as f32).sqrt(),
            position: unit.position,
            block: |block: usize| self.kv.head(table, block, layer, task.kv_head),
        };
        if self.plan.spans() == 1 {
            attend(self.isa, &query, &mut out[..rows * dim]);
        } else if task.span < span_count(unit.position) {
            attend_span(
                self.isa,
                &query,
                task.span,
                &mut out[..state_len(rows, dim)],
            );
        }
    }

    /// Merges the spans of a task.
    fn combine(&self, task: Task, stride: usize, states: &mut [f32]) {
        let unit = self.plan.units[task.unit];
        let states = &mut states[..span_count(unit.position) * stride];
        let (rows, dim) = (unit.tokens * task.heads, self.model.hyper.head_dim);
        combine(self.isa, rows, dim, stride, states);
    }
}

/// Values of the queries of one task at most.
const QUERIES: usize = MAX_ROWS * MAX_HEAD_DIM;
