//! Who runs, who waits, and which tokens the next step computes. Pure functions of plain data.
//!
//! All sequences of a worker stand in one list: the first `running` of them run, the others wait. Those that run
//! stand by priority, the higher first, and those of one priority in the order of their admission; see [`place`].
//! Admission takes the head of the waiting ones, preemption puts the last running one back to their head: the
//! youngest of the lowest priority.
//!
//! - No starvation: nobody is admitted past a waiting sequence, and the first one always runs.
//! - The first is never preempted: whatever it grows to, it fits in an otherwise empty pool, because
//!   a sequence that does not is refused before it enters the list.
//! - A preempted sequence does not come straight back: it asks for at least the blocks it gave up,
//!   of which another has just taken some.
//!
//! Invariant: knows neither tokens nor models, and holds no state.

use crate::model::KV_BLOCK_TOKENS;

/// Positions that are reserved at admission beyond those already known. More would keep others out
/// for tokens that may never come; less would preempt more often.
pub(super) const RESERVED_OUTPUT: usize = 256;

/// What one worker can do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Running sequences.
    pub(super) slots: usize,
    /// Prompt tokens in one step, over all sequences.
    pub(super) prefill_chunk: usize,
}

/// One sequence as the scheduler sees it; all counts are positions except `held`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) priority: i32,
    pub(super) prompt: usize,
    /// Prompt and generated tokens.
    pub(super) known: usize,
    /// Tokens that may still be generated.
    pub(super) remaining: usize,
    /// Positions whose keys and values are in the pool.
    pub(super) computed: usize,
    /// KV blocks.
    pub(super) held: usize,
}

impl View {
    /// Blocks to hold before the next step.
    fn needed(&self) -> usize {
        self.known.div_ceil(KV_BLOCK_TOKENS)
    }

    /// Positions to reserve at admission.
    pub(super) fn reservation(&self) -> usize {
        self.known + self.remaining.min(RESERVED_OUTPUT)
    }

    /// Only the last generated token is missing: the next step gives the next one.
    pub(super) fn decodes(&self) -> bool {
        self.computed >= self.prompt && self.computed + 1 == self.known
    }
}

/// Where a sequence of `priority` stands among the `running` ones when it joins them.
pub(super) fn place(running: &[View], priority: i32) -> usize {
    running.partition_point(|view| view.priority >= priority)
}

/// Whether all of `running` can grow to hold their known tokens in `free` blocks. If not, the last one is
/// preempted, and the question asked again: how many blocks that gives back depends on who else holds them.
pub(super) fn fits(running: &[View], free: usize) -> bool {
    let growth = |view: &View| view.needed().saturating_sub(view.held);
    running.iter().map(growth).sum::<usize>() <= free
}

/// Whether the first waiting sequence may join the `running` ones. What it holds already are blocks that it
/// shares.
pub(super) fn admits(first: &View, running: usize, free: usize, limits: Limits) -> bool {
    let wanted = first.reservation().div_ceil(KV_BLOCK_TOKENS);
    running < limits.slots && wanted.saturating_sub(first.held) <= free
}

/// Tokens that each running sequence computes in the next step, into `shares`: one for each that
/// decodes; the others share the prefill chunk, the first in the list first.
pub(super) fn share(running: &[View], limits: Limits, shares: &mut Vec<usize>) {
    let mut chunk = limits.prefill_chunk;
    shares.clear();
    shares.extend(running.iter().map(|view| {
        if view.decodes() {
            return 1;
        }
        let share = (view.known - view.computed).min(chunk);
        chunk -= share;
        share
    }));
}

