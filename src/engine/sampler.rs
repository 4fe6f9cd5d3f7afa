//! Drawing one token from a row of logits.
//!
//! The order is that of the Hugging Face and vLLM samplers: bans, then temperature, then top-k, then
//! top-p over the probabilities that are left. Candidates stand in one order (logit descending, id
//! ascending), and a draw walks along it, so the token depends on the logits, the parameters, the
//! seed, the sequence's number and the token's number, and on nothing that was drawn before.
//!
//! A draw takes its randomness from ChaCha8 with key = seed (little endian, padded with zeros),
//! stream = sequence number and word position = 16 x token number; it reads the first two of its 16
//! words. So a sequence that is continued anywhere continues with the same draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::job::SamplingParams;

use super::candidates::{Candidate, Candidates, best};
use super::softmax::{log_probabilities, mass, weight};

/// Words of the random stream that belong to one token.
const WORDS_PER_TOKEN: u128 = 16;

/// Candidates looked at first when top-k does not bound them. Trained models seldom need more; each
/// further look takes [`WIDEN`] times as many.
const FIRST_LOOK: usize = 64;
const WIDEN: usize = 8;

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
}

/// Draws the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    random: ChaCha8Rng,
    temperature: f32,
    top_k: usize,
    top_p: f64,
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
        }
    }

    /// The id of output token number `index`, never one of `banned` (ascending).
    pub fn draw(
        &mut self,
        logits: &[f32],
        banned: &[u32],
        index: usize,
        scratch: &mut Scratch,
    ) -> Result<u32, Unusable> {
        check(logits)?;
        let best = best(logits, banned).ok_or(Unusable::NothingLeft)?;
        if self.temperature > 0.0 {
            let point = self.uniform(index);
            Ok(self.draw_at(point, logits, banned, best, &mut scratch.candidates))
        } else {
            Ok(best.id)
        }
    }

    /// A number in [0, 1) with 53 random bits.
    fn uniform(&mut self, index: usize) -> f64 {
        self.random.set_word_pos(WORDS_PER_TOKEN * index as u128);
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.random.next_u64() >> 11) as f64 * STEP
    }

    /// Looks at more and more candidates until the draw is decided.
    fn draw_at(
        &self,
        point: f64,
        logits: &[f32],
        banned: &[u32],
        best: Candidate,
        candidates: &mut Candidates,
    ) -> u32 {
        let weight = |candidate: &Candidate| weight(candidate.logit, best.logit, self.temperature);
        if 0 < self.top_k && self.top_k < logits.len() {
            let kept = candidates.select(logits, banned, self.top_k);
            let total = kept.iter().map(weight).sum();
            return self.walk(point, total, kept, weight).id;
        }
        let total = mass(logits, banned, best.logit, self.temperature);
        let mut count = FIRST_LOOK;
        loop {
            let seen = candidates.select(logits, banned, count);
            let walked = self.walk(point, total, seen, weight);
            if walked.decided || seen.len() < count {
                return walked.id;
            }
            count *= WIDEN;
        }
    }

    /// The token at `point` (0 to 1) of the mass of the nucleus, which is the shortest beginning of
    /// `candidates` that has top-p of `total`.
    fn walk(
        &self,
        point: f64,
        total: f64,
        candidates: &[Candidate],
        weight: impl Fn(&Candidate) -> f64,
    ) -> Walked {
        let mut nucleus = candidates.len();
        let mut goal = point * total;
        let mut reached = true;
        if self.top_p < 1.0 {
            let mut sum = 0.0;
            let end = candidates.iter().position(|candidate| {
                sum += weight(candidate);
                sum >= self.top_p * total
            });
            reached = end.is_some();
            nucleus = end.map_or(nucleus, |end| end + 1);
            goal = point * sum;
        }
        let mut sum = 0.0;
        let mut last = 0;
        for candidate in &candidates[..nucleus] {
            let weight = weight(candidate);
            sum += weight;
            if weight > 0.0 {
                last = candidate.id;
            }
            if sum > goal {
                return Walked {
                    id: last,
                    decided: reached,
                };
            }
        }
        // Rounding ran out of mass: the last candidate that has any, unless more are to come.
        Walked {
            id: last,
            decided: reached && nucleus < candidates.len(),
        }
    }
}

/// Where a walk along the candidates ended.
struct Walked {
    id: u32,
    /// Whether candidates that were not looked at could not change it.
    decided: bool,
}

/// The log-probability of `chosen` and the `top` best `(id, log-probability)` under the raw logits,
/// ordered by (logit descending, id ascending).
pub fn report(
    logits: &[f32],
    chosen: u32,
    top: usize,
    scratch: &mut Scratch,
) -> (f32, Vec<(u32, f32)>) {
    log_probabilities(logits, chosen, top, &mut scratch.candidates)
}

/// Minus infinity is a probability of 0 and passes; NaN and plus infinity do not.
fn check(logits: &[f32]) -> Result<(), Unusable> {
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
