//! R28: random sequences of changes, with crashes between them, on the SQLite store and on the oracle in memory.
//! R18: the same while the clock jumps; and a queue without times does not even notice.

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use woolly::job::{JobId, Usage};
use woolly::queue::pace::Pace;
use woolly::queue::{
    Admission, Applied, Change, Completion, Error, Filter, Flow, JobStore, Limits, NewJob, Part,
    Retention, Times,
};

use crate::support::conformance::{Disk, SqliteDisk};
use crate::support::queue::{detached, failed};
use crate::support::queue_oracle::Oracle;
use crate::torture::pick;

use super::figure::Figure;

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_652 * 24 * HOUR_MS;
/// Of a clock that nobody sets, between two groups of changes.
const STEP_MS: i64 = 500;

/// Changes that meet the store together; `None` is a crash behind them.
type Group = Vec<Option<Change>>;

#[test]
fn r28_sqlite_agrees_with_the_oracle() {
    let groups = prop::collection::vec((Just(STEP_MS), group()), 1..14);
    agreement("R28", "random changes, against the oracle", groups);
}

#[test]
fn r18_a_clock_that_jumps_against_the_oracle() {
    let groups = prop::collection::vec((jump(), group()), 1..14);
    agreement("R18", "the same while the clock jumps", groups);
}

#[test]
fn r18_without_times_a_clock_that_jumps_changes_nothing() {
    let mut figure = Figure::new("R18", "a jumping clock, against a steady one");
    let cases = pick(48, 400, 4_000);
    let timeless = group().prop_map(|group| group.into_iter().filter_map(timeless).collect());
    let groups = prop::collection::vec((jump(), timeless), 1..14);
    figure.trials = run(cases, groups, |groups: Vec<(i64, Group)>| {
        let steady = groups.iter().map(|(_, group)| (STEP_MS, group.clone()));
        let [jumping, steady] = [groups.clone(), steady.collect()].map(|groups| {
            let disk = SqliteDisk::new();
            let mut rows = Vec::new();
            live(&disk, groups, |store, _| {
                let mut reader = store.reader().unwrap();
                let row = |id| {
                    let row = reader.get(JobId(id)).ok()?;
                    Some((row.state, row.attempts, row.position, row.result, row.error))
                };
                rows.push((1..40).map(row).collect::<Vec<_>>());
            });
            rows
        });
        prop_assert_eq!(jumping, steady);
        Ok(())
    });
    figure.finish(cases);
}

/// Every group gives the same answers and leaves the same rows in both stores.
fn agreement(
    id: &'static str,
    what: &'static str,
    groups: impl Strategy<Value = Vec<(i64, Group)>>,
) {
    let mut figure = Figure::new(id, what);
    let cases = pick(64, 500, 10_000);
    figure.trials = run(cases, groups, |groups| {
        let (sqlite, oracle) = (SqliteDisk::new(), Oracle::default());
        let [sqlite, oracle] = [&sqlite as &dyn Disk, &oracle].map(|disk| {
            let mut seen = Vec::new();
            live(disk, groups.clone(), |store, applied| {
                let mut reader = store.reader().unwrap();
                let rows: Vec<_> = (1..40).map(|id| reader.get(JobId(id))).collect();
                let all = reader.list(&Filter {
                    limit: 99,
                    ..Filter::default()
                });
                let transcripts = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    .map(|(fingerprint, uid)| reader.transcript(&[fingerprint; 32], uid));
                seen.push((applied, rows, all, reader.counts(), transcripts));
            });
            seen
        });
        prop_assert_eq!(sqlite, oracle);
        Ok(())
    });
    figure.finish(cases);
}

fn run<T: std::fmt::Debug>(
    cases: usize,
    groups: impl Strategy<Value = T>,
    test: impl Fn(T) -> Result<(), TestCaseError>,
) -> usize {
    let config = ProptestConfig {
        cases: cases as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if let Err(problem) = TestRunner::new(config).run(&groups, test) {
        panic!("{problem}");
    }
    cases
}

type Answers = Result<Vec<Result<Applied, Error>>, Error>;

/// The groups one after the other, each so many milliseconds after the one before.
fn live(disk: &dyn Disk, groups: Vec<(i64, Group)>, mut see: impl FnMut(&dyn JobStore, Answers)) {
    let mut store = disk.open();
    let mut now_ms = -STEP_MS;
    for (step_ms, group) in groups {
        now_ms += step_ms;
        let crash = group.contains(&None);
        let group: Vec<Change> = group.into_iter().flatten().collect();
        let answers = store.apply(&group, now_ms);
        if crash {
            drop(store);
            store = disk.open();
        }
        see(&*store, answers);
    }
}

fn group() -> impl Strategy<Value = Group> {
    prop::collection::vec(change(), 1..6)
}

/// Mostly a step; now and then an hour or ten years, in either direction, which leads far before 1970.
fn jump() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(STEP_MS),
        1 => Just(HOUR_MS),
        1 => Just(-HOUR_MS),
        1 => Just(TEN_YEARS_MS),
        1 => Just(-TEN_YEARS_MS),
    ]
}

