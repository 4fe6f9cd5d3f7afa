//! The conformance suite of `JobStore`, for the SQLite store and for the oracle in memory, and what only
//! the SQLite file can do.

use std::path::Path;

use woolly::job::{Endpoint, JobId, State, Usage};
use woolly::queue::batch::{FileId, NewBatch};
use woolly::queue::{
    Applied, BatchChange, Blame, Change, Completion, Error, Filter, Finished, Flow, FlowChange,
    JobRow, JobStore, NewJob, Retention, SqliteStore, Times, Woken,
};

use crate::support::conformance::{Disk, conformance};
use crate::support::queue::{
    Single, admission, attached, completed, detached, failed, full, keyed, limits, purged,
};

conformance! {
    a_paused_queue_starts_nothing
    a_drained_queue_takes_nothing_in
    a_pause_and_a_drain_leave_each_other_alone
    a_job_waits_for_its_time
    what_is_not_done_by_its_deadline_expires
    an_answer_that_is_late_is_not_published
    a_fault_of_ours_is_tried_again_after_a_pause
    a_clock_that_is_set_back_makes_no_pause_longer
    deaths_of_daemons_use_up_no_tries
    the_last_try_is_made_alone
    a_suspect_runs_alone_and_fails_when_it_goes_on_killing
    crashes_are_not_counted_without_a_limit
    a_job_keeps_everything_it_was_given
    a_job_runs_and_completes
    a_failed_job_keeps_its_sentence
    order_is_priority_then_id
    positions_count_priorities_first
    the_same_key_finds_the_same_job
    a_key_has_no_time_window
    another_request_with_the_same_key_conflicts
    keys_belong_to_submitters
    a_full_queue_refuses
    a_refused_change_leaves_its_neighbours_alone
    a_result_is_published_once
    cancel_and_finish_race
    cancel_of_an_ended_job_changes_nothing
    open_jobs_are_cancelled_newest_first
    requeue_does_not_count_as_an_attempt
    a_crash_requeues_detached_jobs
    a_crash_cancels_attached_jobs_without_a_key
    delivered_deletes_only_what_nobody_can_ask_for
    ids_are_never_used_again
    purge_follows_retention
    lists_are_filtered_and_newest_first
    unknown_jobs_are_not_found
}

fn row(store: &dyn JobStore, id: JobId) -> JobRow {
    store.reader().unwrap().get(id).unwrap()
}

fn count(store: &dyn JobStore, state: State) -> u64 {
    let counts = store.reader().unwrap().counts().unwrap();
    assert_eq!(
        counts.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        State::ALL
    );
    counts.iter().find(|(s, _)| *s == state).unwrap().1
}

fn a_job_keeps_everything_it_was_given(disk: &dyn Disk) {
    let mut store = disk.open();
    let job = NewJob {
        endpoint: Endpoint::ChatCompletions,
        body: vec![0, 255, b'{'],
        seed: u64::MAX,
        max_tokens: None,
        priority: -3,
        idempotency_key: Some("k".to_owned()),
        uid: u32::MAX,
        attached: true,
        metadata: Some("{\"a\":\"b\"}".to_owned()),
        created_at_ms: -1,
        times: Times {
            not_before_ms: Some(-5),
            deadline_ms: Some(i64::MAX),
        },
        refuse_late: true,
    };
    let submitted = store.submit(job).unwrap();
    assert!(!submitted.existed);
    let expected = JobRow {
        id: submitted.job.id,
        state: State::Queued,
        endpoint: Endpoint::ChatCompletions,
        priority: -3,
        seed: u64::MAX,
        uid: u32::MAX,
        // The key outlives the connection.
        attached: false,
        metadata: Some("{\"a\":\"b\"}".to_owned()),
        times: Times {
            not_before_ms: Some(-5),
            deadline_ms: Some(i64::MAX),
        },
        attempts: 0,
        created_at_ms: -1,
        started_at_ms: None,
        finished_at_ms: None,
        usage: None,
        result: None,
        error: None,
        position: None,
        batch: None,
    };
    assert_eq!(submitted.job, expected);
    drop(store);
    let mut store = disk.open();
    assert_eq!(
        row(&*store, expected.id),
        JobRow {
            position: Some(0),
            ..expected
        }
    );
    let claimed = store.claim(0).unwrap();
    assert_eq!((claimed.seed, claimed.max_tokens), (u64::MAX, None));
}

fn a_job_runs_and_completes(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    let claimed = store.claim(10).unwrap();
    assert_eq!((claimed.id, claimed.seed), (id, u64::MAX - 7));
    assert_eq!(claimed.max_tokens, Some(u32::MAX));
    assert_eq!(claimed.body, b"{\"prompt\":\"a\"}");
    assert_eq!(store.claim(11), None);
    assert_eq!(row(&*store, id).started_at_ms, Some(10));
    assert!(store.finish(id, completed("yes"), 20));
    let ended = row(&*store, id);
    assert_eq!((ended.state, ended.attempts), (State::Completed, 1));
    assert_eq!(ended.result.as_deref(), Some(&b"yes"[..]));
    assert_eq!(
        ended.usage,
        Some(Usage {
            prompt_tokens: 5,
            completion_tokens: 7,
            total_tokens: 12
        })
    );
    assert_eq!((ended.finished_at_ms, ended.position), (Some(20), None));
}

