//! The forward pass: one step over tokens of any sequences at any positions.
//!
//! Every phase writes disjoint parts of one buffer, each part computed by the same chain of
//! operations whoever computes it, so threads, batch and chunking change no bit.

use std::sync::Arc;

use crate::compute::attention::{Query, attend};
use crate::compute::matmul::{Store, product};
use crate::compute::{Isa, Lanes, LanesView, Panels, Team, elementwise};
use crate::tensor::PANEL_ROWS;

use super::bind::{BoundNorm, Layer, panels};
use super::rope::Rope;
use super::scratch::Scratch;
use super::spec::{FeedForward, Rotary};
use super::{BlockTable, Error, KvPool, Model};

/// Chunks per thread and phase: enough that a thread which was interrupted leaves little behind.
const CHUNKS_PER_THREAD: usize = 8;
/// Panels in a chunk at least: the widest tile takes four at once.
const MIN_PANELS: usize = 4;
/// And at most: 16 panels of a 576-wide matrix are 590 KB, some tens of microseconds.
const MAX_PANELS: usize = 16;

/// One token of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchToken {
    pub id: u32,
    /// Absolute position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether logits are wanted for this token.
    pub logits: bool,
}

/// What one worker needs to run a model: thread team, scratch memory, KV pool.
pub struct Runner {
    model: Arc<Model>,
    isa: Isa,
    team: Team,
    rope: Rope,
    kv: KvPool,
    scratch: Scratch,
}

impl Runner {
    /// Starts `threads - 1` helpers named `woolly-w<worker>-t<i>` and allocates `kv_blocks`, and
    /// scratch memory for steps of `max_batch_tokens` tokens.
    pub fn new(
        model: Arc<Model>,
        isa: Isa,
        worker: usize,
        threads: usize,
        kv_blocks: usize,
        max_batch_tokens: usize,
    ) -> Result<Runner, Error> {
        let hyper = model.hyper();
        let factors = model
            .weights
            .rope_factors
            .as_ref()
            .map(|tensor| tensor.values());
        Ok(Runner {
            isa,
            team: Team::new(&format!("woolly-w{worker}"), threads)?,
            rope: Rope::new(hyper.rope_base, hyper.rope_dims, factors),
            kv: KvPool::new(model.kv_shape(), kv_blocks)?,
            scratch: Scratch::new(hyper, model.vocab(), max_batch_tokens),
            model,
        })
    }

    pub fn kv(&mut self) -> &mut KvPool {
        &mut self.kv
    }

    /// Runs the tokens of one step (tokens of one sequence in increasing position, its block table
    /// long enough) and returns the logits `[tokens with logits, vocab]`, in batch order.
    ///
    /// # Panics
    /// When a token id is not in the vocabulary or a position is outside its block table.
    pub fn forward(&mut self, tables: &[&BlockTable], batch: &[BatchToken]) -> &[f32] {
        let Runner {
            model,
            isa,
            team,
            rope,
            kv,
            scratch,
        } = self;
        let wanted = batch.iter().filter(|token| token.logits).count();
        scratch.resize(batch.len(), wanted);
        let mut step = Step {
            model,
            isa: *isa,
            team,
            kv,
            scratch,
            tables,
            batch,
        };
        team.step(|| {
            step.embed();
            rope.fill(
                &mut step.scratch.angles,
                batch.iter().map(|token| token.position),
            );
            for (index, layer) in model.weights.layers.iter().enumerate() {
                step.attention(index, layer);
                step.feed_forward(layer);
            }
            step.logits()
        });
        let vocab = self.model.vocab();
        match wanted {
            1 => &self.scratch.logit_lanes.values()[..vocab],
            _ => &self.scratch.logits[..wanted * vocab],
        }
    }
}

/// One forward pass.
struct Step<'a> {
    model: &'a Model,
    isa: Isa,
    team: &'a Team,
    kv: &'a mut KvPool,
    scratch: &'a mut Scratch,
    tables: &'a [&'a BlockTable],
    batch: &'a [BatchToken],
}

