//! R23: the thread of the store panics, before or behind a commit. Nobody is told anything that is not so, and the
//! next daemon has all that was told. (Panics of workers: `engine_failures`; of requests: `daemon::dispatch`.)

use woolly::job::JobId;
use woolly::queue::{Blame, Change, Error, Filter, JobStore, Queue, SqliteStore};

use crate::support::block_on::block_on;
use crate::support::queue::{detached, keyed, queue_config};
use crate::support::queue_double::Double;
use crate::torture::pick;

use super::figure::Figure;

const JOBS: usize = 12;

/// A store whose `apply` panics once, after `left` calls; `behind` the commit, when nobody has heard of it yet, or before.
fn panicking(store: SqliteStore, mut left: usize, behind: bool) -> Box<dyn JobStore> {
    let apply = move |store: &mut SqliteStore, group: &[Change], now_ms: i64| {
        let due = left == 0;
        left = left.saturating_sub(1);
        assert!(!due || behind, "on purpose, before a commit");
        let applied = store.apply(group, now_ms);
        assert!(!due, "on purpose, behind a commit");
        applied
    };
    Box::new(Double { store, apply })
}

#[test]
fn r23_the_thread_of_the_store_panics() {
    let mut figure = Figure::new("R23", "panics of the store's thread");
    let config = queue_config(100, 3_600);
    let trials = pick(8, 24, 24);
    for trial in 0..trials {
        let root = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(root.path()).unwrap();
        // The first is the look for old jobs at open.
        let store = panicking(store, 1 + trial / 2, trial % 2 == 1);
        let queue = Queue::over(store, root.path(), &config, Blame::RunningJobs).unwrap();
        let failed = queue.failed();
        let job = |number: usize| {
            let name = number.to_string();
            keyed(detached(&name), &name)
        };
        let told: Vec<Option<JobId>> = (0..JOBS)
            .map(|number| block_on(queue.submit(job(number))).ok())
            .map(|submitted| submitted.map(|submitted| submitted.job.id))
            .collect();
        let accepted = told.iter().flatten().count();
        if accepted != trial / 2 || told[..accepted].contains(&None) {
            figure.faults.wrong.push(format!("trial {trial}: {told:?}"));
        }
        queue.close();
        // What ends the daemon with 74.
        if !matches!(failed.try_recv(), Ok(Error::Store { .. })) {
            figure
                .faults
                .wrong
                .push(format!("trial {trial}: no failure is told"));
        }
        drop(queue);

        let queue = Queue::open(root.path(), &config).unwrap();
        let mut rest = 0;
        for (number, told) in told.iter().enumerate() {
            let submitted = block_on(queue.submit(job(number))).unwrap();
            rest += usize::from(told.is_none());
            if told.is_some_and(|told| told != submitted.job.id || !submitted.existed) {
                figure
                    .faults
                    .lost
                    .push(format!("trial {trial}: job {number}"));
            }
        }
        let everything = Filter {
            limit: 99,
            ..Filter::default()
        };
        let rows = block_on(queue.list(everything)).unwrap();
        if rows.len() != JOBS {
            figure
                .faults
                .doubled
                .push(format!("trial {trial}: {} rows", rows.len()));
        }
        figure.trials += 1;
        figure.accepted += accepted + rest;
    }
    figure.finish(trials, JOBS * trials);
}