fn a_failed_job_keeps_its_sentence(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    store.claim(0);
    assert!(store.finish(id, failed("the prompt is cursed"), 1));
    let ended = row(&*store, id);
    assert_eq!(ended.state, State::Failed);
    assert_eq!(ended.error.as_deref(), Some("the prompt is cursed"));
    assert_eq!((ended.result, ended.usage), (None, None));
}

fn order_is_priority_then_id(disk: &dyn Disk) {
    let mut store = disk.open();
    let mut ids = Vec::new();
    for priority in [0, 5, -5, 5, 0] {
        ids.push(store.accept(NewJob {
            priority,
            ..detached("a")
        }));
    }
    let positions: Vec<_> = ids
        .iter()
        .map(|id| row(&*store, *id).position.unwrap())
        .collect();
    assert_eq!(positions, [2, 0, 4, 1, 3]);
    let claimed: Vec<_> = (0..5).map(|_| store.claim(0).unwrap().id).collect();
    assert_eq!(claimed, [ids[1], ids[3], ids[0], ids[4], ids[2]]);
}

fn positions_count_priorities_first(disk: &dyn Disk) {
    let mut store = disk.open();
    let submit = || Change::Submit {
        job: detached("a"),
        admission: admission(10_000),
    };
    let group: Vec<_> = (0..1_003).map(|_| submit()).collect();
    store.apply(&group, 0).unwrap();
    for (id, position) in [(1, 0), (1_001, 1_000), (1_003, 1_002)] {
        assert_eq!(row(&*store, JobId(id)).position, Some(position));
    }
    // Half of those before it by priority, half by id.
    store
        .apply(
            &[Change::Submit {
                job: NewJob {
                    priority: 1,
                    ..detached("b")
                },
                admission: admission(10_000),
            }],
            0,
        )
        .unwrap();
    assert_eq!(row(&*store, JobId(1_000)).position, Some(1_000));
    assert_eq!(row(&*store, JobId(1_001)).position, Some(1_001));
}

fn the_same_key_finds_the_same_job(disk: &dyn Disk) {
    let mut store = disk.open();
    let job = keyed(detached("a"), "k");
    let first = store.submit(job.clone()).unwrap();
    // Another seed, length and time are no other request: the client did not choose them.
    let again = NewJob {
        seed: 1,
        max_tokens: None,
        created_at_ms: 9,
        ..job.clone()
    };
    let second = store.submit(again).unwrap();
    assert!(second.existed);
    assert_eq!(second.job, first.job);
    store.claim(0);
    store.finish(first.job.id, completed("yes"), 1);
    drop(store);
    let mut store = disk.open();
    let third = store.submit(job.clone()).unwrap();
    assert_eq!((third.existed, third.job.id), (true, first.job.id));
    let find = |store: &mut Box<dyn JobStore>, job| store.one(Change::FindSubmitted(job), 2);
    let found = find(&mut store, job.clone());
    assert_eq!(found, Ok(Applied::Found(Some(third.job.clone()))));
    let other_body = NewJob {
        body: b"b".to_vec(),
        ..job.clone()
    };
    let found = find(&mut store, other_body);
    assert_eq!(found, Err(Error::IdempotencyConflict));
    for unknown in [keyed(job, "other"), detached("a")] {
        assert_eq!(find(&mut store, unknown), Ok(Applied::Found(None)));
    }
    assert_eq!(third.job.state, State::Completed);
    assert_eq!(count(&*store, State::Completed), 1);
}

fn a_key_has_no_time_window(disk: &dyn Disk) {
    let mut store = disk.open();
    let first = store.submit(keyed(attached("a"), "k")).unwrap().job;
    assert!(!first.attached);
    store.cancel(first.id, 50).unwrap();
    let purge = |attached_before_ms, detached_before_ms| Change::Purge {
        retention: Retention {
            detached_before_ms,
            attached_before_ms,
        },
        limit: 9,
    };
    assert_eq!(store.one(purge(99, 0), 100), Ok(purged(0, Some(150))));
    for again in [attached("a"), detached("a")] {
        let again = store.submit(keyed(again, "k")).unwrap();
        assert_eq!((again.existed, again.job.id), (true, first.id));
    }
    assert_eq!(store.one(purge(99, 99), 100), Ok(purged(1, None)));
}

fn another_request_with_the_same_key_conflicts(disk: &dyn Disk) {
    let mut store = disk.open();
    let job = keyed(detached("a"), "k");
    store.accept(job.clone());
    let others = [
        NewJob {
            body: b"{}".to_vec(),
            ..job.clone()
        },
        NewJob {
            endpoint: Endpoint::ChatCompletions,
            ..job.clone()
        },
        NewJob {
            priority: 1,
            ..job.clone()
        },
        NewJob {
            metadata: Some(String::new()),
            ..job.clone()
        },
    ];
    for other in others {
        assert_eq!(store.submit(other).unwrap_err(), Error::IdempotencyConflict);
    }
    assert_eq!(count(&*store, State::Queued), 1);
}

fn keys_belong_to_submitters(disk: &dyn Disk) {
    let mut store = disk.open();
    let job = keyed(detached("a"), "k");
    let mine = store.accept(job.clone());
    let theirs = store
        .submit(NewJob {
            uid: 1001,
            body: b"{}".to_vec(),
            ..job
        })
        .unwrap();
    assert!(!theirs.existed);
    assert_ne!(theirs.job.id, mine);
    assert_ne!(store.accept(detached("a")), store.accept(detached("a")));
}