impl Step<'_> {
    fn embed(&mut self) {
        let hidden = self.model.hyper.hidden;
        for (t, token) in self.batch.iter().enumerate() {
            let row = &mut self.scratch.row[..hidden];
            self.model.embed(token.id as usize, row);
            self.scratch.x.set_token(t, row);
        }
    }

    fn attention(&mut self, index: usize, layer: &Layer) {
        self.normalize(&layer.attention_norm);
        let s = &mut *self.scratch;
        let parts = [&layer.query, &layer.key, &layer.value].map(panels);
        let block_len = s.qkv.block_len();
        spread(self.team, s.qkv.values_mut(), block_len, |first, out| {
            concatenated(self.isa, &parts, first, s.normed.view(), out, block_len);
        });
        self.rotate_and_store(index);
        self.attend(index);
        let s = &mut *self.scratch;
        let output = panels(&layer.attention_output);
        let block_len = s.x.block_len();
        spread(self.team, s.x.values_mut(), block_len, |first, out| {
            product(
                self.isa,
                output,
                first,
                s.attention.view(),
                out,
                block_len,
                Store::Add,
            );
        });
    }

    /// Rotates queries and keys by their positions, and writes keys and values to the KV blocks.
    fn rotate_and_store(&mut self, layer: usize) {
        let hyper = &self.model.hyper;
        let (q, kv) = (
            hyper.heads * hyper.head_dim,
            hyper.kv_heads * hyper.head_dim,
        );
        let (q_blocks, kv_blocks) = (q.div_ceil(PANEL_ROWS), kv.div_ceil(PANEL_ROWS));
        let Scratch {
            qkv,
            queries,
            angles,
            row,
            ..
        } = &mut *self.scratch;
        let rotate = |heads: &mut [f32], token: usize| {
            let (cos, sin) = angles.token(token);
            match self.model.spec.rotary {
                Rotary::Adjacent => {
                    elementwise::rotate_heads(self.isa, heads, hyper.head_dim, cos, sin);
                }
            }
        };
        for (t, token) in self.batch.iter().enumerate() {
            let (keys, values) = row[..2 * kv].split_at_mut(kv);
            qkv.copy_token(t, q_blocks, keys);
            qkv.copy_token(t, q_blocks + kv_blocks, values);
            rotate(keys, t);
            self.kv.write(
                self.tables[token.table],
                token.position,
                layer,
                keys,
                values,
            );
        }
        self.team
            .chunks(&mut queries[..self.batch.len() * q], q, |t, heads| {
                qkv.copy_token(t, 0, heads);
                rotate(heads, t);
            });
    }

    fn attend(&mut self, layer: usize) {
        let hyper = &self.model.hyper;
        let (dim, q) = (hyper.head_dim, hyper.heads * hyper.head_dim);
        let group = hyper.heads / hyper.kv_heads;
        let scale = 1.0 / (dim as f32).sqrt();
        let Scratch {
            queries,
            heads,
            attention,
            ..
        } = &mut *self.scratch;
        let kv = &*self.kv;
        // Heads that share keys and values are computed together, which reads those once; where that
        // leaves too few units for the threads, each head alone. Neither changes a bit.
        let units = self.batch.len() * hyper.kv_heads;
        let together = if units < 2 * self.team.threads() {
            1
        } else {
            group
        };
        let len = together * dim;
        self.team
            .chunks(&mut heads[..self.batch.len() * q], len, |index, out| {
                let start = index * len;
                let (token, head) = (&self.batch[start / q], start % q / dim);
                let table = self.tables[token.table];
                let query = Query {
                    queries: &queries[start..start + len],
                    head_dim: dim,
                    scale,
                    position: token.position,
                    block: |block: usize| kv.head(table, block, layer, head / group),
                };
                attend(self.isa, &query, out);
            });
        for (t, heads) in heads.chunks_exact(q).take(self.batch.len()).enumerate() {
            attention.set_token(t, heads);
        }
    }

    fn feed_forward(&mut self, layer: &Layer) {
        self.normalize(&layer.feed_forward_norm);
        let s = &mut *self.scratch;
        let (gate, up) = (panels(&layer.gate), panels(&layer.up));
        let block_len = s.gated.block_len();
        match self.model.spec.feed_forward {
            FeedForward::SwiGlu => {
                spread(
                    self.team,
                    s.gated.values_mut(),
                    2 * block_len,
                    |first, out| {
                        let x = s.normed.view();
                        product(self.isa, gate, first, x, out, 2 * block_len, Store::Replace);
                        let odd = &mut out[block_len..];
                        product(self.isa, up, first, x, odd, 2 * block_len, Store::Replace);
                        for pair in out.chunks_exact_mut(2 * block_len) {
                            let (gate, up) = pair.split_at_mut(block_len);
                            elementwise::swiglu(self.isa, gate, up);
                        }
                    },
                );
            }
        }
        let down = panels(&layer.down);
        let gated = s.gated.even_blocks(self.model.hyper.feed_forward);
        let block_len = s.x.block_len();
        spread(self.team, s.x.values_mut(), block_len, |first, out| {
            product(self.isa, down, first, gated, out, block_len, Store::Add);
        });
    }

    fn normalize(&mut self, weights: &BoundNorm) {
        let Scratch { x, normed, .. } = &mut *self.scratch;
        norm(self.model, self.isa, x, weights, normed);
    }

    /// Logits of the tokens that want them, and of no other: the output matrix is the largest.
    fn logits(&mut self) {
        if self.scratch.last.tokens() == 0 {
            return;
        }
        let Scratch {
            x,
            normed,
            last,
            logit_lanes,
            logits,
            row,
            ..
        } = &mut *self.scratch;
        let row = &mut row[..self.model.hyper.hidden];
        let wanted = self
            .batch
            .iter()
            .enumerate()
            .filter(|(_, token)| token.logits);
        normed.resize(last.tokens());
        for (place, (t, _)) in wanted.enumerate() {
            x.copy_token(t, 0, row);
            normed.set_token(place, row);
        }
        norm(
            self.model,
            self.isa,
            normed,
            &self.model.weights.output_norm,
            last,
        );
        let output = self.model.output();
        let block_len = logit_lanes.block_len();
        spread(
            self.team,
            logit_lanes.values_mut(),
            block_len,
            |first, out| {
                product(
                    self.isa,
                    output,
                    first,
                    last.view(),
                    out,
                    block_len,
                    Store::Replace,
                );
            },
        );
        // One token's lanes are a plain vector already.
        if last.tokens() > 1 {
            let vocab = self.model.vocab();
            let len = last.tokens() * vocab;
            if logits.len() < len {
                logits.resize(len, 0.0);
            }
            self.team.chunks(&mut logits[..len], vocab, |token, out| {
                logit_lanes.copy_token(token, 0, out);
            });
        }
    }
}

