//! What batches count for, what their keys find again, and how those end whose jobs were cancelled; for the SQLite store
//! and for the oracle.

use woolly::job::State;
use woolly::queue::batch::{
    BatchId, BatchRow, BatchState, FileId, NewBatch, NewFile, Refused, Step, next_step,
};
use woolly::queue::{
    Applied, BatchChange, Change, Completion, Error, JobStore, Limits, Page, Reached, Share,
    SqliteStore,
};

use crate::queue_batches::{Batches, add, file, line, new_batch, stored};
use crate::support::conformance::{Disk, conformance};
use crate::support::queue::{Single, completed, limits};

conformance! {
    an_open_batch_has_its_input_once_more
    a_spooled_file_needs_room_for_its_jobs_too
    a_key_finds_its_batch_again
    a_batch_that_is_being_cancelled_ends_as_nothing_else
    a_request_that_was_cancelled_by_itself_has_failed
    what_is_wrong_with_a_request_names_its_field
    files_are_listed_by_purpose_and_while_their_time_lasts
}

fn bytes(most: u64) -> Limits {
    Limits {
        max_bytes_per_user: Some(most),
        ..limits(9)
    }
}

fn full(most: u64) -> Error {
    Error::Full(Reached::BytesOfUser(most))
}

fn an_open_batch_has_its_input_once_more(disk: &dyn Disk) {
    let mut store = disk.open();
    let input = store.add_file("in", 1).id;
    let add = |limit: u64| BatchChange::Add {
        batch: new_batch(input),
        limits: bytes(limit),
    };
    // The file has 11 bytes, and each batch of it as many.
    assert_eq!(store.change(add(21), 2), Err(full(21)));
    let first = store.batch(add(22), 2).id;
    assert_eq!(store.change(add(32), 3), Err(full(32)));
    let second = store.batch(add(33), 3).id;
    drop(store);
    let mut store = disk.open();
    let fits = |store: &dyn JobStore, limit: u64, more: u64| {
        let more = Share {
            jobs: 0,
            bytes: more,
        };
        {
            let (all, of_user) = store.reader().unwrap().shares(7).unwrap();
            bytes(limit).admit(all, of_user, more)
        }
    };
    assert_eq!(fits(&*store, 34, 1), Ok(()));
    assert_eq!(fits(&*store, 33, 1), Err(full(33)));
    let end = BatchChange::End {
        id: first,
        state: BatchState::Completed,
        output: None,
        errors: None,
    };
    store.batch(end.clone(), 4);
    store.batch(end, 5);
    assert_eq!(fits(&*store, 23, 1), Ok(()));
    assert_eq!(fits(&*store, 22, 1), Err(full(22)));
    let errors = "[]".to_owned();
    store.batch(BatchChange::Refuse { id: second, errors }, 6);
    assert_eq!(fits(&*store, 12, 1), Ok(()));
    assert_eq!(fits(&*store, 11, 1), Err(full(11)));
}

fn a_spooled_file_needs_room_for_its_jobs_too(disk: &dyn Disk) {
    let mut store = disk.open();
    let mut spool = |limit: u64| {
        let change = BatchChange::Spool {
            name: "a".to_owned(),
            identity: "1".to_owned(),
            file: file("a"),
            batch: new_batch(FileId(99)),
            limits: bytes(limit),
        };
        store.change(change, 5)
    };
    // However empty the queue is, both never fit.
    assert_eq!(spool(21), Err(Error::TooLarge(Reached::BytesOfUser(21))));
    assert!(matches!(
        spool(22),
        Ok(Applied::Spooled { existed: false, .. })
    ));
}

fn a_key_finds_its_batch_again(disk: &dyn Disk) {
    let mut store = disk.open();
    let input = store.add_file("in", 1).id;
    let keyed = |change: fn(&mut NewBatch)| {
        let mut batch = NewBatch {
            idempotency_key: Some("k".to_owned()),
            ..new_batch(input)
        };
        change(&mut batch);
        add(batch)
    };
    let first = store.batch(keyed(|_| {}), 2);
    drop(store);
    let mut store = disk.open();
    // Later its deadline is another one.
    assert_eq!(store.batch(keyed(|batch| batch.deadline_ms += 5), 3), first);
    let other = store.change(keyed(|batch| batch.priority += 1), 3);
    assert_eq!(other, Err(Error::IdempotencyConflict));
    let of_another = store.batch(keyed(|batch| batch.uid += 1), 3);
    assert_ne!(of_another.id, first.id);
    assert_ne!(store.batch(add(new_batch(input)), 3).id, first.id);
}

fn a_batch_that_is_being_cancelled_ends_as_nothing_else(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 1);
    let cancelling = store.batch(BatchChange::Cancel(id), 4);
    let errors = "[]".to_owned();
    assert_eq!(
        store.batch(BatchChange::Refuse { id, errors }, 5),
        cancelling
    );
    let end = |state| BatchChange::End {
        id,
        state,
        output: Some(file("out")),
        errors: None,
    };
    assert_eq!(store.batch(end(BatchState::Completed), 6), cancelling);
    assert_eq!(store.reader().unwrap().stored_names().unwrap(), ["in"]);
    let cancelled = store.batch(end(BatchState::Cancelled), 7);
    assert_eq!(
        (cancelled.state, cancelled.ended_at_ms),
        (BatchState::Cancelled, Some(7))
    );
}