fn a_full_queue_refuses(disk: &dyn Disk) {
    let mut store = disk.open();
    let submit = |job| Change::Submit {
        job,
        admission: admission(2),
    };
    let kept = keyed(detached("a"), "k");
    store.one(submit(kept.clone()), 0).unwrap();
    store.one(submit(detached("b")), 0).unwrap();
    let refused = store.one(submit(detached("c")), 0);
    assert_eq!(refused, Err(full(2)));
    // A running job still counts; one that was accepted is found although the queue is full.
    let id = store.claim(0).unwrap().id;
    assert_eq!(store.one(submit(detached("c")), 0), Err(full(2)));
    let Applied::Submitted(again) = store.one(submit(kept), 0).unwrap() else {
        panic!()
    };
    assert!(again.existed);
    assert!(store.finish(id, completed("yes"), 0));
    store.one(submit(detached("c")), 0).unwrap();
    assert_eq!(count(&*store, State::Queued), 2);
}

fn a_refused_change_leaves_its_neighbours_alone(disk: &dyn Disk) {
    let mut store = disk.open();
    let submit = |job| Change::Submit {
        job,
        admission: admission(3),
    };
    let group = [
        submit(keyed(detached("a"), "k")),
        submit(keyed(detached("b"), "k")),
        Change::Cancel(JobId(77)),
        submit(detached("c")),
        Change::Claim,
        submit(detached("d")),
        submit(detached("e")),
    ];
    let applied = store.apply(&group, 0).unwrap();
    let refused: Vec<_> = applied
        .iter()
        .map(|answer| answer.as_ref().err().cloned())
        .collect();
    let full = Some(full(3));
    let (conflict, unknown) = (Some(Error::IdempotencyConflict), Some(Error::NotFound));
    assert_eq!(refused, [None, conflict, unknown, None, None, None, full]);
    assert_eq!(
        (
            count(&*store, State::Queued),
            count(&*store, State::Running)
        ),
        (2, 1)
    );
}

fn a_result_is_published_once(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    assert!(!store.finish(id, completed("too early"), 0));
    store.claim(0);
    assert!(store.finish(id, completed("first"), 1));
    assert!(!store.finish(id, completed("second"), 2));
    assert!(!store.finish(id, failed("third"), 3));
    assert_eq!(row(&*store, id).result.as_deref(), Some(&b"first"[..]));
    assert!(!store.finish(JobId(99), completed("nobody's"), 0));
}

fn cancel_and_finish_race(disk: &dyn Disk) {
    let mut store = disk.open();
    let first = store.accept(detached("a"));
    let second = store.accept(detached("b"));
    let third = store.accept(detached("c"));
    store.claim(0);
    store.claim(0);
    assert_eq!(store.cancel(first, 5).unwrap().before, State::Running);
    assert!(!store.finish(first, completed("late"), 6));
    assert!(store.finish(second, completed("in time"), 6));
    assert_eq!(store.cancel(second, 7).unwrap().before, State::Completed);
    assert_eq!(store.cancel(third, 8).unwrap().before, State::Queued);
    assert_eq!(store.claim(9), None);
    let ended = row(&*store, first);
    assert_eq!((ended.state, ended.result), (State::Cancelled, None));
    assert_eq!(ended.finished_at_ms, Some(5));
    assert_eq!(row(&*store, second).state, State::Completed);
    assert_eq!(row(&*store, third).state, State::Cancelled);
}

fn cancel_of_an_ended_job_changes_nothing(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    let first = store.cancel(id, 5).unwrap();
    let second = store.cancel(id, 6).unwrap();
    assert_eq!(first.job, second.job);
    assert_eq!(
        (first.before, second.before),
        (State::Queued, State::Cancelled)
    );
}

fn open_jobs_are_cancelled_newest_first(disk: &dyn Disk) {
    let mut store = disk.open();
    let of = |uid| NewJob {
        uid,
        ..detached("a")
    };
    // 1 runs, 3 has ended, 5 is another user's.
    let ids: Vec<JobId> = [7, 7, 7, 7, 8, 7].map(|uid| store.accept(of(uid))).to_vec();
    store.claim(0);
    store.cancel(ids[2], 1).unwrap();
    let cancel = |store: &mut Box<dyn JobStore>, before, uid, limit| match store
        .one(Change::CancelOpen { before, uid, limit }, 9)
    {
        Ok(Applied::Swept(swept)) => (swept.ended, swept.rest_before),
        other => panic!("{other:?}"),
    };
    let queued = |index: usize| (ids[index], State::Queued);
    let store = &mut store;
    assert_eq!(
        cancel(store, None, Some(7), 2),
        (vec![queued(5), queued(3)], Some(ids[3]))
    );
    let running = (ids[0], State::Running);
    assert_eq!(
        cancel(store, Some(ids[1]), Some(7), 2),
        (vec![running], None)
    );
    assert_eq!(cancel(store, Some(ids[0]), None, 2), (vec![], None));
    assert_eq!(
        cancel(store, None, None, 9),
        (vec![queued(4), queued(1)], None)
    );
    assert_eq!(cancel(store, None, None, 9), (vec![], None));
    assert_eq!(count(&**store, State::Cancelled), 6);
    assert_eq!(row(&**store, ids[0]).finished_at_ms, Some(9));
    assert!(!store.finish(ids[0], completed("late"), 10));
}

