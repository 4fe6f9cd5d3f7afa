//! The buffers of one worker, allocated once: nothing is allocated per token.

use crate::compute::Lanes;
use crate::compute::elementwise::Moments;
use crate::tensor::PANEL_ROWS;

use super::Hyper;
use super::forward::Plan;
use super::rope::Angles;
use super::spec::FeedForward;

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
    /// Pairs of blocks: gate (then the gated product), up. Where both are one matrix, its rows.
    pub(super) wide: Lanes,
    /// What the feed-forward part has inside, where it is not in `wide`.
    pub(super) inner: Lanes,
    /// What a part adds to the stream, where it is normed or scaled before.
    pub(super) branch: Lanes,
    pub(super) routing: Routing,
    /// Of each rotation of the model.
    pub(super) angles: Vec<Angles>,
    /// Inverse root mean squares of all query heads, and of all key heads, of each token.
    pub(super) row_scales: Vec<(f32, f32)>,
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
    pub(super) fn new(
        hyper: &Hyper,
        feed: FeedForward,
        vocab: usize,
        max_tokens: usize,
    ) -> Scratch {
        let q = hyper.heads * hyper.head_dim;
        let kv = hyper.kv_heads * hyper.head_dim;
        let padded = |len: usize| len.next_multiple_of(PANEL_ROWS);
        let width = hyper.feed_forward;
        let shared = hyper.experts.map(|experts| experts.shared.unwrap_or(0));
        let (wide, inner) = match (shared, feed) {
            (Some(shared), _) => (2 * padded(shared), 0),
            (None, FeedForward::Gated(_)) => (2 * padded(width), 0),
            (None, FeedForward::GatedTogether(_)) => (2 * width, width),
            (None, FeedForward::Plain(_)) => (0, width),
        };
        let angles = || Angles::new(max_tokens, hyper.rope_dims);
        Scratch {
            x: Lanes::new(hyper.hidden, max_tokens),
            normed: Lanes::new(hyper.hidden, max_tokens),
            qkv: Lanes::new(padded(q) + 2 * padded(kv), max_tokens),
            plan: Plan::default(),
            starts: Vec::new(),
            results: Vec::new(),
            attention: Lanes::new(q, max_tokens),
            wide: Lanes::new(wide, max_tokens),
            inner: Lanes::new(inner, max_tokens),
            branch: Lanes::new(hyper.hidden, max_tokens),
            routing: Routing::new(hyper, max_tokens),
            angles: hyper.rotations.iter().map(|_| angles()).collect(),
            row_scales: vec![(0.0, 0.0); max_tokens],
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
            &mut self.wide,
            &mut self.inner,
            &mut self.branch,
            &mut self.routing.scores,
        ] {
            lanes.resize(tokens);
        }
        self.last.resize(logits);
        self.logit_lanes.resize(logits);
    }
}

/// Which expert a token goes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    pub(super) token: usize,
    pub(super) expert: usize,
    pub(super) weight: f32,
}

/// Adjacent places of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpertRun {
    pub(super) expert: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// The way of a step's tokens through a mixture of experts; empty in models without.
pub(super) struct Routing {
    /// The router's product `[experts]`.
    pub(super) scores: Lanes,
    /// One token's scores, then probabilities.
    pub(super) row: Vec<f32>,
    /// Token by token, each token's preferred expert first.
    pub(super) choices: Vec<Choice>,
    /// Numbers of choices, sorted by expert, then by token.
    pub(super) places: Vec<usize>,
    /// The place of each choice.
    pub(super) place_of: Vec<usize>,
    pub(super) runs: Vec<ExpertRun>,
    /// Input, inside and output of the experts, for each place.
    pub(super) inputs: Lanes,
    pub(super) wide: Lanes,
    pub(super) outputs: Lanes,
    /// What the expert of all tokens is multiplied by, for each token.
    pub(super) gates: Vec<f32>,
}

impl Routing {
    fn new(hyper: &Hyper, max_tokens: usize) -> Routing {
        let (count, used, width, hidden) = match hyper.experts {
            Some(experts) => (
                experts.count,
                experts.used,
                experts.feed_forward,
                hyper.hidden,
            ),
            None => (0, 0, 0, 0),
        };
        let places = max_tokens * used;
        Routing {
            scores: Lanes::new(count, max_tokens),
            row: vec![0.0; count],
            choices: Vec::with_capacity(places),
            places: Vec::with_capacity(places),
            place_of: Vec::with_capacity(places),
            runs: Vec::with_capacity(count),
            inputs: Lanes::new(hidden, places),
            wide: Lanes::new(2 * width.next_multiple_of(PANEL_ROWS), places),
            outputs: Lanes::new(hidden, places),
            gates: Vec::with_capacity(max_tokens),
        }
    }

    /// Gives each choice its place.
    pub(super) fn sort(&mut self) {
        let Routing {
            choices,
            places,
            place_of,
            runs,
            ..
        } = self;
        places.clear();
        places.extend(0..choices.len());
        places.sort_unstable_by_key(|&choice| (choices[choice].expert, choice));
        place_of.clear();
        place_of.resize(choices.len(), 0);
        runs.clear();
        for (place, &choice) in places.iter().enumerate() {
            place_of[choice] = place;
            let expert = choices[choice].expert;
            match runs.last_mut() {
                Some(run) if run.expert == expert => run.count += 1,
                _ => runs.push(ExpertRun {
                    expert,
                    first: place,
                    count: 1,
                }),
            }
        }
    }
}
