//! Sums of exponentials over a row of logits, in increasing id order, accumulated in f64.

use super::candidates::{Candidates, allowed, best};

/// e to the power of `x`, the same bits on every machine.
fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// The unnormalized probability of a logit: 1 for `max`, 0 where the exponential underflows.
pub(super) fn weight(logit: f32, max: f32, temperature: f32) -> f64 {
    f64::from(exp((logit - max) / temperature))
}

/// The weights of all ids that are not banned, added up.
pub(super) fn mass(logits: &[f32], banned: &[u32], max: f32, temperature: f32) -> f64 {
    allowed(logits.len(), banned)
        .flat_map(|range| &logits[range])
        .map(|&logit| weight(logit, max, temperature))
        .sum()
}

/// The log-probability of `chosen` and of the `top` best ids under the raw logits: no bans, no
/// temperature. `logit - ln(sum of exp(logits))`, rounded once at the end.
pub(super) fn log_probabilities(
    logits: &[f32],
    chosen: u32,
    top: usize,
    buffer: &mut Candidates,
) -> (f32, Vec<(u32, f32)>) {
    let max = best(logits, &[]).map_or(0.0, |candidate| candidate.logit);
    let log_mass = f64::from(max) + libm::log(mass(logits, &[], max, 1.0));
    let log_probability = |logit: f32| (f64::from(logit) - log_mass) as f32;
    let best = buffer.select(logits, &[], top);
    let best = best
        .iter()
        .map(|candidate| (candidate.id, log_probability(candidate.logit)))
        .collect();
    (log_probability(logits[chosen as usize]), best)
}
