//! The forward pass: one step over tokens of any sequences at any positions.
//!
//! Every phase writes disjoint parts of one buffer, each part computed by the same chain of
//! operations whoever computes it, so threads, batch and chunking change no bit.

use std::sync::Arc;

use crate::compute::elementwise::Moments;
use crate::compute::matmul::Store;
use crate::compute::{Isa, Lanes, Team, elementwise};
use crate::tensor::PANEL_ROWS;

mod attend;
mod feed;
mod mixture;
mod plan;
mod products;

use super::bind::{BoundNorm, Layer};
use super::hyper::{Rotation, Scaling};
use super::parts::{Inputs, RopeFactors};
use super::rope::Rope;
use super::scratch::Scratch;
use super::{BlockTable, Error, KvPool, Model, PerReach};
use crate::weights::Tensor;
use feed::From;
use plan::Heads;
pub(super) use plan::Plan;
pub(super) use products::Matrix;
use products::Products;

/// Up to this many tokens, what is not a product or attention is done by the leader alone: less than a
/// microsecond each, which is what sharing it would cost.
const SERIAL_TOKENS: usize = 4;
/// Tokens and blocks in one chunk of a norm.
const NORM_TOKENS: usize = 8;
const NORM_BLOCKS: usize = 2;
/// Blocks of logits in one chunk.
const BENT_BLOCKS: usize = 64;

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
    /// One for each rotation of the model.
    ropes: Vec<Rope>,
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
        kv_blocks: PerReach<usize>,
        max_batch_tokens: usize,
    ) -> Result<Runner, Error> {
        let hyper = model.hyper();
        let context = model.context();
        let rope = |rotation: &Rotation| {
            let factors = pair_factors(&model.weights.rope_factors, rotation, context);
            Rope::new(*rotation, hyper.rope_dims, factors)
        };
        Ok(Runner {
            isa,
            team: Team::new(&format!("woolly-w{worker}"), threads)?,
            ropes: hyper.rotations.iter().map(rope).collect(),
            kv: KvPool::new(model.kv_shape(), hyper.reaches(), kv_blocks)?,
            scratch: Scratch::new(
                hyper,
                model.spec.feed_forward,
                model.vocab(),
                max_batch_tokens,
            ),
            model,
        })
    }

    /// Tokens that a step computes in about the time of one, because it waits for the weights: with AVX-512, 4
    /// tokens took 1.12 times as long as one (SmolLM2), 8 tokens 1.6 times. Narrower vectors wait less.
    pub fn cheap_tokens(&self) -> usize {
        match self.isa.name() {
            "avx512" => 5,
            "avx2" | "neon" => 3,
            _ => 1,
        }
    }

    /// Time that all threads together have spent in chunks of phases.
    pub fn busy(&self) -> std::time::Duration {
        self.team.busy()
    }

    /// Positions that a token sees in layers with a window; `None` where there are no such layers.
    pub fn window(&self) -> Option<usize> {
        self.model.hyper.window()
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
            ropes,
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
                windows: step.kv.shape().layers.window > 0,
            };
            let Scratch { plan, angles, .. } = &mut *step.scratch;
            plan.make(tables, batch, sizes, team.threads());
            for (rope, angles) in ropes.iter().zip(angles) {
                let len = angles.token_len();
                let fill = |token: usize, out: &mut [f32]| rope.fill(batch[token].position, out);
                team.chunks(angles.values_mut(batch.len()), len, fill);
            }
            for (index, layer) in model.weights.layers.iter().enumerate() {
                step.layer(index, layer);
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
        by_blocks(self.team, &mut self.scratch.x, |block, out| {
            for (token, lanes) in batch.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
                let id = token.id as usize;
                model.embed(id, token.position, block * PANEL_ROWS, lanes);
            }
        });
    }

    fn layer(&mut self, index: usize, layer: &Layer) {
        self.inputs(layer);
        self.attend(index, layer);
        let feed_norm = layer.feed_forward_norm.as_ref();
        let parallel = self.model.hyper.parallel;
        // In parallel both parts read the stream as it was.
        if let Some(weights) = feed_norm.filter(|_| parallel) {
            self.normalize(weights);
        }
        let output = layer.attention_output.matrix();
        self.join(output, From::Attention, layer.attention_post_norm.as_ref());
        if let Some(weights) = feed_norm.filter(|_| !parallel) {
            self.normalize(weights);
        }
        // Without a norm of its own it reads that of attention, which is still there.
        let normed = feed_norm.is_some() || layer.attention_norm.is_some();
        let post_norm = layer.feed_forward_post_norm.as_ref();
        self.feed_forward(&layer.feed_forward, normed, post_norm);
    }

    /// Queries, keys and values.
    fn inputs(&mut self, layer: &Layer) {
        if let Some(weights) = &layer.attention_norm {
            self.normalize(weights);
        }
        let s = &mut *self.scratch;
        let input = match &layer.attention_norm {
            Some(_) => &s.normed,
            None => &s.x,
        };
        let products = Products::new(self.isa, self.team, input.view());
        match &layer.inputs {
            Inputs::Apart(parts) => {
                let matrices = parts.each_ref().map(|part| part.matrix());
                products.concatenated(&matrices, &mut s.qkv);
            }
            Inputs::Together(all) => products.one(all.matrix(), &mut s.qkv, Store::Replace, None),
        }
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
        let products = Products::new(self.isa, self.team, last.view());
        products.one(self.model.output(), logit_lanes, Store::Replace, None);
        self.bend_logits();
        let Scratch {
            last,
            logit_lanes,
            logits,
            ..
        } = &mut *self.scratch;
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

    /// Scales and caps logits, where the model does that.
    fn bend_logits(&mut self) {
        let factors = self.model.hyper.factors;
        let lanes = &mut self.scratch.logit_lanes;
        let block_len = lanes.block_len();
        let isa = self.isa;
        let scale = factors.logits.unwrap_or(1.0);
        match factors.logit_cap {
            None if scale == 1.0 => {}
            None => self
                .team
                .chunks(lanes.values_mut(), BENT_BLOCKS * block_len, |_, out| {
                    out.iter_mut().for_each(|logit| *logit *= scale);
                }),
            Some(cap) => self
                .team
                .chunks(lanes.values_mut(), BENT_BLOCKS * block_len, |_, out| {
                    elementwise::cap(isa, out, scale, cap);
                }),
        }
    }
}

/// Calls `f(block, its values)` for every block of `out`, shared by the team unless there are few tokens.
fn by_blocks(team: &Team, out: &mut Lanes, f: impl Fn(usize, &mut [f32]) + Sync) {
    let (tokens, block_len) = (out.tokens(), out.block_len());
    if tokens > SERIAL_TOKENS {
        team.chunks(out.values_mut(), block_len, f);
    } else if tokens > 0 {
        let blocks = out.values_mut().chunks_mut(block_len);
        blocks.enumerate().for_each(|(block, out)| f(block, out));
    }
}

/// What divides the rotation of each pair.
fn pair_factors<'a>(
    factors: &'a RopeFactors<Tensor>,
    rotation: &Rotation,
    context: usize,
) -> Option<&'a [f32]> {
    let of_context = match rotation.scaling {
        Scaling::Long { original, .. } if context > original => &factors.long,
        Scaling::Long { .. } => &factors.short,
        _ => &factors.all,
    };
    of_context.as_ref().map(Tensor::f32)
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
        BoundNorm::Rms { weight } => (weight.f32(), None),
        BoundNorm::Layer { weight, bias } => (weight.f32(), bias.as_ref().map(Tensor::f32)),
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
