//! What times and memory have to keep to. Where this machine is slower than the one that the figures are meant for, a
//! bound is wider than what is promised, and says so.

use std::fmt;
use std::time::Duration;

use super::percentiles::Percentiles;

/// The most that something may be, and what it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    what: &'static str,
    unit: &'static str,
    most: f64,
    found: f64,
}

impl Bound {
    fn time(what: &'static str, most: Duration, found: Duration) -> Self {
        let [most, found] = [most, found].map(|time| time.as_secs_f64() * 1e3);
        Bound {
            what,
            unit: "ms",
            most,
            found,
        }
    }

    fn is_kept(&self) -> bool {
        self.found <= self.most
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bound {
            what,
            unit,
            most,
            found,
        } = self;
        let verdict = if self.is_kept() { "reached" } else { "MISSED" };
        write!(f, "{what} {found:.1} {unit}, at most {most:.1}: {verdict}")
    }
}

/// The bounds that were not kept.
pub(super) fn missed(bounds: &[Bound]) -> Vec<String> {
    let missed = bounds.iter().filter(|bound| !bound.is_kept());
    missed.map(Bound::to_string).collect()
}

/// What a deep queue was measured to take.
#[derive(Debug, Clone)]
pub(super) struct Deep {
    pub submit: Percentiles,
    /// Of the disk, without a daemon.
    pub sync: Percentiles,
    pub base_mib: u64,
    pub resident_mib: u64,
    pub start: Duration,
    pub start_after_kill: Duration,
    /// All jobs, and submits beside that.
    pub cancelled: Duration,
    pub beside_cancels: Percentiles,
}

/// R15. A disk that syncs slowly makes every submit slow.
pub(super) fn deep(found: &Deep) -> Vec<Bound> {
    let least = |ms| Duration::from_millis(ms).max(4 * found.sync.half);
    let start = Duration::from_secs(3);
    vec![
        Bound::time("half of the submits", least(1), found.submit.half),
        Bound::time("99 % of the submits", least(10), found.submit.most),
        Bound {
            what: "memory",
            unit: "MiB",
            most: (found.base_mib + 150) as f64,
            found: found.resident_mib as f64,
        },
        Bound::time("a start", start, found.start),
        Bound::time("a start after a kill", start, found.start_after_kill),
        Bound::time("all cancels", Duration::from_secs(60), found.cancelled),
        Bound::time(
            "99 % of the submits beside cancels",
            least(50),
            found.beside_cancels.most,
        ),
    ]
}

/// R1: until a daemon serves with what a killed one has left.
pub(super) fn restarted(took: &Percentiles) -> Vec<Bound> {
    let most = Duration::from_millis(500);
    vec![Bound::time("99 % of the starts", most, took.most)]
}

/// R16: how long beyond `drain_timeout_s`.
pub(super) fn drained(over: Duration) -> Vec<Bound> {
    vec![Bound::time(
        "the end after the drain",
        Duration::from_secs(2),
        over,
    )]
}

/// R17: one token, or this.
pub(super) fn stopped(took: &Percentiles) -> Vec<Bound> {
    let most = Duration::from_millis(200);
    vec![Bound::time("99 % of the stops", most, took.most)]
}

/// R22: of a processor, and until clients are let in again.
pub(super) fn waited(busy: f64, recovery: Duration) -> Vec<Bound> {
    vec![
        Bound {
            what: "a processor while nobody can be let in",
            unit: "%",
            most: 5.0,
            found: busy * 100.0,
        },
        Bound::time(
            "the first answer afterwards",
            Duration::from_secs(1),
            recovery,
        ),
    ]
}

/// R30: promised is twice as long.
pub(super) fn beside_backup(without: &Percentiles, with: &Percentiles) -> Vec<Bound> {
    let most = (4 * without.most).max(without.most + Duration::from_millis(10));
    vec![Bound::time(
        "99 % of the submits beside a backup",
        most,
        with.most,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(half: u32, most: u32) -> Percentiles {
        Percentiles {
            half: half * MS,
            most: most * MS,
        }
    }

    fn good() -> Deep {
        Deep {
            submit: times(1, 10),
            sync: times(0, 5),
            base_mib: 20,
            resident_mib: 170,
            start: 3_000 * MS,
            start_after_kill: 3_000 * MS,
            cancelled: 60_000 * MS,
            beside_cancels: times(9, 50),
        }
    }

    #[test]
    fn every_bound_of_a_deep_queue_is_missed_by_one_bad_value() {
        assert_eq!(missed(&deep(&good())), Vec::<String>::new());
        type Break = fn(&mut Deep);
        let bad: [(&str, Break); 7] = [
            ("half of the submits", |deep| deep.submit.half = 2 * MS),
            ("99 % of the submits", |deep| deep.submit.most = 11 * MS),
            ("memory", |deep| deep.resident_mib = 171),
            ("a start 3001", |deep| deep.start = 3_001 * MS),
            ("a start after a kill", |deep| {
                deep.start_after_kill = 3_001 * MS
            }),
            ("all cancels", |deep| deep.cancelled = 60_001 * MS),
            ("99 % of the submits beside cancels", |deep| {
                deep.beside_cancels.most = 51 * MS
            }),
        ];
        for (what, break_it) in bad {
            let mut found = good();
            break_it(&mut found);
            let missed = missed(&deep(&found));
            assert!(
                missed.len() == 1 && missed[0].starts_with(what),
                "{missed:?}"
            );
        }
        // A slow disk widens both bounds of submits, and no other.
        let slow = Deep {
            submit: times(20, 20),
            sync: times(5, 9),
            ..good()
        };
        assert_eq!(missed(&deep(&slow)), Vec::<String>::new());
    }

    #[test]
    fn the_other_bounds_are_missed_just_beyond() {
        let cases = [
            (drained(2_000 * MS), drained(2_001 * MS)),
            (restarted(&times(9, 500)), restarted(&times(9, 501))),
            (stopped(&times(9, 200)), stopped(&times(9, 201))),
            (waited(0.05, 1_000 * MS), waited(0.06, 1_000 * MS)),
            (waited(0.05, 1_000 * MS), waited(0.05, 1_001 * MS)),
            (
                beside_backup(&times(1, 2), &times(1, 12)),
                beside_backup(&times(1, 2), &times(1, 13)),
            ),
            (
                beside_backup(&times(1, 10), &times(1, 40)),
                beside_backup(&times(1, 10), &times(1, 41)),
            ),
        ];
        for (kept, beyond) in cases {
            assert_eq!(missed(&kept), Vec::<String>::new());
            assert_eq!(missed(&beyond).len(), 1, "{beyond:?}");
        }
    }
}