fn requeue_does_not_count_as_an_attempt(disk: &dyn Disk) {
    let mut store = disk.open();
    let first = store.accept(detached("a"));
    let second = store.accept(detached("b"));
    store.claim(3);
    assert_eq!(row(&*store, first).attempts, 1);
    assert_eq!(store.requeue(&[second, first, JobId(99)]), [first]);
    let back = row(&*store, first);
    assert_eq!(
        (back.state, back.attempts, back.started_at_ms),
        (State::Queued, 0, None)
    );
    assert_eq!(back.position, Some(0));
    assert!(!store.finish(first, completed("from before"), 4));
    assert_eq!(store.claim(5).unwrap().id, first);
}

fn a_crash_requeues_detached_jobs(disk: &dyn Disk) {
    let mut store = disk.open();
    let running = store.accept(detached("a"));
    let queued = store.accept(detached("b"));
    let ended = store.accept(NewJob {
        priority: 9,
        ..detached("c")
    });
    store.claim(0);
    store.finish(ended, completed("yes"), 1);
    store.claim(2);
    drop(store);
    let mut store = disk.open();
    let back = row(&*store, running);
    assert_eq!(
        (back.state, back.attempts, back.started_at_ms),
        (State::Queued, 1, None)
    );
    assert_eq!(row(&*store, queued).state, State::Queued);
    assert_eq!(row(&*store, ended).result.as_deref(), Some(&b"yes"[..]));
    assert_eq!(
        store.recover(3, Blame::RunningJobs, 3).unwrap(),
        [running, queued]
    );
    assert_eq!(store.claim(4).unwrap().id, running);
    assert_eq!(row(&*store, running).attempts, 2);
}

fn a_crash_cancels_attached_jobs_without_a_key(disk: &dyn Disk) {
    let mut store = disk.open();
    let running = store.accept(NewJob {
        priority: 2,
        ..attached("a")
    });
    let running_keyed = store.accept(NewJob {
        priority: 1,
        ..keyed(attached("b"), "b")
    });
    let queued = store.accept(attached("c"));
    let queued_keyed = store.accept(keyed(attached("d"), "d"));
    store.claim(0);
    store.claim(0);
    drop(store);
    let store = disk.open();
    for id in [running, queued] {
        let cancelled = row(&*store, id);
        assert_eq!(
            (cancelled.state, cancelled.finished_at_ms),
            (State::Cancelled, Some(500))
        );
    }
    for id in [running_keyed, queued_keyed] {
        assert_eq!(row(&*store, id).state, State::Queued);
    }
}

fn delivered_deletes_only_what_nobody_can_ask_for(disk: &dyn Disk) {
    let mut store = disk.open();
    let plain = store.accept(attached("a"));
    let with_key = store.accept(keyed(attached("b"), "b"));
    let on_its_own = store.accept(detached("c"));
    assert!(!store.delivered(plain));
    for id in [plain, with_key, on_its_own] {
        store.claim(0);
        store.finish(id, completed("yes"), 1);
    }
    assert!(store.delivered(plain));
    assert!(!store.delivered(plain));
    assert!(!store.delivered(with_key));
    assert!(!store.delivered(on_its_own));
    assert_eq!(store.reader().unwrap().get(plain), Err(Error::NotFound));
    assert_eq!(count(&*store, State::Completed), 2);
}

fn ids_are_never_used_again(disk: &dyn Disk) {
    let mut store = disk.open();
    let first = store.accept(attached("a"));
    store.cancel(first, 0).unwrap();
    assert!(store.delivered(first));
    drop(store);
    let mut store = disk.open();
    assert!(store.accept(detached("b")) > first);
}

fn purge_follows_retention(disk: &dyn Disk) {
    let mut store = disk.open();
    let mut ids = Vec::new();
    for (job, finished) in [
        (detached("a"), Some(100)),
        (detached("b"), Some(200)),
        (attached("c"), Some(200)),
        (keyed(attached("d"), "d"), Some(300)),
        (detached("e"), None),
    ] {
        let id = store.accept(job);
        if let Some(at) = finished {
            store.cancel(id, at).unwrap();
        }
        ids.push(id);
    }
    let retention = Retention {
        detached_before_ms: 200,
        attached_before_ms: 300,
    };
    let purge = Change::Purge {
        retention,
        limit: 10,
    };
    assert_eq!(store.one(purge.clone(), 0), Ok(purged(2, Some(0))));
    assert_eq!(store.one(purge, 0), Ok(purged(0, Some(0))));
    let left = store
        .reader()
        .unwrap()
        .list(&Filter {
            limit: 9,
            ..Filter::default()
        })
        .unwrap();
    let left: Vec<_> = left.into_iter().map(|row| row.id).collect();
    assert_eq!(left, [ids[4], ids[3], ids[1]]);
}

