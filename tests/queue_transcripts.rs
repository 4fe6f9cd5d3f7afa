//! The conformance suite of transcripts in a `JobStore`: what running jobs generated, and what completed ones keep.

use woolly::job::Usage;
use woolly::queue::{Applied, Change, Completion, JobStore, Part, Retention, Transcript};

use crate::support::conformance::{Disk, conformance};
use crate::support::queue::{Single, attached, completed, detached, failed, purged};

conformance! {
    a_job_goes_on_with_what_was_kept
    a_part_takes_the_place_of_those_behind_it
    a_gap_ends_what_is_read
    a_run_never_goes_on_behind_another_one
    what_was_generated_goes_with_the_job
    a_completed_job_answers_for_its_user
    what_answers_others_outlives_its_connection
}

fn part(number: u32, fingerprint: u8, body: &str) -> Part {
    Part {
        number,
        fingerprint: [fingerprint; 32],
        body: body.as_bytes().to_vec(),
    }
}

fn transcript(fingerprint: u8, parts: &[&str]) -> Option<Transcript> {
    Some(Transcript {
        fingerprint: [fingerprint; 32],
        parts: parts.iter().map(|part| part.as_bytes().to_vec()).collect(),
    })
}

fn completed_with(part: Part) -> Completion {
    Completion::Completed {
        result: b"{}".to_vec(),
        usage: Usage::new(1, 2),
        outline: b"[]".to_vec(),
        keep: Some(part),
    }
}

trait Keeping: Single {
    /// Whether it was kept.
    fn keep(&mut self, id: woolly::job::JobId, part: Part) -> bool {
        match self.one(Change::Checkpoint { id, part }, 0).unwrap() {
            Applied::Checkpointed(kept) => kept,
            other => panic!("{other:?}"),
        }
    }
}

impl<S: Single + ?Sized> Keeping for S {}

/// The transcript that the next claim hands out, after a crash.
fn after_crash(
    disk: &dyn Disk,
    store: Box<dyn JobStore>,
) -> (Box<dyn JobStore>, Option<Transcript>) {
    drop(store);
    let mut store = disk.open();
    let claimed = store.claim(0).unwrap();
    (store, claimed.transcript)
}

fn a_job_goes_on_with_what_was_kept(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    assert!(!store.keep(id, part(0, 1, "early")), "it does not run");
    assert_eq!(store.claim(0).unwrap().transcript, None);
    assert!(store.keep(id, part(0, 1, "one ")));
    assert!(store.keep(id, part(1, 1, "two")));
    let (mut store, found) = after_crash(disk, store);
    assert_eq!(found, transcript(1, &["one ", "two"]));
    // A drain keeps it too.
    assert_eq!(store.requeue(&[id]), [id]);
    assert!(!store.keep(id, part(2, 1, "late")));
    assert_eq!(
        store.claim(0).unwrap().transcript,
        transcript(1, &["one ", "two"])
    );
}

fn a_part_takes_the_place_of_those_behind_it(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    store.claim(0).unwrap();
    for number in 0..4 {
        store.keep(id, part(number, 1, &number.to_string()));
    }
    store.keep(id, part(1, 1, "x"));
    let (mut store, found) = after_crash(disk, store);
    assert_eq!(found, transcript(1, &["0", "x"]));
    store.keep(id, part(0, 2, "anew"));
    assert_eq!(after_crash(disk, store).1, transcript(2, &["anew"]));
}

fn a_gap_ends_what_is_read(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    store.claim(0).unwrap();
    store.keep(id, part(1, 1, "b"));
    let (mut store, found) = after_crash(disk, store);
    assert_eq!(found, None);
    for (number, fingerprint) in [(0, 1), (2, 1)] {
        store.keep(id, part(number, fingerprint, "c"));
    }
    let (mut store, found) = after_crash(disk, store);
    assert_eq!(found, transcript(1, &["c"]));
    store.keep(id, part(1, 2, "of another model"));
    assert_eq!(after_crash(disk, store).1, transcript(1, &["c"]));
}

/// A full disk may take any part, also the first of a run.
fn a_run_never_goes_on_behind_another_one(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    store.claim(0).unwrap();
    for body in ["a", "b", "c"].iter().enumerate() {
        store.keep(id, part(body.0 as u32, 1, body.1));
    }
    // The same daemon runs it again, and the next one too.
    assert_eq!(store.requeue(&[id]), [id]);
    store.claim(0).unwrap();
    store.keep(id, part(1, 1, "of the second run"));
    let (mut store, found) = after_crash(disk, store);
    assert_eq!(found, transcript(1, &["a"]));
    store.keep(id, part(1, 1, "of the third run"));
    store.keep(id, part(2, 1, "of the third run"));
    assert_eq!(after_crash(disk, store).1, transcript(1, &["a"]));
}

fn what_was_generated_goes_with_the_job(disk: &dyn Disk) {
    let mut store = disk.open();
    for end in [failed("no"), completed("yes")] {
        let id = store.accept(detached("a"));
        store.claim(0).unwrap();
        store.keep(id, part(0, 1, "a"));
        assert!(store.finish(id, end, 0));
    }
    let id = store.accept(detached("a"));
    store.claim(0).unwrap();
    store.keep(id, part(0, 1, "a"));
    store.cancel(id, 0).unwrap();
    let found = store.reader().unwrap().transcript(&[1; 32], 1000);
    assert_eq!(found, Ok(None));
    // A fault of ours may be in it.
    let id = store.accept(detached("a"));
    store.claim(0).unwrap();
    store.keep(id, part(0, 1, "a"));
    let error = "fault".to_owned();
    assert!(!store.finish(id, Completion::Faulted { error }, 0));
    assert_eq!(store.claim(9_000).unwrap().transcript, None);
}

fn a_completed_job_answers_for_its_user(disk: &dyn Disk) {
    let mut store = disk.open();
    let mut done = |name: &str, keep: Part| {
        let id = store.accept(detached(name));
        store.claim(0).unwrap();
        store.keep(id, part(0, 1, "first"));
        store.keep(id, part(1, 1, "second"));
        assert!(store.finish(id, completed_with(keep), 0));
    };
    done("a", part(0, 1, "old"));
    done("b", part(0, 1, "whole"));
    done("c", part(0, 2, "other"));
    let mut reader = store.reader().unwrap();
    let mut found = |fingerprint, uid| reader.transcript(&[fingerprint; 32], uid).unwrap();
    assert_eq!(found(1, 1000), transcript(1, &["whole"]));
    assert_eq!(found(2, 1000), transcript(2, &["other"]));
    assert_eq!((found(1, 1001), found(3, 1000)), (None, None));
}

fn what_answers_others_outlives_its_connection(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(attached("a"));
    store.claim(0).unwrap();
    assert!(store.finish(id, completed_with(part(0, 1, "a")), 50));
    assert!(!store.delivered(id));
    assert!(!store.reader().unwrap().get(id).unwrap().attached);
    let mut purge = |attached_before_ms, detached_before_ms| {
        let retention = Retention {
            attached_before_ms,
            detached_before_ms,
        };
        store
            .one(
                Change::Purge {
                    retention,
                    limit: 9,
                },
                100,
            )
            .unwrap()
    };
    // When its own time is over, and not sooner.
    assert_eq!(purge(90, 50), purged(0, Some(100)));
    assert_eq!(purge(90, 51), purged(1, None));
    let found = store.reader().unwrap().transcript(&[1; 32], 1000);
    assert_eq!(found, Ok(None));
}