fn norm(model: &Model, isa: Isa, x: &Lanes, weights: &BoundNorm, y: &mut Lanes) {
    let eps = model.hyper.norm_eps;
    match weights {
        BoundNorm::Rms { weight } => elementwise::rms_norm(isa, x, weight.values(), eps, y),
        BoundNorm::Layer { weight, bias } => {
            elementwise::layer_norm(isa, x, weight.values(), bias.values(), eps, y);
        }
    }
}

/// Cuts the panels of a product's output into chunks for the team; `f(first panel, output)`.
fn spread(team: &Team, out: &mut [f32], block_len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let count = out.len() / block_len;
    let share = count / (team.threads() * CHUNKS_PER_THREAD);
    let panels = share
        .next_multiple_of(MIN_PANELS)
        .clamp(MIN_PANELS, MAX_PANELS);
    team.chunks(out, panels * block_len, |index, chunk| {
        f(index * panels, chunk)
    });
}

/// A product with several matrices one below the other, each starting on its own panel.
fn concatenated(
    isa: Isa,
    parts: &[Panels<'_>],
    first: usize,
    x: LanesView<'_>,
    mut out: &mut [f32],
    block_len: usize,
) {
    let mut skip = first;
    for part in parts {
        let count = part.count().saturating_sub(skip).min(out.len() / block_len);
        if count > 0 {
            let (now, rest) = out.split_at_mut(count * block_len);
            product(isa, *part, skip, x, now, block_len, Store::Replace);
            out = rest;
        }
        skip = skip.saturating_sub(part.count());
    }
}