fn lists_are_filtered_and_newest_first(disk: &dyn Disk) {
    let mut store = disk.open();
    for n in 0..6 {
        store.accept(NewJob {
            uid: 1000 + n % 2,
            ..detached("a")
        });
    }
    store.cancel(JobId(4), 0).unwrap();
    store.claim(0);
    store.finish(JobId(1), completed("yes"), 0);
    let list = |filter: Filter| -> Vec<i64> {
        let mut reader = store.reader().unwrap();
        let rows = reader.list(&filter).unwrap();
        for row in &rows {
            let whole = reader.get(row.id).unwrap();
            let without_result = JobRow {
                result: None,
                ..whole
            };
            assert_eq!(*row, without_result);
        }
        rows.into_iter().map(|row| row.id.0).collect()
    };
    let all = Filter {
        limit: usize::MAX,
        ..Filter::default()
    };
    assert_eq!(list(all.clone()), [6, 5, 4, 3, 2, 1]);
    assert_eq!(
        list(Filter {
            limit: 2,
            ..Filter::default()
        }),
        [6, 5]
    );
    assert_eq!(
        list(Filter {
            limit: 0,
            ..Filter::default()
        }),
        [] as [i64; 0]
    );
    assert_eq!(
        list(Filter {
            before: Some(JobId(3)),
            ..all.clone()
        }),
        [2, 1]
    );
    assert_eq!(
        list(Filter {
            uid: Some(1001),
            ..all.clone()
        }),
        [6, 4, 2]
    );
    assert_eq!(
        list(Filter {
            state: Some(State::Queued),
            ..all.clone()
        }),
        [6, 5, 3, 2]
    );
    let narrow = Filter {
        state: Some(State::Queued),
        before: Some(JobId(6)),
        limit: 1,
        uid: Some(1000),
    };
    assert_eq!(list(narrow), [5]);
}

fn at(name: &str, not_before_ms: Option<i64>, deadline_ms: Option<i64>) -> NewJob {
    NewJob {
        times: Times {
            not_before_ms,
            deadline_ms,
        },
        ..detached(name)
    }
}

fn a_paused_queue_starts_nothing(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    let paused = Flow {
        paused: true,
        draining: false,
    };
    let pause = Change::SetFlow(FlowChange::Pause);
    assert_eq!(store.one(pause, 0), Ok(Applied::Flow(paused)));
    assert_eq!(store.claim(0), None);
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.reader().unwrap().flow(), Ok(paused));
    assert_eq!(store.claim(0), None);
    assert_eq!(row(&*store, id).position, Some(0));
    store.one(Change::SetFlow(FlowChange::Resume), 0).unwrap();
    assert_eq!(store.claim(0).unwrap().id, id);
}

fn a_drained_queue_takes_nothing_in(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(keyed(detached("a"), "k"));
    store.one(Change::SetFlow(FlowChange::Drain), 0).unwrap();
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.submit(detached("b")), Err(Error::Draining));
    assert!(store.submit(keyed(detached("a"), "k")).unwrap().existed);
    let batch = NewBatch {
        uid: 7,
        endpoint: Endpoint::Completions,
        input_file: FileId(1),
        completion_window: "24h".to_owned(),
        priority: 0,
        metadata: None,
        deadline_ms: 9,
        output_kept_s: None,
        idempotency_key: None,
    };
    let add = Change::Batch(BatchChange::Add {
        batch,
        limits: limits(1),
    });
    assert_eq!(store.one(add, 0), Err(Error::Draining));
    assert_eq!(store.claim(0).unwrap().id, id);
    assert!(store.finish(id, completed("yes"), 0));
    store.one(Change::SetFlow(FlowChange::Resume), 0).unwrap();
    store.accept(detached("b"));
}

fn a_pause_and_a_drain_leave_each_other_alone(disk: &dyn Disk) {
    for order in [
        [FlowChange::Pause, FlowChange::Drain],
        [FlowChange::Drain, FlowChange::Pause],
    ] {
        let mut store = disk.open();
        let id = store.accept(detached("a"));
        for change in order {
            store.one(Change::SetFlow(change), 0).unwrap();
        }
        drop(store);
        let mut store = disk.open();
        let both = Flow {
            paused: true,
            draining: true,
        };
        assert_eq!(store.reader().unwrap().flow(), Ok(both));
        assert_eq!(store.submit(detached("b")), Err(Error::Draining));
        assert_eq!(store.claim(0), None);
        let resumed = store.one(Change::SetFlow(FlowChange::Resume), 0);
        assert_eq!(resumed, Ok(Applied::Flow(Flow::default())));
        assert_eq!(store.claim(0).unwrap().id, id);
        assert!(store.finish(id, completed("yes"), 0));
    }
}

fn a_job_waits_for_its_time(disk: &dyn Disk) {
    let mut store = disk.open();
    let late = store.accept(NewJob {
        priority: 9,
        ..at("late", Some(70), None)
    });
    let now = store.accept(at("now", None, None));
    let early = store.accept(at("early", Some(30), None));
    assert_eq!(row(&*store, late).position, None);
    assert_eq!(row(&*store, now).position, Some(0));
    let woken = |next_ms| Woken {
        expired: vec![],
        next_ms,
    };
    assert_eq!(store.wake(10), woken(Some(30)));
    assert_eq!(store.claim(10).unwrap().id, now);
    assert_eq!(store.claim(29), None);
    // Its own time, also without a wake before.
    assert_eq!(store.claim(30).unwrap().id, early);
    drop(store);
    // The next daemon waits too; what had run goes first.
    let mut store = disk.open();
    assert_eq!(store.claim(40).unwrap().id, now);
    assert_eq!(store.claim(40).unwrap().id, early);
    assert_eq!(store.claim(69), None);
    assert_eq!(store.wake(70), woken(None));
    assert_eq!(row(&*store, late).position, Some(0));
    assert_eq!(store.claim(70).unwrap().id, late);
}

