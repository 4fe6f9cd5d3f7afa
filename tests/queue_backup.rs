//! A copy of the queue: what runs waits in it, and a queue that closes does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use woolly::job::State;
use woolly::queue::backup::DATABASE;
use woolly::queue::{Blame, Change, Error, JobStore, Queue, SqliteStore};

use crate::support::queue::{Single, admission, detached, queue_config};

/// Enough for a copy that takes a while.
const JOBS: usize = 3_000;

fn store(directory: &std::path::Path) -> SqliteStore {
    let mut store = SqliteStore::open(directory).unwrap();
    store.recover(0, Blame::Nobody, 3).unwrap();
    store
}

#[test]
fn what_runs_waits_in_the_copy() {
    let root = tempfile::tempdir().unwrap();
    let mut store = store(&root.path().join("state"));
    let id = store.accept(detached("a"));
    assert_eq!(store.claim(0).unwrap().id, id);
    let copy = root.path().join("copy");
    drop(self::store(&copy));
    std::fs::remove_file(copy.join(DATABASE)).unwrap();
    let mut reader = store.reader().unwrap();
    reader
        .copy_to(&copy.join(DATABASE), &Arc::default(), &mut |_| true)
        .unwrap();
    assert_eq!(reader.get(id).unwrap().state, State::Running);
    assert_eq!(woolly::queue::check(&copy).unwrap(), [""; 0]);
    let copied = SqliteStore::open(&copy).unwrap();
    let row = copied.reader().unwrap().get(id).unwrap();
    assert_eq!(
        (row.state, row.attempts, row.started_at_ms),
        (State::Queued, 0, None)
    );
}

#[test]
fn a_copy_breaks_off_when_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    let mut store = store(&root.path().join("state"));
    let submit = |number: usize| Change::Submit {
        job: detached(&number.to_string()),
        admission: admission(JOBS as u64),
    };
    let jobs: Vec<Change> = (0..JOBS).map(submit).collect();
    store.apply(&jobs, 0).unwrap();
    let mut reader = store.reader().unwrap();
    let stop = Arc::new(AtomicBool::new(true));
    let mut copy = |name: &str| reader.copy_to(&root.path().join(name), &stop, &mut |_| true);
    let broken_off = copy("first");
    assert!(
        matches!(&broken_off, Err(Error::File { problem, .. }) if problem.contains("interrupted")),
        "{broken_off:?}"
    );
    // And it is as good as before.
    stop.store(false, Ordering::Relaxed);
    assert_eq!(copy("second"), Ok(()));
    assert_eq!(reader.counts().unwrap()[0], (State::Queued, JOBS as u64));
}

#[test]
fn a_queue_that_closes_makes_no_copy() {
    let root = tempfile::tempdir().unwrap();
    let queue = Queue::open(root.path(), &queue_config(10, 60)).unwrap();
    queue.close();
    assert_eq!(queue.backup_blocking().err(), Some(Error::Closed));
    let left = std::fs::read_dir(root.path()).unwrap();
    let is_backup = |name: std::ffi::OsString| name.to_string_lossy().starts_with("backup-");
    assert!(!left.flatten().any(|entry| is_backup(entry.file_name())));
}
