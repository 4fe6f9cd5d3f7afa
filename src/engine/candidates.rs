//! The best tokens of a row of logits, without sorting the row.
//!
//! Order everywhere: logit descending, then id ascending. Logits are not NaN here.

use std::cmp::Ordering;
use std::ops::Range;

/// Room for candidates beyond the wanted ones before the worst are dropped: large enough that a drop
/// (linear in the buffer) is rare, small enough for the first-level cache.
const SLACK: usize = 512;

/// Logits compared with the threshold at once; most groups hold nothing and are skipped whole.
const GROUP: usize = 64;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) logit: f32,
    pub(super) id: u32,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        let logits = other
            .logit
            .partial_cmp(&self.logit)
            .unwrap_or(Ordering::Equal);
        logits.then(self.id.cmp(&other.id))
    }
}

/// The ids below `len` that are not in `banned` (ascending), as ranges.
pub(super) fn allowed(len: usize, banned: &[u32]) -> impl Iterator<Item = Range<usize>> {
    let ends = banned
        .iter()
        .map(|&id| id as usize)
        .filter(move |&id| id < len)
        .chain([len]);
    ends.scan(0, |start, end| Some(std::mem::replace(start, end + 1)..end))
        .filter(|range| !range.is_empty())
}

/// The highest logit and the lowest id that has it; `None` when every id is banned or minus infinity.
pub(super) fn best(logits: &[f32], banned: &[u32]) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    for range in allowed(logits.len(), banned) {
        let start = range.start;
        // A fold of maxima becomes vector code; the position is looked for only where it rises.
        let top = logits[range.clone()]
            .iter()
            .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        if top > best.map_or(f32::NEG_INFINITY, |b| b.logit) {
            let offset = logits[range]
                .iter()
                .position(|&logit| logit == top)
                .unwrap_or(0);
            best = Some(Candidate {
                logit: top,
                id: (start + offset) as u32,
            });
        }
    }
    best
}

/// A reusable buffer for the best candidates.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    best: Vec<Candidate>,
}

impl Candidates {
    /// The `count` best candidates in order; fewer when the row has fewer that are allowed and above
    /// minus infinity.
    pub(super) fn select(&mut self, logits: &[f32], banned: &[u32], count: usize) -> &[Candidate] {
        self.best.clear();
        if count == 0 {
            return &self.best;
        }
        let mut threshold = f32::NEG_INFINITY;
        for range in allowed(logits.len(), banned) {
            let start = range.start;
            for (group, values) in logits[range].chunks(GROUP).enumerate() {
                if !values
                    .iter()
                    .fold(false, |any, &logit| any | (logit > threshold))
                {
                    continue;
                }
                let first = start + group * GROUP;
                for (offset, &logit) in values.iter().enumerate() {
                    // Ids rise, so an equal logit comes after those already taken.
                    if logit > threshold {
                        self.best.push(Candidate {
                            logit,
                            id: (first + offset) as u32,
                        });
                    }
                }
                if self.best.len() >= count.saturating_add(SLACK) {
                    threshold = self.keep(count);
                }
            }
        }
        if self.best.len() > count {
            self.keep(count);
        }
        self.best.sort_unstable_by(Candidate::order);
        &self.best
    }

    /// All that are allowed and above minus infinity, in no order.
    pub(super) fn all(&mut self, logits: &[f32], banned: &[u32]) -> &mut [Candidate] {
        self.best.clear();
        for range in allowed(logits.len(), banned) {
            let ids = range.clone().map(|id| id as u32);
            let row = ids
                .zip(&logits[range])
                .filter(|(_, logit)| **logit > f32::NEG_INFINITY);
            self.best
                .extend(row.map(|(id, &logit)| Candidate { logit, id }));
        }
        &mut self.best
    }

    /// Drops all but the `count` best and returns the lowest logit that is left.
    fn keep(&mut self, count: usize) -> f32 {
        let (_, worst, _) = self
            .best
            .select_nth_unstable_by(count - 1, Candidate::order);
        let threshold = worst.logit;
        self.best.truncate(count);
        threshold
    }
}

/// A place on the walk along the ordered candidates, adding up their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Crossing {
    pub(super) id: u32,
    /// The weights up to and including this candidate's.
    pub(super) sum: u64,
}