fn what_is_not_done_by_its_deadline_expires(disk: &dyn Disk) {
    let mut store = disk.open();
    let running = store.accept(at("running", None, Some(50)));
    let done = store.accept(at("done", None, Some(51)));
    let waiting = store.accept(at("waiting", Some(10_000), Some(60)));
    store.claim(0).unwrap();
    store.claim(0).unwrap();
    assert!(store.finish(done, completed("yes"), 50));
    assert_eq!(store.wake(49).next_ms, Some(50));
    // Passed, but nobody has looked yet: not claimed any more.
    let missed = store.accept(at("missed", None, Some(20)));
    assert_eq!(store.claim(20), None);
    let woken = store.wake(60);
    let expired = [
        (missed, State::Queued),
        (running, State::Running),
        (waiting, State::Queued),
    ];
    assert_eq!((woken.expired, woken.next_ms), (expired.to_vec(), None));
    // Never a result after that, nor any other end.
    assert_eq!(store.end(running, completed("late"), 61), Finished::TooLate);
    assert_eq!(store.cancel(waiting, 62).unwrap().before, State::Expired);
    for id in [running, waiting, missed] {
        let row = row(&*store, id);
        assert_eq!(
            (row.state, row.finished_at_ms, row.result),
            (State::Expired, Some(60), None)
        );
    }
    assert_eq!(row(&*store, done).state, State::Completed);
}

fn an_answer_that_is_late_is_not_published(disk: &dyn Disk) {
    let mut store = disk.open();
    for end in [completed("late"), failed("no"), fault()] {
        let [id, in_time] = ["a", "b"].map(|name| store.accept(at(name, None, Some(50))));
        store.claim(0).unwrap();
        store.claim(0).unwrap();
        assert_eq!(store.end(id, end, 50), Finished::Expired);
        let late = row(&*store, id);
        assert_eq!(
            (late.state, late.finished_at_ms, late.result, late.error),
            (State::Expired, Some(50), None, None)
        );
        assert_eq!(store.end(id, completed("again"), 51), Finished::TooLate);
        assert!(store.finish(in_time, completed("yes"), 49));
    }
    assert_eq!(store.wake(60), Woken::default());
}

fn fault() -> Completion {
    Completion::Faulted {
        error: "broken".to_owned(),
    }
}

fn a_fault_of_ours_is_tried_again_after_a_pause(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(at("a", Some(0), None));
    for (now_ms, at_ms) in [(0, 1_000), (1_000, 3_000)] {
        assert_eq!(store.claim(now_ms).unwrap().id, id);
        assert_eq!(store.end(id, fault(), now_ms), Finished::Retried { at_ms });
        let row = row(&*store, id);
        assert_eq!(
            (row.state, row.started_at_ms, row.position),
            (State::Queued, None, None)
        );
        // What its user said stays.
        assert_eq!(row.times.not_before_ms, Some(0));
        assert_eq!(store.claim(at_ms - 1), None);
        assert_eq!(store.wake(at_ms - 1).next_ms, Some(at_ms));
    }
    assert_eq!(store.wake(3_000).next_ms, None);
    store.claim(3_000).unwrap();
    assert_eq!(store.end(id, fault(), 3_001), Finished::Published);
    let row = row(&*store, id);
    assert_eq!(
        (row.state, row.attempts, row.error.as_deref()),
        (State::Failed, 3, Some("broken"))
    );
    assert_eq!(store.end(id, fault(), 4_000), Finished::TooLate);
}

fn a_clock_that_is_set_back_makes_no_pause_longer(disk: &dyn Disk) {
    const NOW_MS: i64 = 1_700_000_000_000;
    const HOUR_MS: i64 = 3_600_000;
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    let later = store.accept(at("b", Some(NOW_MS), None));
    assert_eq!(store.claim(0).unwrap().id, id);
    let at_ms = NOW_MS + 1_000;
    assert_eq!(store.end(id, fault(), NOW_MS), Finished::Retried { at_ms });
    // No further back than a pause can be.
    assert_eq!(store.wake(NOW_MS - 1_000).next_ms, Some(NOW_MS));
    assert_eq!(store.claim(NOW_MS - 1_000), None);
    assert_eq!(store.claim(NOW_MS - HOUR_MS).unwrap().id, id);
    // What a user said is told by the clock as it is.
    assert_eq!(store.claim(NOW_MS - HOUR_MS), None);
    assert_eq!(row(&*store, later).position, None);
}

fn deaths_of_daemons_use_up_no_tries(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.accept(detached("a"));
    for _ in 0..2 {
        assert_eq!(store.claim(0).unwrap().id, id);
        drop(store);
        store = disk.open();
    }
    for (now_ms, at_ms) in [(0, 1_000), (1_000, 3_000)] {
        store.claim(now_ms).unwrap();
        assert_eq!(store.end(id, fault(), now_ms), Finished::Retried { at_ms });
    }
    store.claim(3_000).unwrap();
    assert_eq!(row(&*store, id).attempts, 5);
    assert_eq!(store.end(id, fault(), 3_000), Finished::Published);
}

