//! Exponentials of a row of logits: weights for drawing, log-probabilities for reporting.

use crate::compute::{Isa, elementwise};

use super::candidates::{Candidate, Candidates, best};

/// Fractional bits of a weight. The best candidate weighs 2^40, so a million candidates stay below
/// 2^60, and what is lost below 2^-40 of the best could not be drawn in a lifetime.
const FRACTION_BITS: u32 = 40;

/// A weight in fixed point, rounded down. Sums of these are exact, so they are the same in any order,
/// and a walk along them cannot run out of mass.
fn fixed(weight: f32) -> u64 {
    (weight * (1u64 << FRACTION_BITS) as f32) as i64 as u64
}

/// Unnormalized probabilities: `exp((logit - max) / temperature)`, 1 for the best candidate.
#[derive(Debug)]
pub(super) struct Weights {
    values: Vec<f32>,
    /// The machine's best whatever the configuration says: all give the same bits, and a row of
    /// 49,152 exponentials takes milliseconds without vectors.
    isa: Isa,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            values: Vec::new(),
            isa: Isa::best(),
        }
    }
}

impl Weights {
    /// Weighs every id; banned ones get nothing.
    pub(super) fn weigh_row(&mut self, logits: &[f32], banned: &[u32], max: f32, temperature: f32) {
        self.weigh(logits.iter().copied(), max, temperature);
        for &id in banned {
            if let Some(value) = self.values.get_mut(id as usize) {
                *value = 0.0;
            }
        }
    }

    /// Weighs candidates, in their order.
    pub(super) fn weigh_candidates(&mut self, candidates: &[Candidate], temperature: f32) {
        let max = candidates.first().map_or(0.0, |best| best.logit);
        self.weigh(
            candidates.iter().map(|candidate| candidate.logit),
            max,
            temperature,
        );
    }

    fn weigh(&mut self, logits: impl Iterator<Item = f32>, max: f32, temperature: f32) {
        self.values.clear();
        self.values
            .extend(logits.map(|logit| (logit - max) / temperature));
        elementwise::exp_all(self.isa, &mut self.values);
    }

    /// The weight at an index of what was weighed.
    pub(super) fn at(&self, index: usize) -> u64 {
        fixed(self.values[index])
    }

    /// The sum of the weights that are at least this share of the best one's, which is 1.
    pub(super) fn at_least(&self, share: f32) -> u64 {
        let likely = self.values.iter().filter(|value| **value >= share);
        likely.map(|&value| fixed(value)).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.values.iter().map(|&value| fixed(value)).sum()
    }

    /// The natural logarithm of the sum, in increasing index order.
    fn log_sum(&self) -> f64 {
        libm::log(self.values.iter().map(|&value| f64::from(value)).sum())
    }
}

/// The log-probability of `chosen` and of the `top` best ids under the raw logits: no bans, no
/// temperature. `logit - max - ln(sum of exp(logits - max))`, rounded once at the end.
pub(super) fn log_probabilities(
    logits: &[f32],
    chosen: u32,
    top: usize,
    candidates: &mut Candidates,
    weights: &mut Weights,
) -> (f32, Vec<(u32, f32)>) {
    let max = best(logits, &[]).map_or(0.0, |candidate| candidate.logit);
    weights.weigh_row(logits, &[], max, 1.0);
    let log_mass = f64::from(max) + weights.log_sum();
    let log_probability = |logit: f32| (f64::from(logit) - log_mass) as f32;
    let best = candidates.select(logits, &[], top).iter();
    let best = best
        .map(|candidate| (candidate.id, log_probability(candidate.logit)))
        .collect();
    (log_probability(logits[chosen as usize]), best)
}
