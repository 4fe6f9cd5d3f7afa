//! R28: random sequences of changes, with crashes between them, on the SQLite store and on the oracle in memory.
//! R18: the same while the clock jumps; and a queue without times does not even notice.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use woolly::job::JobId;
use woolly::queue::batch::BatchId;
use woolly::queue::{
    Applied, BatchChange, Change, Completion, Error, Filter, JobReader, JobStore, NewJob, Page,
    Times,
};

use crate::support::conformance::{Disk, SqliteDisk};
use crate::support::queue_oracle::Oracle;
use crate::torture::pick;

use super::figure::Figure;
use super::random_changes::{Group, group};
use super::seed;

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 3_652 * 24 * HOUR_MS;
/// Of a clock that nobody sets, between two groups of changes.
const STEP_MS: i64 = 500;

#[test]
fn r28_sqlite_agrees_with_the_oracle() {
    let groups = prop::collection::vec((Just(STEP_MS), group()), 1..most_groups());
    agreement("R28", "random changes, against the oracle", groups);
}

#[test]
fn r18_a_clock_that_jumps_against_the_oracle() {
    let groups = prop::collection::vec((jump(), group()), 1..most_groups());
    agreement("R18", "the same while the clock jumps", groups);
}

#[test]
fn r18_without_times_a_clock_that_jumps_changes_nothing() {
    let mut figure = Figure::new("R18", "a jumping clock, against a steady one");
    let cases = pick(48, 400, 4_000);
    let timeless = group().prop_map(|group| group.into_iter().filter_map(timeless).collect());
    let groups = prop::collection::vec((jump(), timeless), 1..most_groups());
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
    figure.finish(cases, 0);
}

/// Groups of a case, of three changes each: twenty changes, fifty in the long form.
fn most_groups() -> usize {
    pick(14, 14, 34)
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
                let batches = batches(&mut *reader);
                seen.push((applied, rows, all, reader.counts(), transcripts, batches));
            });
            seen
        });
        prop_assert_eq!(sqlite, oracle);
        Ok(())
    });
    figure.finish(cases, 0);
}

/// Everything that a reader tells of files and batches.
fn batches(reader: &mut dyn JobReader) -> impl PartialEq + std::fmt::Debug + use<> {
    let page = Page {
        before: None,
        uid: None,
        limit: 99,
    };
    let mut names = reader.stored_names().unwrap();
    names.sort_unstable();
    let lines: Vec<_> = (1..6).map(|id| reader.lines(BatchId(id), 0, 99)).collect();
    (
        reader.files(page, None, 2_000),
        reader.files(page, Some("other"), i64::MIN),
        reader.batches(page),
        reader.open_batches(),
        reader.undelivered(),
        names,
        lines,
    )
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
    // Not the system's randomness: the seed is all that is needed to see a fault again.
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    if let Err(problem) = TestRunner::new_with_rng(config, rng).run(&groups, test) {
        panic!("WOOLLY_TORTURE_SEED={}: {problem}", seed());
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

fn untimed(job: NewJob) -> NewJob {
    NewJob {
        times: Times::default(),
        refuse_late: false,
        ..job
    }
}

/// The change without anything that a user or a rule measures in time; `None` if it is nothing else.
fn timeless(change: Option<Change>) -> Option<Option<Change>> {
    match change {
        Some(Change::Submit { job, admission }) => {
            let job = untimed(job);
            Some(Some(Change::Submit { job, admission }))
        }
        Some(Change::FindSubmitted(job)) => Some(Some(Change::FindSubmitted(untimed(job)))),
        Some(Change::Batch(BatchChange::Expand {
            id,
            from,
            mut lines,
        })) => {
            for line in &mut lines {
                line.job.times = Times::default();
            }
            Some(Some(Change::Batch(BatchChange::Expand { id, from, lines })))
        }
        Some(Change::Purge { .. }) => None,
        Some(Change::Finish {
            completion: Completion::Faulted { .. },
            ..
        }) => None,
        other => Some(other),
    }
}
