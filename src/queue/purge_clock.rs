//! When the writer looks for jobs and files whose time is over: pure.
//!
//! Ages are told by the clock of the day, because they go on over restarts. How often to look follows a clock that
//! nobody sets; and where the two part, nothing is deleted for a while, because a clock that was set wrong is set right
//! again, and what it has deleted by then is gone.

use std::time::{Duration, Instant};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);
const EVERY_MS: i64 = EVERY.as_millis() as i64;
/// Nothing is deleted for as long as the clock has jumped, but no longer than this.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3_600);

pub(super) struct PurgeClock {
    /// Not before.
    next: Instant,
    /// When the time of the oldest is over, in Unix milliseconds; `i64::MAX` when nothing is left that could be deleted.
    due_ms: i64,
    /// Wakes the writer: when both have come, as far as the clock of the day is known.
    alarm_ms: i64,
    /// The last time that both clocks were looked at.
    seen: (Instant, i64),
}

impl PurgeClock {
    pub(super) fn new(now: Instant, now_ms: i64) -> Self {
        PurgeClock {
            next: now,
            due_ms: i64::MAX,
            alarm_ms: i64::MAX,
            seen: (now, now_ms),
        }
    }

    /// Whether to look now. If not, the alarm is later than now, whatever the clock of the day did: else it would ring
    /// again at once, for as long as nothing is deleted.
    pub(super) fn is_due(&mut self, now: Instant, now_ms: i64) -> bool {
        let (then, then_ms) = self.seen;
        self.seen = (now, now_ms);
        let passed = i64::try_from(now.duration_since(then).as_millis()).unwrap_or(i64::MAX);
        let jump_ms = now_ms.saturating_sub(then_ms).saturating_sub(passed);
        if jump_ms > EVERY_MS {
            let hold = Duration::from_millis(jump_ms.unsigned_abs()).min(LONGEST_HOLD);
            tracing::warn!(
                "the clock has jumped by {} s: nothing is deleted for {} s",
                jump_ms / 1_000,
                hold.as_secs()
            );
            self.next = self.next.max(now + hold);
        }
        self.set_alarm(now, now_ms);
        now >= self.next
    }

    /// After a look that may have left `more`, and otherwise found that the next time is over at `next_ms`.
    pub(super) fn looked(&mut self, now: Instant, now_ms: i64, more: bool, next_ms: Option<i64>) {
        self.next = match more {
            true => now,
            false => now + EVERY,
        };
        self.due_ms = match more {
            true => now_ms,
            false => next_ms.unwrap_or(i64::MAX),
        };
        self.set_alarm(now, now_ms);
    }

    /// A look that was due could not be taken: the next one is after `pause`.
    pub(super) fn put_off(&mut self, now: Instant, now_ms: i64, pause: Duration) {
        self.next = self.next.max(now + pause);
        self.due_ms = self.due_ms.min(now_ms);
        self.set_alarm(now, now_ms);
    }

    /// Something changed that may leave a job or a file to delete.
    pub(super) fn something_ended(&mut self, now_ms: i64) {
        if self.due_ms == i64::MAX {
            self.due_ms = now_ms.saturating_add(EVERY_MS);
            self.alarm_ms = self.due_ms;
        }
    }

    pub(super) fn alarm_ms(&self) -> i64 {
        self.alarm_ms
    }

    fn set_alarm(&mut self, now: Instant, now_ms: i64) {
        let left = self.next.saturating_duration_since(now);
        // Rounded up: a millisecond too early is before.
        let left_ms = i64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(i64::MAX);
        self.alarm_ms = self.due_ms.max(now_ms.saturating_add(left_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_once_a_minute_and_when_the_oldest_has_had_its_time() {
        let began = Instant::now();
        let at = |s: u64| (began + Duration::from_secs(s), 1_000_000 + s as i64 * 1_000);
        let mut clock = PurgeClock::new(began, 1_000_000);
        let is_due = |clock: &mut PurgeClock, s| {
            let (now, now_ms) = at(s);
            clock.is_due(now, now_ms)
        };
        assert!(is_due(&mut clock, 0));
        clock.looked(began, 1_000_000, true, Some(2_000_000));
        assert!(is_due(&mut clock, 0), "there is more");
        assert_eq!(clock.alarm_ms(), 1_000_000);
        clock.looked(began, 1_000_000, false, Some(2_000_000));
        assert_eq!(clock.alarm_ms(), 2_000_000);
        assert!(!is_due(&mut clock, 59));
        assert!(is_due(&mut clock, 60));
        // Something keeps the oldest: no look at every moment.
        clock.looked(at(60).0, at(60).1, false, Some(0));
        assert_eq!(clock.alarm_ms(), at(120).1);
        clock.looked(at(60).0, at(60).1, false, None);
        assert_eq!(clock.alarm_ms(), i64::MAX);
        clock.something_ended(at(70).1);
        clock.something_ended(at(80).1);
        assert_eq!(clock.alarm_ms(), at(130).1);
        // A look that a full disk refuses is not due again at once.
        clock.put_off(at(130).0, at(130).1, Duration::from_secs(1));
        assert!(!is_due(&mut clock, 130));
        assert_eq!(clock.alarm_ms(), at(131).1);
        assert!(is_due(&mut clock, 131));
    }

    #[test]
    fn an_alarm_for_what_is_not_due_is_never_over() {
        let began = Instant::now();
        let later = |ms: u64| began + Duration::from_millis(ms);
        let mut clock = PurgeClock::new(began, 0);
        clock.looked(began, 0, false, Some(90_000));
        assert_eq!(clock.alarm_ms(), 90_000);
        // Half a minute; then a night in which the machine slept; and back again.
        for (passed, now_ms) in [(1_000, 31_000), (2_000, 28_800_000), (3_000, 5_000)] {
            assert!(!clock.is_due(later(passed), now_ms));
            assert!(clock.alarm_ms() > now_ms, "{now_ms}: {}", clock.alarm_ms());
        }
        // The hold goes on, for as long as the clock had jumped, by the clock of the day as it is now.
        let hold_ms = clock.alarm_ms() - 5_000;
        assert!((28_000_000..28_800_000).contains(&hold_ms), "{hold_ms}");
    }

    #[test]
    fn a_clock_that_jumps_deletes_nothing_for_a_while() {
        let began = Instant::now();
        let later = |s: u64| began + Duration::from_secs(s);
        let ten_years_ms = 3_652 * 24 * 3_600_000;
        let mut clock = PurgeClock::new(began, 0);
        clock.looked(began, 0, false, None);
        assert!(!clock.is_due(later(60), ten_years_ms + 60_000));
        // It was set right again, and that is no reason to hurry either.
        assert!(!clock.is_due(later(61), 61_000));
        assert!(!clock.is_due(later(24 * 3_600), 24 * 3_600_000));
        assert!(clock.is_due(later(24 * 3_600 + 60), 24 * 3_600_000 + 60_000));
    }
}
