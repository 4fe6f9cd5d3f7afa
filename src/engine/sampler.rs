//! Drawing one token from a row of logits.
//!
//! The order: bans, then temperature, then top-k, then typical-p, top-p and min-p over the probabilities that are
//! left. Candidates stand in one order (logit descending, id
//! ascending), and a draw walks along it, so the token depends on the logits, the parameters, the
//! seed, the sequence's number and the token's number, and on nothing that was drawn before.
//!
//! A draw takes its randomness from ChaCha8 with key = seed (little endian, padded with zeros),
//! stream = sequence number and word position = 16 x token number; it reads the first two of its 16
//! words. So a sequence that is continued anywhere continues with the same draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::job::SamplingParams;

use super::candidates::{Candidate, Candidates, Crossing, best, crossing, crossing_unordered};
use super::softmax::{Weights, log_probabilities};
use super::typical::Typical;

/// Words of the random stream that belong to one token.
const WORDS_PER_TOKEN: u128 = 16;

/// Random bits of a draw: as many as an `f64` would hold.
const RANDOM_BITS: u32 = 53;

/// Candidates that are put in order first when top-k does not bound them. Trained models seldom need
/// more; all are looked at when they do.
const FIRST_LOOK: usize = 64;

/// A row of logits from which nothing can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Unusable {
    #[error(
        "the model gave {value} as the logit of token {id}: its weights are damaged, or it overflows"
    )]
    NotFinite { id: usize, value: f32 },
    #[error("no token is left to choose: all are banned or impossible")]
    NothingLeft,
}

/// Memory that draws reuse; one per worker.
#[derive(Debug, Default)]
pub struct Scratch {
    candidates: Candidates,
    others: Candidates,
    weights: Weights,
    typical: Typical,
}

/// Draws the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    random: ChaCha8Rng,
    temperature: f32,
    top_k: usize,
    top_p: f64,
    typical_p: f64,
    min_p: f32,
}

impl Sampler {
    /// `sequence` is the sequence's index in its job.
    pub fn new(params: &SamplingParams, sequence: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&params.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(sequence as u64);
        Sampler {
            random,
            temperature: params.temperature,
            top_k: params.top_k as usize,
            top_p: f64::from(params.top_p),
            typical_p: f64::from(params.shaping.typical_p),
            min_p: params.shaping.min_p,
        }
    }

    /// The id of output token number `index`, never one of `banned` (ascending).
    pub fn draw(
        &self,
        logits: &[f32],
        banned: &[u32],
        index: usize,
        scratch: &mut Scratch,
    ) -> Result<u32, Unusable> {
        check(logits)?;
        let best = best(logits, banned).ok_or(Unusable::NothingLeft)?;
        if self.temperature > 0.0 {
            Ok(self.draw_weighted(self.random_bits(index), logits, banned, best, scratch))
        } else {
            Ok(best.id)
        }
    }

    fn random_bits(&self, index: usize) -> u64 {
        let mut random = self.random.clone();
        random.set_word_pos(WORDS_PER_TOKEN * index as u128);
        random.next_u64() >> (u64::BITS - RANDOM_BITS)
    }

    fn draw_weighted(
        &self,
        bits: u64,
        logits: &[f32],
        banned: &[u32],
        best: Candidate,
        scratch: &mut Scratch,
    ) -> u32 {
        let Scratch {
            candidates,
            others,
            weights,
            typical,
        } = scratch;
        let bounded = 0 < self.top_k && self.top_k < logits.len();
        if self.typical_p < 1.0 {
            let count = if bounded { self.top_k } else { logits.len() };
            let kept = candidates.select(logits, banned, count);
            weights.weigh_candidates(kept, self.temperature);
            let kept = typical.keep(kept, weights, self.typical_p);
            let (total, likely) = (kept.total(), kept.at_least(self.min_p));
            let at = |goal| kept.crossing(goal);
            return self.place(bits, total, likely, at).unwrap_or(best.id);
        }
        if bounded {
            let kept = candidates.select(logits, banned, self.top_k);
            weights.weigh_candidates(kept, self.temperature);
            let at = |goal| crossing(kept, goal, |index, _| weights.at(index));
            let (total, likely) = (weights.total(), weights.at_least(self.min_p));
            return self.place(bits, total, likely, at).unwrap_or(best.id);
        }
        weights.weigh_row(logits, banned, best.logit, self.temperature);
        let weight = |candidate: &Candidate| weights.at(candidate.id as usize);
        let first = candidates.select(logits, banned, FIRST_LOOK);
        let at = |goal| {
            crossing(first, goal, |_, candidate| weight(candidate))
                .or_else(|| crossing_unordered(others.all(logits, banned), goal, weight))
        };
        let (total, likely) = (weights.total(), weights.at_least(self.min_p));
        self.place(bits, total, likely, at).unwrap_or(best.id)
    }

    /// The token where `bits`, as a fraction, falls in the mass of what may be drawn: the shortest beginning of
    /// the ordered candidates that has top-p of their `total`, or the `likely` ones of min-p, whichever is less;
    /// `at` walks. All sums are exact, and the goals lie below the total, so the walk always arrives.
    fn place(
        &self,
        bits: u64,
        total: u64,
        likely: u64,
        mut at: impl FnMut(u64) -> Option<Crossing>,
    ) -> Option<u32> {
        let mass = if self.top_p < 1.0 {
            let share = libm::ceil(self.top_p * total as f64) as u64;
            at(share.clamp(1, total) - 1)?.sum
        } else {
            total
        };
        let mass = mass.min(likely);
        let goal = (u128::from(bits) * u128::from(mass)) >> RANDOM_BITS;
        at(goal as u64).map(|crossing| crossing.id)
    }
}

/// The log-probability of `chosen` and the `top` best `(id, log-probability)` under the raw logits,
/// ordered by (logit descending, id ascending).
pub fn report(
    logits: &[f32],
    chosen: u32,
    top: usize,
    scratch: &mut Scratch,
) -> (f32, Vec<(u32, f32)>) {
    log_probabilities(
        logits,
        chosen,
        top,
        &mut scratch.candidates,
        &mut scratch.weights,
    )
}

/// Minus infinity is a probability of 0 and passes; NaN and plus infinity do not.
pub(super) fn check(logits: &[f32]) -> Result<(), Unusable> {
    // One branch-free pass; the culprit is looked for only when there is one.
    if logits
        .iter()
        .fold(true, |good, &logit| good & (logit < f32::INFINITY))
    {
        return Ok(());
    }
    let culprit = logits
        .iter()
        .enumerate()
        .find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
    let (id, &value) = culprit.unwrap_or((0, &f32::NAN));
    Err(Unusable::NotFinite { id, value })
}