fn the_last_try_is_made_alone(disk: &dyn Disk) {
    let mut store = disk.open();
    let [a, b] = ["a", "b"].map(|name| store.accept(detached(name)));
    for now_ms in [0, 1_000] {
        for id in [a, b] {
            assert_eq!(store.claim(now_ms).unwrap().id, id);
        }
        for id in [a, b] {
            assert_ne!(store.end(id, fault(), now_ms), Finished::Published);
        }
    }
    let c = store.accept(detached("c"));
    assert_eq!(store.claim(2_000).unwrap().id, c);
    assert_eq!(store.claim(3_000), None, "another one runs");
    assert!(store.finish(c, completed("yes"), 3_000));
    assert_eq!(store.claim(3_000).unwrap().id, a);
    assert_eq!(store.claim(3_000), None, "it runs alone");
    assert_eq!(store.end(a, fault(), 3_000), Finished::Published);
    assert_eq!(store.claim(3_000).unwrap().id, b);
    assert!(store.finish(b, completed("yes"), 3_000));
    assert_eq!(row(&*store, a).state, State::Failed);
    assert_eq!(row(&*store, b).state, State::Completed);
}

/// Opens the store again and again; each time the jobs that can run do, and the daemon dies.
fn die_while_running(disk: &dyn Disk, times: usize) -> Vec<Vec<JobId>> {
    let running = |_| {
        let mut store = disk.open();
        std::iter::from_fn(|| store.claim(0))
            .map(|claimed| claimed.id)
            .collect()
    };
    (0..times).map(running).collect()
}

fn a_suspect_runs_alone_and_fails_when_it_goes_on_killing(disk: &dyn Disk) {
    let mut store = disk.open();
    let [a, b] = ["a", "b"].map(|name| store.accept(detached(name)));
    drop(store);
    // Together twice, then one by one: the first is alone three times, and that is enough.
    let ran = die_while_running(disk, 6);
    assert_eq!(
        ran,
        [vec![a, b], vec![a, b], vec![a], vec![a], vec![a], vec![b]]
    );
    let mut store = disk.open();
    let poison = row(&*store, a);
    assert_eq!(poison.state, State::Failed);
    assert_eq!(
        poison.error.as_deref(),
        Some("the daemon died 3 times while it ran this job alone")
    );
    // The other one is not to blame. While it runs nobody else does, and then they do.
    let c = store.accept(detached("c"));
    assert_eq!(store.claim(0).unwrap().id, b);
    assert_eq!(store.claim(0), None);
    assert!(store.finish(b, completed("yes"), 0));
    assert_eq!(store.claim(0).unwrap().id, c);
    // Nor does a suspect start beside another job.
    let mut store = {
        drop(store);
        disk.open()
    };
    store.claim(0).unwrap();
    drop(store);
    let mut store = disk.open();
    let d = store.accept(NewJob {
        priority: 1,
        ..detached("d")
    });
    assert_eq!(store.claim(0).unwrap().id, d);
    assert_eq!(store.claim(0), None);
    assert!(store.finish(d, completed("yes"), 0));
    assert_eq!(store.claim(0).unwrap().id, c);
}

fn crashes_are_not_counted_without_a_limit(disk: &dyn Disk) {
    let mut store = disk.open();
    let [a, b] = ["a", "b"].map(|name| store.accept(detached(name)));
    for _ in 0..9 {
        assert_eq!(
            [store.claim(0).unwrap().id, store.claim(0).unwrap().id],
            [a, b]
        );
        store.recover(0, Blame::RunningJobs, 0).unwrap();
    }
}

fn unknown_jobs_are_not_found(disk: &dyn Disk) {
    let mut store = disk.open();
    let mut reader = store.reader().unwrap();
    for id in [JobId(0), JobId(-1), JobId(i64::MAX), JobId(i64::MIN)] {
        assert_eq!(reader.get(id), Err(Error::NotFound));
        assert_eq!(store.cancel(id, 0), Err(Error::NotFound));
        assert!(!store.delivered(id));
        assert_eq!(store.requeue(&[id]), []);
    }
}

/// The file's tables, for a look from outside.
fn peek(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("queue.db")).unwrap()
}

/// A file as the first version made it, with a job that ran, one that waits and one that is done.
/// One commit stays short, however many jobs wait for the same moment.
#[test]
fn jobs_whose_time_has_come_take_their_places_in_chunks() {
    const CHUNK: usize = 4_096;
    let root = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let job = NewJob {
        times: Times {
            not_before_ms: Some(10),
            deadline_ms: None,
        },
        ..detached("a")
    };
    let admission = admission(10_000);
    let submits = vec![Change::Submit { job, admission }; CHUNK + 1];
    store.apply(&submits, 0).unwrap();
    assert_eq!(store.wake(9).next_ms, Some(10));
    assert_eq!(store.wake(10).next_ms, Some(10), "one is left");
    assert_eq!(store.wake(10).next_ms, None);
    assert_eq!(
        row(&store, JobId(CHUNK as i64)).position,
        Some(CHUNK as u64 - 1)
    );
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date() {
    let root = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(root.path().join("queue.db")).unwrap();
    db.execute_batch(include_str!("fixtures/queue-1.sql"))
        .unwrap();
    drop(db);
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(500, Blame::RunningJobs, 3).unwrap();
    let done = row(&store, JobId(3));
    assert_eq!(
        (done.state, done.result.as_deref()),
        (State::Completed, Some(&b"{}"[..]))
    );
    let claimed =
        std::iter::from_fn(|| store.claim(500)).map(|claimed| (claimed.id.0, claimed.body));
    let expected = [(1, b"ran".to_vec()), (2, b"waits".to_vec())];
    assert_eq!(claimed.collect::<Vec<_>>(), expected);
    // What it was accepted with under the same key is found again.
    let again = keyed(detached("same"), "k");
    let hash =
        woolly::queue::state::request_hash(again.endpoint, &again.body, 0, None, Times::default());
    assert_eq!(
        peek(root.path())
            .query_row("SELECT request_blake3 FROM job WHERE id = 3", [], |row| row
                .get::<_, [u8; 32]>(0))
            .unwrap(),
        hash
    );
    assert!(store.submit(again).unwrap().existed);
    let version: i32 = peek(root.path())
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 7);
}