/// Tasks to take from the channel that `workers` share: an even part of what is there, so that one
/// worker that comes first does not take all and leave the others idle.
pub(super) fn fair_part(queued: usize, workers: usize, free_slots: usize) -> usize {
    queued.div_ceil(workers.max(1)).min(free_slots)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(prompt: usize, generated: usize, computed: usize, held: usize) -> View {
        View {
            priority: 0,
            prompt,
            known: prompt + generated,
            remaining: 1000,
            computed,
            held,
        }
    }

    #[test]
    fn decoding_sequences_get_one_token_and_the_others_share_the_chunk() {
        let running = [
            view(40, 0, 0, 20),  // begins
            view(5, 3, 7, 20),   // decodes
            view(9, 0, 8, 20),   // its last prompt token is part of the chunk
            view(10, 5, 0, 20),  // was preempted: computes 15 again
            view(10, 5, 14, 20), // was preempted: decodes again
        ];
        let mut shares = Vec::new();
        let limits = |prefill_chunk| Limits {
            slots: 9,
            prefill_chunk,
        };
        share(&running, limits(48), &mut shares);
        assert_eq!(shares, [40, 1, 1, 7, 1]);
        share(&running, limits(7), &mut shares);
        assert_eq!(shares, [7, 1, 0, 0, 1]);
    }

    #[test]
    fn everyone_must_be_able_to_grow() {
        // The first two need one block more each, the third is content.
        let running = [view(10, 7, 16, 1), view(10, 7, 16, 1), view(10, 1, 10, 3)];
        assert!(fits(&running, 2));
        assert!(!fits(&running, 1));
        assert!(fits(&running[..1], 1) && !fits(&running[..1], 0));
        assert!(fits(&running[2..], 0), "what is held is enough");
    }

    #[test]
    fn admission_needs_a_slot_and_the_reservation() {
        let limits = Limits {
            slots: 2,
            prefill_chunk: 8,
        };
        let long = view(10, 0, 0, 0);
        assert_eq!(long.reservation(), 266);
        assert!(admits(&long, 1, 17, limits));
        assert!(!admits(&long, 1, 16, limits));
        assert!(!admits(&long, 2, 17, limits));
        let short = View {
            remaining: 6,
            ..long
        };
        assert!(admits(&short, 0, 1, limits));
    }

    #[test]
    fn tasks_are_divided_evenly() {
        assert_eq!(fair_part(16, 1, 32), 16);
        assert_eq!(fair_part(15, 2, 32), 8);
        assert_eq!(fair_part(15, 2, 3), 3);
        assert_eq!(fair_part(0, 2, 3), 0);
    }

    /// A worker without tokens: only counts, moved as `worker` moves them.
    struct Simulation {
        limits: Limits,
        total: usize,
        sequences: Vec<(usize, View)>,
        running: usize,
        preempted: usize,
    }

    impl Simulation {
        fn views(&self) -> Vec<View> {
            self.sequences.iter().map(|(_, view)| *view).collect()
        }

        fn free(&self) -> usize {
            let held: usize = self.sequences.iter().map(|(_, view)| view.held).sum();
            self.total
                .checked_sub(held)
                .expect("never more blocks than there are")
        }

        /// One step; returns what ended.
        fn step(&mut self) -> Vec<usize> {
            let mut lost = 0;
            while !fits(&self.views()[..self.running], self.free()) {
                self.running -= 1;
                assert!(self.running > 0, "the first is never preempted");
                let lowest = self.views()[..self.running]
                    .iter()
                    .map(|v| v.priority)
                    .min();
                assert!(
                    lowest.is_none_or(|lowest| self.sequences[self.running].1.priority <= lowest)
                );
                let (_, view) = &mut self.sequences[self.running];
                (view.held, view.computed) = (0, 0);
                self.preempted += 1;
                lost += 1;
            }
            for index in 0..self.running {
                let growth = self.sequences[index]
                    .1
                    .needed()
                    .max(self.sequences[index].1.held);
                self.sequences[index].1.held = growth;
            }
            while self.running < self.sequences.len()
                && admits(
                    &self.sequences[self.running].1,
                    self.running,
                    self.free(),
                    self.limits,
                )
            {
                assert_eq!(lost, 0, "a preempted sequence does not come straight back");
                let view = &mut self.sequences[self.running].1;
                view.held = view.reservation().div_ceil(KV_BLOCK_TOKENS);
                let priority = view.priority;
                let place = place(&self.views()[..self.running], priority);
                self.sequences[place..=self.running].rotate_right(1);
                self.running += 1;
            }
            self.compute()
        }

        fn compute(&mut self) -> Vec<usize> {
            let mut shares = Vec::new();
            share(&self.views()[..self.running], self.limits, &mut shares);
            assert!(shares.len() <= self.limits.slots);
            assert!(
                shares.first().is_none_or(|&oldest| oldest > 0),
                "the first always progresses"
            );
            let mut prefill = 0;
            for ((_, view), share) in self.sequences.iter_mut().zip(&shares) {
                if view.decodes() {
                    assert_eq!(*share, 1, "a decoding sequence never waits for a prompt");
                } else {
                    prefill += share;
                }
                view.computed += share;
                assert!(view.computed <= view.known && view.known <= view.held * KV_BLOCK_TOKENS);
                if view.computed == view.known && view.remaining > 0 {
                    view.known += 1;
                    view.remaining -= 1;
                }
            }
            assert!(prefill <= self.limits.prefill_chunk);
            let mut ended = Vec::new();
            let mut index = 0;
            self.sequences.retain(|(id, view)| {
                let ends = index < shares.len() && view.remaining == 0;
                index += 1;
                if ends {
                    ended.push(*id);
                }
                !ends
            });
            self.running -= ended.len();
            ended
        }
    }

    fn waiting(prompt: usize, remaining: usize) -> View {
        View {
            priority: 0,
            prompt,
            known: prompt,
            remaining,
            computed: 0,
            held: 0,
        }
    }

    #[test]
    fn sequences_that_outgrow_the_pool_end_one_after_the_other() {
        // 17 blocks each at first, 26 in the end: two of three are admitted, one of those preempted.
        let limits = Limits {
            slots: 3,
            prefill_chunk: 8,
        };
        let sequences = (0..3).map(|id| (id, waiting(10, 400))).collect();
        let mut simulation = Simulation {
            limits,
            total: 40,
            sequences,
            running: 0,
            preempted: 0,
        };
        let mut ended = Vec::new();
        while ended.len() < 3 {
            ended.extend(simulation.step());
        }
        assert_eq!(ended, [0, 1, 2]);
        assert_eq!(simulation.preempted, 1);
    }

    #[test]
    fn the_lowest_priority_gives_way_and_of_those_the_youngest() {
        let of = |priority| View {
            priority,
            ..waiting(10, 400)
        };
        let running = [of(3), of(0), of(0)];
        let places = [4, 3, 1, 0, -1].map(|priority| place(&running, priority));
        assert_eq!(places, [0, 1, 1, 3, 3]);
        // Two of three fit to the end: the important one came last.
        let mut simulation = Simulation {
            limits: Limits {
                slots: 3,
                prefill_chunk: 8,
            },
            total: 54,
            sequences: [0, 0, 9].map(of).into_iter().enumerate().collect(),
            running: 0,
            preempted: 0,
        };
        let mut ended = Vec::new();
        while ended.len() < 3 {
            ended.extend(simulation.step());
        }
        assert_eq!((ended, simulation.preempted), (vec![2, 0, 1], 1));
    }

    proptest! {
        #[test]
        fn everyone_ends_within_the_limits(
            slots in 1usize..6,
            prefill_chunk in 1usize..40,
            total in 8usize..60,
            jobs in prop::collection::vec((1usize..120, 1usize..600, 0usize..20, -2i32..3), 1..20),
        ) {
            let mut simulation = Simulation {
                limits: Limits { slots, prefill_chunk },
                total,
                sequences: Vec::new(),
                running: 0,
                preempted: 0,
            };
            let mut later: Vec<(usize, View, usize)> = jobs
                .iter()
                .enumerate()
                .map(|(id, &(prompt, remaining, at, priority))| {
                    let view = View { priority, ..waiting(prompt, remaining) };
                    (id, view, at)
                })
                .filter(|(_, v, _)| (v.prompt + v.remaining).div_ceil(KV_BLOCK_TOKENS) <= total)
                .collect();
            let mut left = later.len();
            // Far more than 20 sequences could take one by one, computed again a few times each.
            for step in 0..200_000 {
                later.retain(|&(id, view, at)| {
                    let arrives = at <= step;
                    if arrives {
                        simulation.sequences.push((id, view));
                    }
                    !arrives
                });
                left -= simulation.step().len();
                if left == 0 {
                    break;
                }
            }
            prop_assert_eq!(left, 0);
            prop_assert_eq!(simulation.free(), total);
        }
    }
}
