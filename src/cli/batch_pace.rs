//! How fast `woollyctl batch run` gets on, and when it will be done.
//!
//! Rates are those of the last while: a run of hours that slows down should say so within a minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::HumanDuration;

/// What "the last while" is. Shorter, and a worker's long answer makes the estimate jump.
const WHILE: Duration = Duration::from_secs(60);
/// Between two marks; so many lie in a while that one more or less changes nothing.
const STEP: Duration = Duration::from_millis(500);

/// Sums since the start at one moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    lines: u64,
    tokens: u64,
}

/// The lines that were computed while this run waited for them.
#[derive(Debug)]
pub(super) struct Pace {
    /// The oldest is the last one that lies a while back.
    marks: VecDeque<Mark>,
    now: Mark,
}

/// Rates of the last while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub(super) tokens_per_second: f64,
    pub(super) lines_per_second: f64,
}

impl Pace {
    pub(super) fn start(at: Instant) -> Self {
        let now = Mark {
            at,
            lines: 0,
            tokens: 0,
        };
        Pace {
            marks: VecDeque::from([now]),
            now,
        }
    }

    /// One more line with this many generated tokens.
    pub(super) fn add(&mut self, at: Instant, tokens: u64) {
        self.now = Mark {
            at,
            lines: self.now.lines + 1,
            tokens: self.now.tokens + tokens,
        };
        if self
            .marks
            .back()
            .is_none_or(|last| at.duration_since(last.at) >= STEP)
        {
            self.marks.push_back(self.now);
        }
        while self
            .marks
            .get(1)
            .is_some_and(|second| at.duration_since(second.at) >= WHILE)
        {
            self.marks.pop_front();
        }
    }

    /// `None` before the first line.
    pub(super) fn rates(&self) -> Option<Rates> {
        let first = self.marks.front().filter(|_| self.now.lines > 0)?;
        let seconds = self.now.at.duration_since(first.at).as_secs_f64().max(1e-3);
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Some(Rates {
            tokens_per_second: per_second(self.now.tokens, first.tokens),
            lines_per_second: per_second(self.now.lines, first.lines),
        })
    }
}

/// What stands behind the count of lines: rate, failures, time left.
pub(super) fn note(rates: Option<Rates>, failed: u64, lines_left: u64) -> String {
    let mut parts = Vec::new();
    if let Some(rates) = rates {
        parts.push(format!("{:.1} tokens/s", rates.tokens_per_second));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if let Some(rates) = rates.filter(|rates| rates.lines_per_second > 0.0 && lines_left > 0) {
        let seconds = lines_left as f64 / rates.lines_per_second;
        // Beyond what a duration can hold nobody waits.
        if let Ok(left) = Duration::try_from_secs_f64(seconds) {
            parts.push(format!("{} left", HumanDuration(left)));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `tokens` tokens every `every` seconds, from the moment `from` to the moment `to`.
    fn work(pace: &mut Pace, start: Instant, from: u64, to: u64, every: u64, tokens: u64) {
        let moments = (from..to).step_by(every as usize);
        moments.for_each(|at| pace.add(start + Duration::from_secs(at + every), tokens));
    }

    #[test]
    fn rates_are_those_of_the_last_while() {
        let start = Instant::now();
        let mut pace = Pace::start(start);
        assert_eq!(pace.rates(), None);
        work(&mut pace, start, 0, 30, 2, 10);
        let rates = |tokens_per_second, lines_per_second| Rates {
            tokens_per_second,
            lines_per_second,
        };
        assert_eq!(pace.rates(), Some(rates(5.0, 0.5)));
        work(&mut pace, start, 30, 300, 10, 10);
        assert_eq!(pace.rates(), Some(rates(1.0, 0.1)));
        assert!(pace.marks.len() < 20, "{}", pace.marks.len());
    }

    #[test]
    fn many_lines_a_second_do_not_fill_memory() {
        let start = Instant::now();
        let mut pace = Pace::start(start);
        for millisecond in 1..=200_000 {
            pace.add(start + Duration::from_millis(millisecond), 1);
        }
        let rates = pace.rates().unwrap();
        assert!((rates.lines_per_second - 1000.0).abs() < 1e-6, "{rates:?}");
        assert!(pace.marks.len() <= 122, "{}", pace.marks.len());
    }

    #[test]
    fn the_note_tells_rate_failures_and_time_left() {
        let rates = Rates {
            tokens_per_second: 5.04,
            lines_per_second: 0.5,
        };
        assert_eq!(
            note(Some(rates), 2, 60),
            "5.0 tokens/s, 2 failed, 2 minutes left"
        );
        assert_eq!(note(Some(rates), 0, 0), "5.0 tokens/s");
        assert_eq!(note(None, 0, 60), "");
        let never = Rates {
            lines_per_second: 0.0,
            ..rates
        };
        assert_eq!(note(Some(never), 0, 60), "5.0 tokens/s");
    }
}
