//! What the queue's writer puts into which group: what is late, what is old, and what a full disk puts off.

use std::sync::mpsc::{Receiver, channel};

use woolly::config;
use woolly::job::JobId;
use woolly::queue::{Applied, Blame, Change, Error, JobStore, NewJob, Queue, Times, Woken};

use crate::support::block_on::block_on;
use crate::support::queue::{Single, admission, detached, queue_config};
use crate::support::queue_double::Double;
use crate::support::queue_oracle::Oracle;

const CONFIG: config::Queue = queue_config(1_000_000, 3_600);

/// By the clock of the day.
struct Group {
    now_ms: i64,
    changes: Vec<(Change, Result<Applied, Error>)>,
}

struct Watch {
    queue: Queue,
    groups: Receiver<Group>,
    _scratch: tempfile::TempDir,
}

/// A queue that tells every group, and has no room for a deletion of more than so many.
fn watch(store: Oracle, most_deleted: usize) -> Watch {
    let scratch = tempfile::tempdir().unwrap();
    let (sender, groups) = channel();
    let apply = move |store: &mut Oracle, group: &[Change], now_ms: i64| {
        let mut applied = vec![];
        for change in group {
            applied.push(match change {
                Change::Purge { limit, .. } if *limit > most_deleted => Err(Error::NoSpace {
                    path: "queue.db".to_owned(),
                }),
                change => store.one(change.clone(), now_ms),
            });
        }
        let told = group.iter().cloned().zip(applied.iter().cloned());
        let changes = told.collect();
        let _ = sender.send(Group { now_ms, changes });
        Ok(applied)
    };
    let store = Box::new(Double { store, apply });
    let queue = Queue::over(store, scratch.path(), &CONFIG, Blame::RunningJobs).unwrap();
    Watch {
        queue,
        groups,
        _scratch: scratch,
    }
}

fn submit(job: NewJob) -> Change {
    Change::Submit {
        job,
        admission: admission(1_000_000),
    }
}

#[test]
fn while_many_expire_nothing_is_claimed() {
    let late = NewJob {
        times: Times {
            not_before_ms: None,
            deadline_ms: Some(1),
        },
        ..detached("late")
    };
    let mut store = Oracle::default();
    store.apply(&vec![submit(late); 2_500], 0).unwrap();
    let watch = watch(store, usize::MAX);
    let queue = watch.queue.clone();
    let claim = std::thread::spawn(move || queue.claim_blocking().map(|job| job.id));
    let id = block_on(watch.queue.submit(detached("in time")))
        .unwrap()
        .job
        .id;
    assert_eq!(claim.join().unwrap(), Some(id));
    drop(watch.queue);
    let (mut expired, mut more) = (0, false);
    for group in watch.groups {
        let changes = group.changes;
        let claims = changes.iter().any(|(change, _)| *change == Change::Claim);
        assert!(!(more && claims), "a claim among jobs that are late");
        for (_, applied) in changes {
            if let Ok(Applied::Woken(Woken { expired: late, .. })) = applied {
                expired += late.len();
                more = late.len() == 1_000;
            }
        }
    }
    assert_eq!(expired, 2_500);
}

#[test]
fn what_a_full_disk_does_not_let_be_deleted_is_tried_again_later_and_in_smaller_pieces() {
    let mut store = Oracle::default();
    store.apply(&[submit(detached("old"))], 0).unwrap();
    store.apply(&[Change::Cancel(JobId(1))], 0).unwrap();
    let watch = watch(store, 300);
    let (mut tries, mut times) = (vec![], vec![]);
    let mut between = 0;
    while tries.last() != Some(&250) {
        let group = watch.groups.recv().unwrap();
        let limit = group.changes.iter().find_map(|(change, _)| match change {
            Change::Purge { limit, .. } => Some(*limit),
            _ => None,
        });
        between += usize::from(limit.is_none());
        times.extend(limit.map(|_| group.now_ms));
        tries.extend(limit);
    }
    assert_eq!(tries, [1_000, 500, 250]);
    assert!(times.is_sorted_by(|a, b| b - a >= 1_000), "{times:?}");
    // Nobody asks for anything, so nothing else is to be done.
    assert!(between <= 1, "{between} groups without a try");
    assert!(block_on(watch.queue.get(JobId(1))).is_err());
}