/// The change without anything that a user or a rule measures in time; `None` if it is nothing else.
fn timeless(change: Option<Change>) -> Option<Option<Change>> {
    match change {
        Some(Change::Submit { job, admission }) => {
            let job = NewJob {
                times: Times::default(),
                refuse_late: false,
                ..job
            };
            Some(Some(Change::Submit { job, admission }))
        }
        Some(Change::Purge { .. }) => None,
        Some(Change::Finish {
            completion: Completion::Faulted { .. },
            ..
        }) => None,
        other => Some(other),
    }
}

/// Limits that are reached now and then.
fn random_admission() -> impl Strategy<Value = Admission> {
    let pace = (0..3_000_u32, 1..4_u32).prop_map(|(run_ms, at_once)| Pace {
        run_ms: f64::from(run_ms),
        at_once: f64::from(at_once),
    });
    (
        2..9_u64,
        prop::option::of(10..90_u64),
        prop::option::of(1..6_u64),
        prop::option::of(10..60_u64),
        prop::option::of(pace),
    )
        .prop_map(
            |(max_jobs, max_bytes, max_jobs_per_user, max_bytes_per_user, pace)| {
                let limits = Limits {
                    max_jobs,
                    max_bytes,
                    max_jobs_per_user,
                    max_bytes_per_user,
                };
                Admission { limits, pace }
            },
        )
}

/// A change with small numbers, so that random ones meet; `None` is a crash.
fn change() -> impl Strategy<Value = Option<Change>> {
    let id = || (1..12_i64).prop_map(JobId);
    let submit = (
        0..2_u8,
        -1..2_i32,
        prop::option::of(0..3_u8),
        0..2_u32,
        any::<bool>(),
        random_admission(),
        prop::option::of(0..6_000_i64),
        prop::option::of(0..6_000_i64),
        any::<bool>(),
    )
        .prop_map(
            |(
                body,
                priority,
                key,
                uid,
                attached,
                admission,
                not_before_ms,
                deadline_ms,
                refuse_late,
            )| {
                Change::Submit {
                    job: NewJob {
                        priority,
                        idempotency_key: key.map(|key| key.to_string()),
                        uid,
                        attached,
                        times: Times {
                            not_before_ms,
                            deadline_ms,
                        },
                        refuse_late,
                        ..detached(&body.to_string())
                    },
                    admission,
                }
            },
        );
    let part = (0..3_u32, 0..2_u8, 0..9_u8).prop_map(|(number, fingerprint, body)| Part {
        number,
        fingerprint: [fingerprint; 32],
        body: vec![body],
    });
    let checkpoint = (id(), part.clone()).prop_map(|(id, part)| Change::Checkpoint { id, part });
    let first = part.prop_map(|part| Part { number: 0, ..part });
    let finish =
        (id(), 0..3_u8, prop::option::of(first)).prop_map(|(id, kind, keep)| Change::Finish {
            id,
            completion: match kind {
                0 => Completion::Completed {
                    result: b"yes".to_vec(),
                    usage: Usage::new(5, 7),
                    keep,
                },
                1 => failed("no"),
                _ => Completion::Faulted {
                    error: "fault".to_owned(),
                },
            },
        });
    let purge =
        (0..60_i64, 0..60_i64).prop_map(|(detached_before_ms, attached_before_ms)| Change::Purge {
            retention: Retention {
                detached_before_ms,
                attached_before_ms,
            },
            limit: 100,
        });
    prop_oneof![
        6 => submit.prop_map(Some),
        5 => Just(Some(Change::Claim)),
        1 => prop_oneof![8 => Just(Flow::Open), 1 => Just(Flow::Paused), 1 => Just(Flow::Draining)]
            .prop_map(|flow| Some(Change::SetFlow(flow))),
        2 => (1..4_usize).prop_map(|limit| Some(Change::Wake { limit })),
        4 => finish.prop_map(Some),
        4 => checkpoint.prop_map(Some),
        2 => prop::collection::vec(id(), 0..3).prop_map(|ids| Some(Change::Requeue(ids))),
        2 => id().prop_map(|id| Some(Change::Cancel(id))),
        2 => id().prop_map(|id| Some(Change::Delivered(id))),
        1 => purge.prop_map(Some),
        1 => Just(None),
    ]
}