#[test]
fn a_newer_schema_is_refused_and_the_file_untouched() {
    let root = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(root.path()).unwrap());
    peek(root.path())
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let file = root.path().join("queue.db");
    let before = std::fs::read(&file).unwrap();
    let refused = SqliteStore::open(root.path()).err().unwrap().to_string();
    assert_eq!(
        refused,
        format!(
            "job store {}: has schema version 99, and this program knows 7: a newer woollyd wrote it",
            file.display()
        )
    );
    assert!(std::fs::read(&file).unwrap() == before);
}

#[test]
fn a_newer_schema_that_is_still_in_the_log_is_refused_too() {
    let root = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(root.path()).unwrap());
    // Leave the log behind as a killed daemon does.
    let newer = peek(root.path());
    newer
        .set_db_config(
            rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
            true,
        )
        .unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let files = ["queue.db", "queue.db-wal"].map(|name| root.path().join(name));
    let before = files.each_ref().map(|file| std::fs::read(file).unwrap());
    assert!(!before[1].is_empty());
    let refused = SqliteStore::open(root.path()).err().unwrap().to_string();
    assert!(refused.contains("has schema version 99"), "{refused}");
    assert!(files.map(|file| std::fs::read(file).unwrap()) == before);
}

#[test]
fn a_foreign_file_is_refused_and_untouched() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("queue.db");
    std::fs::write(
        &file,
        "these are not the jobs you are looking for".repeat(30),
    )
    .unwrap();
    let before = std::fs::read(&file).unwrap();
    let refused = SqliteStore::open(root.path()).err().unwrap().to_string();
    let expected = format!("job store {}: file is not a database", file.display());
    assert_eq!(refused, expected);
    assert!(std::fs::read(&file).unwrap() == before);

    std::fs::remove_file(&file).unwrap();
    peek(root.path())
        .execute_batch("CREATE TABLE mine(x)")
        .unwrap();
    let refused = SqliteStore::open(root.path()).err().unwrap().to_string();
    assert!(
        refused.ends_with("is a database of another program"),
        "{refused}"
    );
}

#[test]
fn a_damaged_page_is_found_after_an_unclean_end() {
    let root = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let submit = |_| Change::Submit {
        job: detached("a"),
        admission: admission(1_000),
    };
    store
        .apply(&(0..500).map(submit).collect::<Vec<_>>(), 0)
        .unwrap();
    drop(store);
    let file = root.path().join("queue.db");
    let mut bytes = std::fs::read(&file).unwrap();
    for page in bytes.chunks_mut(4096).skip(3) {
        page[8..200].fill(0xff);
    }
    std::fs::write(&file, bytes).unwrap();
    // Not empty: the daemon before did not end well.
    std::fs::write(root.path().join("queue.db-wal"), [0; 32]).unwrap();
    let refused = SqliteStore::open(root.path()).err().unwrap().to_string();
    let start = format!("job store {}: ", file.display());
    assert!(
        refused.starts_with(&start) && !refused.contains('\n'),
        "{refused}"
    );
}

#[test]
fn the_end_of_a_job_is_final_even_for_sql() {
    let root = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let id = store.accept(detached("a"));
    store.cancel(id, 1).unwrap();
    let refused = peek(root.path())
        .execute("UPDATE job SET state = 'queued', finished_at_ms = NULL", [])
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a job that has ended never changes its state"
    );
}

#[test]
fn a_crash_is_counted_against_the_jobs_that_ran() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut store = SqliteStore::open(root.path()).unwrap();
        store.recover(0, Blame::RunningJobs, 3).unwrap();
        store.accept(detached("a"));
        store.claim(0).unwrap();
    }
    drop(
        SqliteStore::open(root.path())
            .unwrap()
            .recover(0, Blame::RunningJobs, 3)
            .unwrap(),
    );
    assert_eq!(crashes_and_attempts(root.path()), [(2, 2), (0, 0)]);
}

#[test]
fn a_death_that_no_job_caused_is_counted_against_none() {
    let root = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let running = store.accept(detached("a"));
    let left = store.accept(attached("b"));
    let queued = store.accept(detached("c"));
    store.claim(0).unwrap();
    store.claim(0).unwrap();
    drop(store);
    let mut store = SqliteStore::open(root.path()).unwrap();
    assert_eq!(
        store.recover(0, Blame::Nobody, 3).unwrap(),
        [running, queued]
    );
    assert_eq!(
        crashes_and_attempts(root.path()),
        [(0, 0), (0, 1), (0, 0)],
        "{left} is over: its attempt stays"
    );
}

fn crashes_and_attempts(dir: &Path) -> Vec<(i64, i64)> {
    let db = peek(dir);
    let mut statement = db
        .prepare("SELECT crashes, attempts FROM job ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
