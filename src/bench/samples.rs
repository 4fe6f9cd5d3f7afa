//! Repeated measurements, and what is said of them.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The middle of several measurements, and how far they went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of an even number of values the median is the mean of the two in the middle; of none, all is zero.
    pub(super) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let half = sorted.len() / 2;
        let median = match sorted.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => at(half),
            _ => f64::midpoint(at(half - 1), at(half)),
        };
        Spread {
            median,
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }

    /// Gigabytes per second where the values were the seconds that `bytes` took.
    pub(super) fn gigabytes_per_second(seconds: &[f64], bytes: usize) -> Spread {
        let speeds: Vec<f64> = seconds
            .iter()
            .map(|seconds| bytes as f64 / 1e9 / seconds)
            .collect();
        Spread::of(&speeds)
    }
}

/// Something and its yardstick, measured in turns: seconds, lower is better.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turns {
    pub(super) ours: Vec<f64>,
    pub(super) yardstick: Vec<f64>,
}

impl Turns {
    /// Runs both `count` times, one after the other; each says how many seconds it took.
    pub(super) fn take<E>(
        count: usize,
        mut ours: impl FnMut() -> Result<f64, E>,
        mut yardstick: impl FnMut() -> Result<f64, E>,
    ) -> Result<Turns, E> {
        let mut turns = Turns {
            ours: vec![],
            yardstick: vec![],
        };
        for _ in 0..count {
            turns.ours.push(ours()?);
            turns.yardstick.push(yardstick()?);
        }
        Ok(turns)
    }

    /// How many times as long as the yardstick in the same turn.
    pub(super) fn ratio(&self) -> Spread {
        let turns = self.ours.iter().zip(&self.yardstick);
        let ratios: Vec<f64> = turns.map(|(ours, yardstick)| ours / yardstick).collect();
        Spread::of(&ratios)
    }
}

/// What `work` gives, and the seconds it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}

/// The same in seconds that this thread was running: what one core needs, whoever else wants it meanwhile.
pub(super) fn timed_on_core<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = seconds_of(ClockId::ThreadCPUTime);
    let result = work();
    (result, seconds_of(ClockId::ThreadCPUTime) - start)
}

/// Seconds that all threads of this process have been running so far.
pub(super) fn core_seconds() -> f64 {
    seconds_of(ClockId::ProcessCPUTime)
}

fn seconds_of(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64, min: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn the_median_is_in_the_middle_of_the_sorted_values() {
        assert_eq!(Spread::of(&[9.0, 1.0, 4.0]), spread(4.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[9.0, 1.0, 4.0, 6.0]), spread(5.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[7.0]), spread(7.0, 7.0, 7.0));
        assert_eq!(Spread::of(&[]), spread(0.0, 0.0, 0.0));
    }

    #[test]
    fn ratios_are_those_of_one_turn() {
        // The machine became twice as slow; the ratio did not change.
        let turns = Turns {
            ours: vec![3.0, 6.0, 3.0],
            yardstick: vec![2.0, 4.0, 1.5],
        };
        assert_eq!(turns.ratio(), spread(1.5, 1.5, 2.0));
        let speed = Spread::gigabytes_per_second(&turns.ours, 6_000_000_000);
        assert_eq!(speed, spread(2.0, 1.0, 2.0));
    }

    #[test]
    fn turns_alternate_and_end_with_the_first_failure() {
        let order = std::cell::RefCell::new(String::new());
        let one = |name| order.borrow_mut().push(name);
        let ours = || {
            one('a');
            Ok(1.0)
        };
        let yardstick = || {
            one('b');
            if order.borrow().len() == 4 {
                Err("full")
            } else {
                Ok(2.0)
            }
        };
        assert_eq!(Turns::take(3, ours, yardstick), Err("full"));
        assert_eq!(*order.borrow(), "abab");
    }
}
