//! The forward pass: one step over tokens of any sequences at any positions.
//!
//! Every phase writes disjoint parts of one buffer, each part computed by the same chain of
//! operations whoever computes it, so threads, batch and chunking change no bit.

use std::sync::Arc;

use crate::compute::elementwise::Moments;
use crate::compute::matmul::{Store, product};
use crate::compute::{Isa, Lanes, LanesView, Panels, Team, elementwise};
use crate::tensor::PANEL_ROWS;

mod attend;
mod plan;

use super::bind::{BoundNorm, Layer, panels};
use super::rope::Rope;
use super::scratch::Scratch;
use super::spec::FeedForward;
use super::{BlockTable, Error, KvPool, Model};
use plan::Heads;
pub(super) use plan::Plan;

/// Chunks per thread and phase: enough that a thread which was interrupted leaves little behind.
const CHUNKS_PER_THREAD: usize = 8;
/// Panels in a chunk at least: the widest tile takes four at once.
const MIN_PANELS: usize = 4;
/// And at most: 16 panels of a 576-wide matrix are 590 KB, some tens of microseconds.
const MAX_PANELS: usize = 16;

/// Up to this many tokens, what is not a product or attention is done by the leader alone: less than a
/// microsecond each, which is what sharing it would cost.
const SERIAL_TOKENS: usize = 4;
/// Tokens and blocks in one chunk of a norm.
const NORM_TOKENS: usize = 8;
const NORM_BLOCKS: usize = 2;

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
            let sizes = Heads {
                group: step.model.hyper.heads / step.model.hyper.kv_heads,
                kv_heads: step.model.hyper.kv_heads,
            };
            let Scratch { plan, angles, .. } = &mut *step.scratch;
            plan.make(tables, batch, sizes, team.threads());
            let len = angles.token_len();
            let fill = |token: usize, out: &mut [f32]| rope.fill(batch[token].position, out);
            team.chunks(angles.values_mut(batch.len()), len, fill);
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
        let (model, batch) = (self.model, self.batch);
        let x = &mut self.scratch.x;
        let block_len = x.block_len();
        let gather = |first: usize, out: &mut [f32]| {
            for (block, out) in (first..).zip(out.chunks_mut(block_len)) {
                for (token, lanes) in batch.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
                    model.embed(token.id as usize, block * PANEL_ROWS, lanes);
                }
            }
        };
        if batch.len() <= SERIAL_TOKENS {
            gather(0, x.values_mut());
        } else {
            self.team.chunks(x.values_mut(), block_len, gather);
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
        self.attend(index);
        let s = &mut *self.scratch;
        let output = panels(&layer.attention_output);
        let block_len = s.x.block_len();
        spread(self.team, s.x.values_mut(), block_len, |first, out| {
            let x = s.attention.view();
            product(self.isa, output, first, x, out, block_len, Store::Add);
        });
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
        let Scratch {
            x, normed, moments, ..
        } = &mut *self.scratch;
        norm(self.model, self.isa, self.team, x, weights, moments, normed);
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
            moments,
            row,
            ..
        } = &mut *self.scratch;
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
        let weights = &self.model.weights.output_norm;
        norm(
            self.model, self.isa, self.team, normed, weights, moments, last,
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

/// Few tokens are normed by the leader alone: a phase of the team would take longer.
fn norm(
    model: &Model,
    isa: Isa,
    team: &Team,
    x: &Lanes,
    weights: &BoundNorm,
    moments: &mut [Moments],
    y: &mut Lanes,
) {
    let eps = model.hyper.norm_eps;
    let moments = &mut moments[..x.tokens()];
    let measure = |first: usize, out: &mut [Moments]| match weights {
        BoundNorm::Rms { .. } => elementwise::rms_moments(isa, x, eps, first, out),
        BoundNorm::Layer { .. } => elementwise::layer_moments(isa, x, eps, first, out),
    };
    let parameters = match weights {
        BoundNorm::Rms { weight } => (weight.values(), None),
        BoundNorm::Layer { weight, bias } => (weight.values(), Some(bias.values())),
    };
    let block_len = x.block_len();
    let out = y.values_mut();
    if x.tokens() <= SERIAL_TOKENS {
        measure(0, moments);
        elementwise::normalize(isa, x, moments, parameters, 0, out);
    } else {
        team.chunks(moments, NORM_TOKENS, |index, out| {
            measure(index * NORM_TOKENS, out)
        });
        team.chunks(out, NORM_BLOCKS * block_len, |index, out| {
            elementwise::normalize(isa, x, moments, parameters, index * NORM_BLOCKS, out);
        });
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
