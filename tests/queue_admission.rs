//! The conformance suite of what a `JobStore` takes in: limits on jobs and bytes, and deadlines that cannot be met.

use woolly::job::State;
use woolly::queue::batch::NewFile;
use woolly::queue::pace::Pace;
use woolly::queue::{
    Admission, BatchChange, Change, Error, JobStore, Limits, NewJob, Reached, Times,
};

use crate::support::conformance::{Disk, conformance};
use crate::support::queue::{Single, completed, detached, keyed, limits};

conformance! {
    each_user_has_a_share
    bytes_of_requests_and_files_are_counted
    a_deadline_that_cannot_be_met_is_refused_where_that_is_wanted
}

const LIMITS: Limits = Limits {
    max_jobs: 3,
    max_bytes: Some(100),
    max_jobs_per_user: Some(2),
    max_bytes_per_user: Some(60),
};

fn of(uid: u32, bytes: usize) -> NewJob {
    NewJob {
        uid,
        body: vec![b' '; bytes],
        ..detached("")
    }
}

/// Whether it was refused, and why.
fn submit(store: &mut dyn JobStore, job: NewJob) -> Option<Reached> {
    let admission = Admission {
        limits: LIMITS,
        pace: None,
    };
    match store.one(Change::Submit { job, admission }, 0) {
        Ok(_) => None,
        Err(Error::Full(reached)) => Some(reached),
        Err(other) => panic!("{other}"),
    }
}

fn each_user_has_a_share(disk: &dyn Disk) {
    let mut store = disk.open();
    assert_eq!(submit(&mut *store, keyed(of(1, 5), "k")), None);
    assert_eq!(submit(&mut *store, of(1, 5)), None);
    assert_eq!(submit(&mut *store, of(1, 5)), Some(Reached::JobsOfUser(2)));
    assert_eq!(
        submit(&mut *store, keyed(of(1, 5), "k")),
        None,
        "it was there before"
    );
    assert_eq!(submit(&mut *store, of(2, 5)), None);
    assert_eq!(submit(&mut *store, of(3, 5)), Some(Reached::Jobs(3)));
    let id = store.claim(0).unwrap().id;
    assert_eq!(
        submit(&mut *store, of(3, 5)),
        Some(Reached::Jobs(3)),
        "it runs"
    );
    assert!(store.finish(id, completed("yes"), 0));
    assert_eq!(submit(&mut *store, of(1, 5)), None);
    // The counts outlive a daemon.
    drop(store);
    assert_eq!(submit(&mut *disk.open(), of(3, 5)), Some(Reached::Jobs(3)));
}

fn bytes_of_requests_and_files_are_counted(disk: &dyn Disk) {
    let mut store = disk.open();
    let file = |uid, bytes, name: &str| BatchChange::AddFile {
        file: NewFile {
            uid,
            purpose: "batch".to_owned(),
            name: "in".to_owned(),
            stored_as: name.to_owned(),
            bytes,
            kept_s: None,
        },
        limits: LIMITS,
    };
    assert_eq!(submit(&mut *store, of(1, 30)), None);
    assert_eq!(
        submit(&mut *store, of(1, 31)),
        Some(Reached::BytesOfUser(60))
    );
    assert!(store.one(Change::Batch(file(1, 30, "a")), 0).is_ok());
    let full = Err(Error::Full(Reached::BytesOfUser(60)));
    assert_eq!(store.one(Change::Batch(file(1, 1, "b")), 0), full);
    assert!(store.one(Change::Batch(file(2, 40, "c")), 0).is_ok());
    assert_eq!(submit(&mut *store, of(3, 1)), Some(Reached::Bytes(100)));
    let removed = BatchChange::RemoveFile(woolly::queue::batch::FileId(1));
    assert!(store.one(Change::Batch(removed), 0).is_ok());
    assert_eq!(submit(&mut *store, of(1, 30)), None);
    let first = store.claim(0).unwrap().id;
    store.cancel(first, 0).unwrap();
    assert_eq!(submit(&mut *store, of(2, 20)), None);
}

fn a_deadline_that_cannot_be_met_is_refused_where_that_is_wanted(disk: &dyn Disk) {
    let mut store = disk.open();
    let pace = Pace {
        run_ms: 10_000.0,
        at_once: 1.0,
    };
    let mut submit = |deadline_ms, refuse_late, pace| {
        let job = NewJob {
            times: Times {
                not_before_ms: None,
                deadline_ms: Some(deadline_ms),
            },
            refuse_late,
            ..detached("a")
        };
        let admission = Admission {
            limits: limits(100),
            pace,
        };
        store.one(Change::Submit { job, admission }, 1_000).err()
    };
    let late = |late_s| Some(Error::TooLate { late_s });
    // It can start at once, and takes ten seconds.
    assert_eq!(submit(10_999, true, Some(pace)), late(1));
    assert_eq!(submit(1_000, true, None), None, "nothing is known");
    assert_eq!(submit(999, true, None), late(1), "but this is");
    assert_eq!(submit(10_999, false, Some(pace)), None, "nobody asked");
    // Two wait before it.
    assert_eq!(submit(30_999, true, Some(pace)), late(1));
    assert_eq!(submit(26_000, true, Some(pace)), late(5));
    assert_eq!(submit(31_000, true, Some(pace)), None);
    let counts = store.reader().unwrap().counts().unwrap();
    assert_eq!(counts[0], (State::Queued, 3), "a refused one left no trace");
}
