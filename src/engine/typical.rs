//! Locally typical sampling (Meister et al., 2022): the candidates whose surprise is nearest to its mean.

use super::candidates::{Candidate, Crossing, crossing};
use super::softmax::Weights;

/// What is kept, in the order of the candidates; memory that draws reuse.
#[derive(Debug, Default)]
pub(super) struct Typical {
    /// Distance of the surprise from its mean, and the index of the candidate.
    distances: Vec<(f64, usize)>,
    candidates: Vec<Candidate>,
    weights: Vec<u64>,
}

impl Typical {
    /// Keeps the fewest of the ordered and weighed candidates that have a share `typical_p` of the mass, the
    /// nearest first; of equally near ones the likelier. One is always kept.
    pub(super) fn keep(
        &mut self,
        candidates: &[Candidate],
        weights: &Weights,
        typical_p: f64,
    ) -> &Self {
        let total = weights.total() as f64;
        let probability = |index: usize| weights.at(index) as f64 / total;
        let possible = || (0..candidates.len()).filter(|&index| weights.at(index) > 0);
        let surprise = |index: usize| -libm::log(probability(index));
        let mean: f64 = possible()
            .map(|index| probability(index) * surprise(index))
            .sum();
        self.distances.clear();
        self.distances
            .extend(possible().map(|index| ((surprise(index) - mean).abs(), index)));
        self.distances
            .sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let wanted = libm::ceil(typical_p * total) as u64;
        let mut mass = 0;
        let needed = self.distances.iter().position(|&(_, index)| {
            mass += weights.at(index);
            mass >= wanted
        });
        if let Some(last) = needed {
            self.distances.truncate(last + 1);
        }
        self.distances.sort_unstable_by_key(|&(_, index)| index);
        self.candidates.clear();
        self.weights.clear();
        for &(_, index) in &self.distances {
            self.candidates.push(candidates[index]);
            self.weights.push(weights.at(index));
        }
        self
    }

    pub(super) fn total(&self) -> u64 {
        self.weights.iter().sum()
    }

    /// The sum of the weights that are at least this share of the largest.
    pub(super) fn at_least(&self, share: f32) -> u64 {
        let best = self.weights.first().copied().unwrap_or(0);
        let least = (f64::from(share) * best as f64) as u64;
        self.weights.iter().filter(|&&weight| weight >= least).sum()
    }

    pub(super) fn crossing(&self, goal: u64) -> Option<Crossing> {
        crossing(&self.candidates, goal, |index, _| self.weights[index])
    }
}
