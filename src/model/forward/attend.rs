//! Attention of a step: keys and values to their blocks, queries against them, results to the next product's
//! input.

use crate::compute::attention::{
    BLOCK, MAX_HEAD_DIM, MAX_ROWS, Query, attend, attend_span, combine, first_span, span_count,
    state_len,
};
use crate::compute::elementwise::{HeadNorm, normalize_head, rms_scale, rotate_heads};
use crate::compute::{Isa, Lanes, Panels, Team};
use crate::tensor::{Layout, PANEL_ROWS};

use super::plan::{Plan, Run, Task};
use super::{NORM_TOKENS, SERIAL_TOKENS, Step, by_blocks};
use crate::model::bind::{Layer, panels};
use crate::model::kv::ValuesMut;
use crate::model::parts::Inputs as Parts;
use crate::model::rope::Angles;
use crate::model::scratch::Scratch;
use crate::model::spec::{HeadNorms, Positions, Rotary};
use crate::model::{BlockTable, Hyper, KvPool, Model};
use crate::weights::Tensor;

impl Step<'_> {
    /// From the products' queries, keys and values of layer `index` to the input of the output product.
    pub(super) fn attend(&mut self, index: usize, layer: &Layer) {
        if self.model.spec.head_norms == HeadNorms::WholeRow {
            self.measure_rows(layer);
        }
        self.store(index, layer);
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
        let Scratch { plan, qkv, .. } = &*self.scratch;
        let hyper = self.model.hyper();
        let inputs = Inputs {
            isa: self.isa,
            hyper,
            layer: index,
            window: hyper.sights[index].window,
            tables: self.tables,
            kv: self.kv,
            plan,
            qkv,
            heads: Heads::of(
                self.model,
                self.isa,
                self.scratch,
                index,
                layer.query_norm.as_ref(),
                |row| row.0,
            ),
        };
        let results_now = &mut results[..len];
        self.team.chunks(results_now, stride, |index, out| {
            inputs.run(plan.task(index), out);
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

    /// The inverse root mean squares of all heads of each token together.
    fn measure_rows(&mut self, layer: &Layer) {
        let hyper = &self.model.hyper;
        let (keys, _) = places(hyper, &layer.inputs);
        let (dim, isa, eps) = (hyper.head_dim, self.isa, hyper.norm_eps);
        let Scratch {
            qkv, row_scales, ..
        } = &mut *self.scratch;
        let measure = |first: usize, out: &mut [(f32, f32)]| {
            for (token, out) in (first..).zip(out) {
                let of =
                    |start, heads: usize| rms_scale(isa, qkv, token, (start, heads * dim), eps);
                *out = (of(0, hyper.heads), of(keys, hyper.kv_heads));
            }
        };
        let rows = &mut row_scales[..self.batch.len()];
        self.team.chunks(rows, NORM_TOKENS, |index, out| {
            measure(index * NORM_TOKENS, out)
        });
    }

    /// Normalizes and rotates keys, and writes keys and values to the KV blocks.
    fn store(&mut self, layer: usize, weights: &Layer) {
        let hyper = &self.model.hyper;
        let (dim, kv_heads) = (hyper.head_dim, hyper.kv_heads);
        let (keys, values) = places(hyper, &weights.inputs);
        let tables = self.tables;
        let reach = self.kv.reach(layer);
        let s = &mut *self.scratch;
        s.starts.clear();
        for head in 0..kv_heads {
            let place = |run: &Run| {
                let index = run.position / BLOCK;
                self.kv.start(tables[run.table], index, layer, head)
            };
            s.starts.extend(s.plan.writes.of(reach).iter().map(place));
        }
        let head_block = self.kv.shape().head();
        let starts = std::mem::take(&mut s.starts);
        let norm = weights.key_norm.as_ref();
        let ready = Heads::of(self.model, self.isa, self.scratch, layer, norm, |row| row.1);
        let (plan, qkv) = (&self.scratch.plan, &self.scratch.qkv);
        let write = |index: usize, store: StoreLane<'_>| {
            let runs = plan.writes.of(reach);
            let (run, head) = (runs[index % runs.len()], index / runs.len());
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
                ready.prepare(first + token, head, key);
                store(position % BLOCK + token, key, value);
            }
        };
        let len = head_block.values_per_block();
        let team = (self.batch.len() > SERIAL_TOKENS).then_some(self.team);
        match self.kv.data_mut() {
            ValuesMut::F32(data) => each_part(team, data, &starts, len, |index, block| {
                write(index, &mut |lane, key, value| {
                    head_block.write(block, lane, key, value);
                });
            }),
            ValuesMut::Bf16(data) => each_part(team, data, &starts, len, |index, block| {
                write(index, &mut |lane, key, value| {
                    head_block.write_narrow(block, lane, key, value);
                });
            }),
        }
        self.scratch.starts = starts;
    }

    /// Puts the results of all tasks where the output product reads them.
    fn gather(&mut self, results: &[f32], stride: usize) {
        let dim = self.model.hyper.head_dim;
        let (width, tokens) = (self.scratch.attention.width(), self.batch.len());
        let plan = &self.scratch.plan;
        by_blocks(self.team, &mut self.scratch.attention, |block, out| {
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
        });
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

/// Numbers of the first key and of the first value among what the products of a layer give one token.
fn places(hyper: &Hyper, inputs: &Parts<Tensor>) -> (usize, usize) {
    let (q, kv) = (
        hyper.heads * hyper.head_dim,
        hyper.kv_heads * hyper.head_dim,
    );
    match inputs {
        Parts::Apart(_) => {
            let keys = q.next_multiple_of(PANEL_ROWS);
            (keys, keys + kv.next_multiple_of(PANEL_ROWS))
        }
        Parts::Together(_) => (q, q + kv),
    }
}

/// What queries or keys go through before attention.
struct Heads<'a> {
    isa: Isa,
    dim: usize,
    norm: Option<Norm<'a>>,
    rotation: Option<(Rotary, &'a Angles)>,
}

/// How heads are normalized, with the epsilon.
enum Norm<'a> {
    /// Each by its root mean square, all with one weight.
    Each(&'a [f32], f32),
    /// All together; the scales of every token, and which of the two.
    Row(&'a [f32], &'a [(f32, f32)], fn(&(f32, f32)) -> f32),
    /// Each by mean and variance, with a row of weights for each head.
    Own(Panels<'a>, f32),
    /// The same of a single head.
    Only(&'a [f32], f32),
}

impl<'a> Heads<'a> {
    /// Of layer `index`: queries or keys, with the weight of their norm; `of` picks their scale from a row's.
    fn of(
        model: &'a Model,
        isa: Isa,
        scratch: &'a Scratch,
        index: usize,
        weight: Option<&'a Tensor>,
        of: fn(&(f32, f32)) -> f32,
    ) -> Self {
        let hyper = &model.hyper;
        let rotation = match (model.spec.positions, hyper.sights[index].rotation) {
            (Positions::Rotary(rotary), Some(rotation)) => {
                Some((rotary, &scratch.angles[rotation]))
            }
            _ => None,
        };
        let eps = hyper.norm_eps;
        let norm = weight.map(|weight| match model.spec.head_norms {
            HeadNorms::None | HeadNorms::EachHead => Norm::Each(weight.f32(), eps),
            HeadNorms::WholeRow => Norm::Row(weight.f32(), &scratch.row_scales, of),
            HeadNorms::OwnWeights if weight.spec().layout == Layout::Vector => {
                Norm::Only(weight.f32(), eps)
            }
            HeadNorms::OwnWeights => Norm::Own(panels(weight), eps),
        });
        Heads {
            isa,
            dim: hyper.head_dim,
            norm,
            rotation,
        }
    }

    /// Normalizes and rotates adjacent heads of a token of the step, the first of which has number `first`.
    fn prepare(&self, token: usize, first: usize, heads: &mut [f32]) {
        let dim = self.dim;
        if let Some(norm) = &self.norm {
            for (head, values) in (first..).zip(heads.chunks_exact_mut(dim)) {
                let mut own = [0.0; MAX_HEAD_DIM];
                let norm = match *norm {
                    Norm::Each(weight, eps) => HeadNorm::Rms { weight, eps },
                    Norm::Row(weights, scales, of) => HeadNorm::Known {
                        weight: &weights[head * dim..][..dim],
                        scale: of(&scales[token]),
                    },
                    Norm::Own(rows, eps) => {
                        rows.copy_row(head, 0, &mut own[..dim]);
                        let weight = &own[..dim];
                        HeadNorm::Layer { weight, eps }
                    }
                    Norm::Only(weight, eps) => HeadNorm::Layer { weight, eps },
                };
                normalize_head(self.isa, values, norm);
            }
        }
        if let Some((rotary, angles)) = self.rotation {
            rotate_heads(self.isa, rotary, heads, dim, angles.token(token));
        }
    }
}

/// What the tasks of attention read.
struct Inputs<'a> {
    isa: Isa,
    hyper: &'a Hyper,
    layer: usize,
    window: Option<usize>,
    tables: &'a [&'a BlockTable],
    kv: &'a KvPool,
    plan: &'a Plan,
    qkv: &'a Lanes,
    heads: Heads<'a>,
}

impl Inputs<'_> {
    /// Computes one task.
    fn run(&self, task: Task, out: &mut [f32]) {
        let dim = self.hyper.head_dim;
        let unit = self.plan.units[task.unit];
        let rows = unit.tokens * task.heads;
        let mut memory = [0.0; QUERIES];
        let queries = &mut memory[..rows * dim];
        let width = task.heads * dim;
        for (token, heads) in (unit.first..).zip(queries.chunks_exact_mut(width)) {
            self.qkv.copy_token(token, task.head * dim, heads);
            self.heads.prepare(token, task.head, heads);
        }
        let table = self.tables[unit.table];
        let query = Query {
            queries,
            heads: task.heads,
            head_dim: dim,
            element: self.kv.shape().element,
            scale: self.hyper.factors.scores,
            cap: self.hyper.factors.score_cap,
            position: unit.position,
            window: self.window,
            block: |block: usize| self.kv.head(table, block, self.layer, task.kv_head),
        };
        if self.plan.spans() == 1 {
            attend(self.isa, &query, &mut out[..rows * dim]);
        } else if (first_span(unit.position, self.window)..span_count(unit.position))
            .contains(&task.span)
        {
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
        let (rows, dim) = (unit.tokens * task.heads, self.hyper.head_dim);
        let first = first_span(unit.position, self.window);
        combine(self.isa, rows, dim, (first, stride), states);
    }
}

/// Values of the queries of one task at most.
const QUERIES: usize = MAX_ROWS * MAX_HEAD_DIM;