fn a_request_that_was_cancelled_by_itself_has_failed(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 3);
    let jobs = store.expand(id, 0, &["a", "b", "c"].map(line)).unwrap();
    store.cancel(jobs[0], 5).unwrap();
    store.claim(6).unwrap();
    assert!(store.finish(jobs[1], completed("yes"), 7));
    let counts = |row: BatchRow| (row.lines.ended, row.lines.completed, row.lines.failed);
    assert_eq!(counts(stored(&*store, id)), (2, 1, 1));
    store.cancel(jobs[2], 8).unwrap();
    let row = stored(&*store, id);
    assert_eq!(counts(row.clone()), (3, 1, 2));
    assert_eq!(next_step(&row, 9), Step::Finalize(BatchState::Completed));
    // With its batch it has not.
    let other = store.begin("other", 1);
    let jobs = store.expand(other, 0, &[line("a")]).unwrap();
    store.batch(BatchChange::Cancel(other), 10);
    store.cancel(jobs[0], 11).unwrap();
    assert_eq!(counts(stored(&*store, other)), (1, 0, 0));
}

fn what_is_wrong_with_a_request_names_its_field(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 1);
    let mut lines = [line("a")];
    lines[0].refused = Some(Refused {
        message: "prompt is required".to_owned(),
        param: Some("prompt".to_owned()),
    });
    assert_eq!(store.expand(id, 0, &lines), Some(vec![]));
    let ends = store.reader().unwrap().lines(id, 0, 9).unwrap();
    assert_eq!(
        (ends[0].state, ends[0].refused, ends[0].param.as_deref()),
        (State::Failed, true, Some("prompt"))
    );
    assert_eq!(ends[0].error.as_deref(), Some("prompt is required"));
}

fn files_are_listed_by_purpose_and_while_their_time_lasts(disk: &dyn Disk) {
    let mut store = disk.open();
    for (name, purpose, kept_s) in [
        ("a", "batch", None),
        ("b", "batch_output", Some(2)),
        ("c", "batch", Some(1)),
    ] {
        let file = NewFile {
            purpose: purpose.to_owned(),
            kept_s,
            ..file(name)
        };
        let limits = limits(1);
        store
            .change(BatchChange::AddFile { file, limits }, 100)
            .unwrap();
    }
    let listed = |purpose: Option<&str>, now_ms: i64| {
        let page = Page {
            before: None,
            limit: 9,
            uid: None,
        };
        let files = store.reader().unwrap().files(page, purpose, now_ms);
        let names = files.unwrap().into_iter().map(|row| row.file.stored_as);
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 1_099), ["c", "b", "a"]);
    assert_eq!(listed(None, 1_100), ["b", "a"]);
    assert_eq!(listed(Some("batch"), 1_099), ["c", "a"]);
    assert_eq!(listed(Some("batch_output"), 1_100), ["b"]);
    assert_eq!(listed(None, 2_100), ["a"]);
    assert_eq!(listed(Some("fine-tune"), 0), Vec::<String>::new());
}

/// The field that a daemon found wrong in a request that was a job already.
#[test]
fn the_field_of_a_job_that_fails_is_kept() {
    let disk = crate::support::conformance::SqliteDisk::new();
    let mut store = disk.open();
    let id = store.begin("in", 1);
    let jobs = store.expand(id, 0, &[line("a")]).unwrap();
    store.claim(5).unwrap();
    let refused = Completion::Failed {
        error: "stop is too long".to_owned(),
        refused: true,
        param: Some("stop".to_owned()),
    };
    let id_of_job = jobs[0];
    store
        .one(
            Change::Finish {
                id: id_of_job,
                completion: refused,
            },
            6,
        )
        .unwrap();
    let ends = store.reader().unwrap().lines(id, 0, 9).unwrap();
    assert_eq!(
        (ends[0].refused, ends[0].param.as_deref()),
        (true, Some("stop"))
    );
}

/// The share of a user is kept by triggers, which older versions had without the batch itself.
#[test]
fn an_open_batch_of_an_older_version_counts_as_a_job_too() {
    let root = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(root.path().join("queue.db")).unwrap();
    let steps = [
        include_str!("fixtures/queue-1.sql"),
        include_str!("../src/queue/sqlite/schema/2.sql"),
        include_str!("../src/queue/sqlite/schema/3.sql"),
        include_str!("../src/queue/sqlite/schema/4.sql"),
        include_str!("../src/queue/sqlite/schema/5.sql"),
        include_str!("../src/queue/sqlite/schema/6.sql"),
        "PRAGMA user_version = 6;
         INSERT INTO file(uid, purpose, name, stored_as, bytes, created_at_ms) VALUES (1000, 'batch', 'in', 'a', 5, 1);
         INSERT INTO batch(uid, state, endpoint, input_file, completion_window, priority, created_at_ms, deadline_ms,
                           input_bytes)
         VALUES (1000, 'validating', '/v1/completions', 1, '1d', 0, 1, 99, 5),
                (1000, 'validating', '/v1/completions', 1, '1d', 0, 1, 99, 5);
         UPDATE batch SET state = 'failed', ended_at_ms = 2 WHERE id = 2",
    ];
    for step in steps {
        db.execute_batch(step).unwrap();
    }
    drop(db);
    let mut store = SqliteStore::open(root.path()).unwrap();
    let jobs = |store: &SqliteStore| store.reader().unwrap().shares(1000).unwrap().1.jobs;
    // Two jobs wait or run.
    assert_eq!(jobs(&store), 3);
    let (id, errors) = (BatchId(1), "[]".to_owned());
    store.batch(BatchChange::Refuse { id, errors }, 3);
    assert_eq!(jobs(&store), 2);
    drop(store);
    let problems = woolly::queue::check(root.path()).unwrap();
    assert!(
        !problems.iter().any(|problem| problem.contains("share")),
        "{problems:?}"
    );
}