/// The first of the ordered `candidates` at which the weights add up to more than `goal`; `weight` is
/// called with the index and the candidate.
pub(super) fn crossing(
    candidates: &[Candidate],
    goal: u64,
    weight: impl Fn(usize, &Candidate) -> u64,
) -> Option<Crossing> {
    let mut sum = 0;
    candidates
        .iter()
        .enumerate()
        .find_map(|(index, candidate)| {
            sum += weight(index, candidate);
            (sum > goal).then_some(Crossing {
                id: candidate.id,
                sum,
            })
        })
}

/// The same for candidates in no order, without sorting them: halves by order, keeps the half in
/// which the goal lies, and walks when few are left. Linear in their number.
pub(super) fn crossing_unordered(
    mut candidates: &mut [Candidate],
    mut goal: u64,
    weight: impl Fn(&Candidate) -> u64,
) -> Option<Crossing> {
    let mut before = 0;
    while candidates.len() > GROUP {
        let middle = candidates.len() / 2;
        candidates.select_nth_unstable_by(middle, Candidate::order);
        let (better, worse) = candidates.split_at_mut(middle);
        let sum: u64 = better.iter().map(&weight).sum();
        if sum > goal {
            candidates = better;
        } else {
            before += sum;
            goal -= sum;
            candidates = worse;
        }
    }
    candidates.sort_unstable_by(Candidate::order);
    let found = crossing(candidates, goal, |_, candidate| weight(candidate))?;
    Some(Crossing {
        sum: before + found.sum,
        ..found
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn banned_ids_cut_the_row_into_ranges() {
        let ranges = |len, banned: &[u32]| allowed(len, banned).collect::<Vec<_>>();
        assert_eq!(ranges(5, &[5]), vec![0..5]);
        assert_eq!(ranges(5, &[0, 2, 4, 9]), vec![1..2, 3..4]);
        assert_eq!(ranges(2, &[0, 1]), Vec::<std::ops::Range<usize>>::new());
        assert_eq!(ranges(0, &[3]), Vec::<std::ops::Range<usize>>::new());
    }

    #[test]
    fn the_lowest_id_wins_a_tie() {
        let tie = Candidate { logit: 2.0, id: 1 };
        assert_eq!(best(&[0.0, 2.0, 2.0], &[]), Some(tie));
        assert_eq!(
            best(&[0.0, 2.0, 2.0], &[1]),
            Some(Candidate { logit: 2.0, id: 2 })
        );
        assert_eq!(best(&[0.0, -0.0], &[]).map(|c| c.id), Some(0));
        assert_eq!(best(&[-0.0, 0.0], &[]).map(|c| c.id), Some(0));
        assert_eq!(best(&[f32::NEG_INFINITY], &[]), None);
        assert_eq!(best(&[1.0], &[0]), None);
    }

    proptest! {
        #[test]
        fn selecting_is_sorting_and_cutting(
            // Few values, so that ties are common; long enough to pass the slack several times.
            logits in prop::collection::vec((-40i8..40).prop_map(|v| f32::from(v) / 4.0), 0..3000),
            mut banned in prop::collection::vec(0u32..3000, 0..4),
            count in 0usize..80,
        ) {
            banned.sort_unstable();
            banned.dedup();
            let mut oracle: Vec<(f32, u32)> = logits.iter().copied().zip(0u32..).collect();
            oracle.retain(|(_, id)| !banned.contains(id));
            oracle.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            prop_assert_eq!(
                best(&logits, &banned).map(|c| (c.logit, c.id)),
                oracle.first().copied()
            );
            oracle.truncate(count);
            let mut buffer = Candidates::default();
            let selected: Vec<_> =
                buffer.select(&logits, &banned, count).iter().map(|c| (c.logit, c.id)).collect();
            prop_assert_eq!(selected, oracle);
        }

        #[test]
        fn crossing_without_sorting_is_crossing_after_sorting(
            logits in prop::collection::vec((-40i8..40).prop_map(|v| f32::from(v) / 4.0), 1..700),
            part in 0.0f64..1.1,
        ) {
            let weight = |candidate: &Candidate| (candidate.id as u64 * 37) % 11;
            let (mut buffer, mut unordered) = (Candidates::default(), Candidates::default());
            let ordered = buffer.select(&logits, &[], logits.len());
            let total: u64 = ordered.iter().map(weight).sum();
            let goal = (total as f64 * part) as u64;
            let expected = crossing(ordered, goal, |_, candidate| weight(candidate));
            prop_assert_eq!(expected.is_some(), goal < total);
            prop_assert_eq!(crossing_unordered(unordered.all(&logits, &[]), goal, weight), expected);
        }
    }
}
