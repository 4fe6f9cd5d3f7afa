//! The buffers of one worker, allocated once: nothing is allocated per token.

use crate::compute::Lanes;
use crate::compute::elementwise::Moments;
use crate::tensor::PANEL_ROWS;

use super::Hyper;
use super::forward::Plan;
use super::rope::Angles;

/// Buffers for steps of up to the `max_tokens` they were made for.
pub(super) struct Scratch {
    /// The residual stream `[hidden]`.
    pub(super) x: Lanes,
    /// Its norm, the input of the products.
    pub(super) normed: Lanes,
    /// Query, key and value blocks, one after the other.
    pub(super) qkv: Lanes,
    /// How the attention of the step is divided.
    pub(super) plan: Plan,
    /// Where the step's keys and values are written.
    pub(super) starts: Vec<usize>,
    /// What each task of attention gave.
    pub(super) results: Vec<f32>,
    /// The same as input of the output product.
    pub(super) attention: Lanes,
    /// Pairs of blocks: gate (then the gated product), up.
    pub(super) gated: Lanes,
    pub(super) angles: Angles,
    /// What the norm of each token subtracts and multiplies by.
    pub(super) moments: Vec<Moments>,
    /// One token of the residual stream.
    pub(super) row: Vec<f32>,
    /// Norms of the tokens whose logits are wanted.
    pub(super) last: Lanes,
    /// Their logits, as the product leaves them and as `[tokens, vocab]`.
    pub(super) logit_lanes: Lanes,
    pub(super) logits: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(hyper: &Hyper, vocab: usize, max_tokens: usize) -> Scratch {
        let q = hyper.heads * hyper.head_dim;
        let kv = hyper.kv_heads * hyper.head_dim;
        let padded = |len: usize| len.next_multiple_of(PANEL_ROWS);
        Scratch {
            x: Lanes::new(hyper.hidden, max_tokens),
            normed: Lanes::new(hyper.hidden, max_tokens),
            qkv: Lanes::new(padded(q) + 2 * padded(kv), max_tokens),
            plan: Plan::default(),
            starts: Vec::new(),
            results: Vec::new(),
            attention: Lanes::new(q, max_tokens),
            gated: Lanes::new(2 * padded(hyper.feed_forward), max_tokens),
            angles: Angles::new(max_tokens, hyper.rope_dims),
            moments: vec![Moments::default(); max_tokens],
            row: vec![0.0; hyper.hidden],
            last: Lanes::new(hyper.hidden, 1),
            logit_lanes: Lanes::new(vocab, 1),
            logits: Vec::new(),
        }
    }

    /// Sets the number of tokens of the step, and how many of them want logits.
    pub(super) fn resize(&mut self, tokens: usize, logits: usize) {
        for lanes in [
            &mut self.x,
            &mut self.normed,
            &mut self.qkv,
            &mut self.attention,
            &mut self.gated,
        ] {
            lanes.resize(tokens);
        }
        self.last.resize(logits);
        self.logit_lanes.resize(logits);
    }
}
