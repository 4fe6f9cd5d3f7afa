//! The queue as the rest of the daemon sees it: handles, claims that wait, cancellations, the live log,
//! and what happens when the store fails.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use woolly::config;
use woolly::job::{Event, FinishReason, JobId, SequenceEvent, State, Token};
use woolly::queue::{
    Blame, Change, Error, Filter, Finished, JobStore, LiveLog, NewJob, Queue, SqliteStore,
};

use crate::support::block_on::{block_on, poll_once};
use crate::support::queue::{admission, attached, completed, detached, full, keyed, queue_config};
use crate::support::queue_double::Double;
use crate::support::queue_oracle::Oracle;

const CONFIG: config::Queue = queue_config(100, 3_600);

fn open(dir: &Path) -> Queue {
    Queue::open(dir, &CONFIG).unwrap()
}

fn accept(queue: &Queue, job: NewJob) -> JobId {
    block_on(queue.submit(job)).unwrap().job.id
}

fn state(queue: &Queue, id: JobId) -> State {
    block_on(queue.get(id)).unwrap().state
}

#[test]
fn a_job_goes_through_the_handle() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let id = accept(&queue, detached("a"));
    assert_eq!(state(&queue, id), State::Queued);
    let claimed = queue.claim_blocking().unwrap();
    assert_eq!(
        (claimed.id, claimed.body.as_slice()),
        (id, &b"{\"prompt\":\"a\"}"[..])
    );
    assert_eq!(
        queue.finish_blocking(id, completed("yes")),
        Ok(Finished::Published)
    );
    assert_eq!(
        queue.finish_blocking(id, completed("again")),
        Ok(Finished::TooLate)
    );
    let row = block_on(queue.get(id)).unwrap();
    assert_eq!(row.result.as_deref(), Some(&b"yes"[..]));
    assert!(row.started_at_ms.unwrap() <= row.finished_at_ms.unwrap());
    let counts = block_on(queue.read(|reader| reader.counts())).unwrap();
    assert_eq!(counts[2], (State::Completed, 1));
    let listed = block_on(queue.list(Filter {
        limit: 5,
        ..Filter::default()
    }))
    .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(block_on(queue.get(JobId(9))), Err(Error::NotFound));
    queue.close();
    assert!(!root.path().join("queue.db-wal").exists());
}

#[test]
fn a_claim_waits_for_a_job() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    std::thread::scope(|threads| {
        let claimer = threads.spawn(|| queue.claim_blocking().unwrap().id);
        let id = accept(&queue, detached("a"));
        assert_eq!(claimer.join().unwrap(), id);
        // A job that was put back wakes a claim too.
        let claimer = threads.spawn(|| queue.claim_blocking().unwrap().id);
        queue.requeue_blocking(vec![id]).unwrap();
        assert_eq!(claimer.join().unwrap(), id);
    });
    assert_eq!(block_on(queue.get(JobId(1))).unwrap().attempts, 1);
}

#[test]
fn many_claimers_get_every_job_once() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let claimed = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while let Some(job) = queue.claim_blocking() {
                    assert_eq!(
                        queue.finish_blocking(job.id, completed("yes")),
                        Ok(Finished::Published)
                    );
                    let mut claimed = claimed.lock().unwrap();
                    claimed.push(job.id);
                    if claimed.len() == 60 {
                        queue.stop_claims();
                    }
                }
            });
        }
        for _ in 0..3 {
            threads.spawn(|| (0..20).for_each(|_| _ = accept(&queue, detached("a"))));
        }
    });
    let mut claimed = claimed.into_inner().unwrap();
    claimed.sort();
    assert_eq!(claimed, (1..=60).map(JobId).collect::<Vec<_>>());
}

#[test]
fn stopping_claims_ends_those_that_wait_and_those_to_come() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| queue.claim_blocking());
        queue.stop_claims();
        assert_eq!(waiting.join().unwrap(), None);
    });
    let id = accept(&queue, detached("a"));
    assert_eq!(queue.claim_blocking(), None);
    assert_eq!(state(&queue, id), State::Queued);
}

#[test]
fn cancel_tells_the_engine_only_about_running_jobs() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let cancellations = queue.cancellations();
    let running = accept(&queue, detached("a"));
    let queued = accept(&queue, detached("b"));
    queue.claim_blocking().unwrap();
    assert_eq!(
        block_on(queue.cancel(queued)).unwrap().state,
        State::Cancelled
    );
    assert_eq!(
        block_on(queue.cancel(running)).unwrap().state,
        State::Cancelled
    );
    assert_eq!(
        block_on(queue.cancel(running)).unwrap().state,
        State::Cancelled
    );
    assert_eq!(block_on(queue.cancel(JobId(77))), Err(Error::NotFound));
    assert_eq!(cancellations.try_recv(), Ok(running));
    assert!(cancellations.is_empty());
    assert_eq!(
        queue.finish_blocking(running, completed("late")),
        Ok(Finished::TooLate)
    );
    assert_eq!(block_on(queue.get(running)).unwrap().result, None);
}

#[test]
fn a_new_claimer_and_a_new_listener_follow_the_ones_that_left() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let first = queue.cancellations();
    let running = accept(&queue, detached("a"));
    queue.claim_blocking().unwrap();
    queue.stop_claims();
    assert_eq!(queue.claim_blocking(), None);
    first.close();
    queue.requeue_blocking(vec![running]).unwrap();

    let second = queue.cancellations();
    queue.allow_claims();
    assert_eq!(queue.claim_blocking().unwrap().id, running);
    block_on(queue.cancel(running)).unwrap();
    assert_eq!(second.recv_blocking(), Ok(running));
    assert!(first.is_empty());
}

#[test]
fn a_connection_that_is_gone_cancels_without_waiting() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let running = accept(&queue, attached("a"));
    let queued = accept(&queue, attached("b"));
    queue.claim_blocking().unwrap();
    queue.cancel_detached(JobId(77));
    queue.cancel_detached(queued);
    queue.cancel_detached(running);
    assert_eq!(queue.cancellations().recv_blocking(), Ok(running));
    assert_eq!(
        (state(&queue, running), state(&queue, queued)),
        (State::Cancelled, State::Cancelled)
    );
}

#[test]
fn a_delivered_result_is_deleted() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let plain = accept(&queue, attached("a"));
    let with_key = accept(&queue, keyed(attached("b"), "b"));
    for id in [plain, with_key] {
        queue.claim_blocking().unwrap();
        queue.finish_blocking(id, completed("yes")).unwrap();
        queue.delivered(id);
    }
    // What connections left is committed before the close returns.
    queue.close();
    let queue = open(root.path());
    assert_eq!(block_on(queue.get(plain)), Err(Error::NotFound));
    assert_eq!(state(&queue, with_key), State::Completed);
}

/// Returns when the writer has done what it was told before, and what followed from that.
fn settle(queue: &Queue) {
    for _ in 0..2 {
        assert_eq!(block_on(queue.cancel(JobId(999))), Err(Error::NotFound));
    }
}

#[test]
fn a_submit_that_nobody_waits_for_any_longer_is_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    for _ in 0..20 {
        // Sent with the first poll, dropped mostly before the answer came.
        let _ = poll_once(queue.submit(attached("a")));
    }
    let _ = poll_once(queue.submit(detached("b")));
    settle(&queue);
    let counts = block_on(queue.read(|reader| reader.counts())).unwrap();
    assert_eq!(
        (counts[0], counts[4]),
        ((State::Queued, 1), (State::Cancelled, 20))
    );

    let mut answered = Box::pin(queue.submit(attached("c")));
    let _ = poll_once(answered.as_mut());
    settle(&queue);
    assert_eq!(state(&queue, JobId(22)), State::Queued);
    drop(answered);
    settle(&queue);
    assert_eq!(state(&queue, JobId(22)), State::Cancelled);
}

#[test]
fn a_submit_with_a_key_goes_on_because_its_answer_can_be_asked_for_again() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    // Dropped mostly before the answer came, and certainly after it.
    let _ = poll_once(queue.submit(keyed(attached("a"), "a")));
    settle(&queue);
    let mut answered = Box::pin(queue.submit(keyed(attached("b"), "b")));
    let _ = poll_once(answered.as_mut());
    settle(&queue);
    drop(answered);
    settle(&queue);
    for id in [1, 2] {
        assert_eq!(state(&queue, JobId(id)), State::Queued);
    }
    let again = block_on(queue.submit(keyed(attached("b"), "b"))).unwrap();
    assert!(again.existed && again.job.id == JobId(2));
}

#[test]
fn a_full_queue_refuses_until_a_job_ends() {
    let root = tempfile::tempdir().unwrap();
    let queue = Queue::open(root.path(), &queue_config(1, 60)).unwrap();
    let id = accept(&queue, detached("a"));
    assert_eq!(block_on(queue.submit(detached("b"))), Err(full(1)));
    block_on(queue.cancel(id)).unwrap();
    accept(&queue, detached("b"));
}

#[test]
fn old_jobs_are_deleted_at_open() {
    let root = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(root.path()).unwrap();
    store.recover(0, Blame::RunningJobs, 3).unwrap();
    let submit = |_| Change::Submit {
        job: detached("a"),
        admission: admission(9),
    };
    store
        .apply(&(0..3).map(submit).collect::<Vec<_>>(), 0)
        .unwrap();
    // One ended in 1970, one just before the end of time.
    store.apply(&[Change::Cancel(JobId(1))], 1_000).unwrap();
    store.apply(&[Change::Cancel(JobId(2))], i64::MAX).unwrap();
    drop(store);
    let queue = open(root.path());
    assert_eq!(block_on(queue.get(JobId(1))), Err(Error::NotFound));
    assert_eq!(state(&queue, JobId(2)), State::Cancelled);
    assert_eq!(state(&queue, JobId(3)), State::Queued);
}

#[test]
fn a_second_daemon_on_the_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let first = open(root.path());
    let refused = Queue::open(root.path(), &CONFIG).err().unwrap();
    assert!(matches!(&refused, Error::InUse { path } if Path::new(path) == root.path()));
    let other_handle = first.clone();
    drop(first);
    assert!(Queue::open(root.path(), &CONFIG).is_err());
    drop(other_handle);
    open(root.path());
}

#[test]
fn a_closed_queue_says_so() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let id = accept(&queue, detached("a"));
    let mut subscription = queue.live().subscribe(id);
    queue.close();
    queue.close();
    assert_eq!(block_on(queue.submit(detached("b"))), Err(Error::Closed));
    assert_eq!(block_on(queue.get(id)), Err(Error::Closed));
    assert_eq!(
        queue.finish_blocking(id, completed("yes")),
        Err(Error::Closed)
    );
    assert_eq!(queue.claim_blocking(), None);
    assert_eq!(block_on(subscription.next()), None);
    queue.cancel_detached(id);
    let failed = queue.failed();
    drop(queue);
    assert!(failed.recv_blocking().is_err());
}

/// A queue whose store fails when it is told to.
struct Fault {
    queue: Queue,
    _scratch: tempfile::TempDir,
    calls: Arc<AtomicUsize>,
    fault: Arc<Mutex<Option<Error>>>,
}

impl Fault {
    fn ready() -> Self {
        let calls = Arc::<AtomicUsize>::default();
        let fault = Arc::<Mutex<Option<Error>>>::default();
        let (called, told) = (Arc::clone(&calls), Arc::clone(&fault));
        let apply = move |store: &mut Oracle, group: &[Change], now_ms: i64| {
            called.fetch_add(1, Ordering::SeqCst);
            match told.lock().unwrap().clone() {
                Some(fault) => Err(fault),
                None => store.apply(group, now_ms),
            }
        };
        let store = Double {
            store: Oracle::default(),
            apply,
        };
        let scratch = tempfile::tempdir().unwrap();
        Fault {
            queue: Queue::over(Box::new(store), scratch.path(), &CONFIG, Blame::RunningJobs)
                .unwrap(),
            _scratch: scratch,
            calls,
            fault,
        }
    }

    fn set(&self, fault: Option<Error>) {
        *self.fault.lock().unwrap() = fault;
    }
}

#[test]
fn a_full_disk_refuses_and_the_queue_lives_on() {
    let test = Fault::ready();
    let queue = &test.queue;
    let running = accept(queue, detached("a"));
    queue.claim_blocking().unwrap();
    let left = accept(queue, attached("b"));
    let no_space = Error::NoSpace {
        path: "queue.db".to_owned(),
    };
    test.set(Some(no_space.clone()));
    assert_eq!(block_on(queue.submit(detached("c"))), Err(no_space.clone()));
    assert_eq!(
        queue.finish_blocking(running, completed("yes")),
        Err(no_space)
    );
    queue.cancel_detached(left);
    assert_eq!(state(queue, running), State::Running);
    test.set(None);
    // The result can be published again, and the cancel that nobody waited for was not forgotten.
    assert_eq!(
        queue.finish_blocking(running, completed("yes")),
        Ok(Finished::Published)
    );
    accept(queue, detached("c"));
    assert_eq!(state(queue, left), State::Cancelled);
    assert!(queue.failed().is_empty());
}

#[test]
fn a_deadline_that_met_a_full_disk_is_looked_at_again() {
    let test = Fault::ready();
    let mut job = detached("a");
    job.times.deadline_ms = Some(woolly::api::now_ms() + 100);
    let id = accept(&test.queue, job);
    let calls = test.calls.load(Ordering::SeqCst);
    test.set(Some(Error::NoSpace {
        path: "queue.db".to_owned(),
    }));
    // The alarm rings, in vain.
    while test.calls.load(Ordering::SeqCst) == calls {
        std::thread::yield_now();
    }
    test.set(None);
    let mut log = test.queue.live().subscribe(id);
    while block_on(log.next()).is_some() {}
    assert_eq!(state(&test.queue, id), State::Expired);
}

#[test]
fn a_fault_of_the_store_ends_it() {
    let test = Fault::ready();
    let id = accept(&test.queue, detached("a"));
    let mut subscription = test.queue.live().subscribe(id);
    let fault = Error::Store {
        path: "queue.db".to_owned(),
        problem: "disk I/O error".to_owned(),
    };
    test.set(Some(fault.clone()));
    assert_eq!(
        block_on(test.queue.submit(detached("b"))),
        Err(fault.clone())
    );
    assert_eq!(test.queue.failed().recv_blocking(), Ok(fault.clone()));
    let calls = test.calls.load(Ordering::SeqCst);
    // The disk may be well again, the store is not trusted all the same.
    test.set(None);
    assert_eq!(
        block_on(test.queue.submit(detached("c"))),
        Err(fault.clone())
    );
    assert_eq!(block_on(test.queue.get(id)), Err(fault.clone()));
    assert_eq!(test.queue.finish_blocking(id, completed("yes")), Err(fault));
    assert_eq!(test.queue.claim_blocking(), None);
    assert_eq!(block_on(subscription.next()), None);
    test.queue.close();
    assert_eq!(test.calls.load(Ordering::SeqCst), calls);
}

/// A queue whose store waits inside `apply` until the test lets it go on, and tells the size of each group.
struct Gated {
    queue: Queue,
    groups: async_channel::Receiver<usize>,
    go: async_channel::Sender<()>,
    _scratch: tempfile::TempDir,
}

impl Gated {
    fn ready() -> Self {
        let (groups_in, groups) = async_channel::bounded(9);
        let (go, go_out) = async_channel::bounded(9);
        let apply = move |store: &mut Oracle, group: &[Change], now_ms: i64| {
            groups_in.send_blocking(group.len()).unwrap();
            go_out.recv_blocking().unwrap();
            store.apply(group, now_ms)
        };
        let store = Oracle::default();
        let store = Box::new(Double { store, apply });
        // The look for old jobs and deadlines at open.
        go.send_blocking(()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let queue = Queue::over(store, scratch.path(), &CONFIG, Blame::RunningJobs).unwrap();
        assert_eq!(groups.recv_blocking(), Ok(2));
        Gated {
            queue,
            groups,
            go,
            _scratch: scratch,
        }
    }
}

#[test]
fn what_arrives_during_a_commit_forms_the_next_group() {
    let Gated {
        queue,
        groups,
        go,
        _scratch,
    } = Gated::ready();

    let mut first = Box::pin(queue.submit(detached("a")));
    assert_eq!(poll_once(first.as_mut()), Poll::Pending);
    assert_eq!(groups.recv_blocking(), Ok(1));
    let mut rest: Vec<_> = (0..5)
        .map(|_| Box::pin(queue.submit(detached("b"))))
        .collect();
    rest.iter_mut()
        .for_each(|submit| assert_eq!(poll_once(submit.as_mut()), Poll::Pending));
    // Not answered before the commit; a reader does not wait for it.
    assert_eq!(poll_once(first.as_mut()), Poll::Pending);
    assert_eq!(block_on(queue.get(JobId(1))), Err(Error::NotFound));
    go.send_blocking(()).unwrap();
    assert_eq!(block_on(first).unwrap().job.id, JobId(1));
    assert_eq!(groups.recv_blocking(), Ok(5));
    go.send_blocking(()).unwrap();
    let ids: Vec<_> = rest
        .into_iter()
        .map(|submit| block_on(submit).unwrap().job.id.0)
        .collect();
    assert_eq!(ids, [2, 3, 4, 5, 6]);
}

#[test]
fn an_abandoned_submit_is_cancelled_without_waiting_for_other_work() {
    let Gated {
        queue,
        groups,
        go,
        _scratch,
    } = Gated::ready();
    {
        let mut submit = Box::pin(queue.submit(attached("a")));
        assert_eq!(poll_once(submit.as_mut()), Poll::Pending);
        assert_eq!(groups.recv_blocking(), Ok(1));
    }
    go.send_blocking(()).unwrap();
    // The group with the cancel.
    assert_eq!(groups.recv_blocking(), Ok(1));
    go.send_blocking(()).unwrap();
    queue.close();
}

fn token(job: i64, sequence: usize, id: u32) -> Arc<SequenceEvent> {
    let event = Event::Token(Token {
        id,
        ..Token::default()
    });
    Arc::new(SequenceEvent {
        job: JobId(job),
        sequence,
        event,
    })
}

fn end(job: i64, sequence: usize) -> Arc<SequenceEvent> {
    let event = Event::Finished {
        reason: FinishReason::Stop,
        text: String::new(),
    };
    Arc::new(SequenceEvent {
        job: JobId(job),
        sequence,
        event,
    })
}

#[test]
fn slow_and_late_subscribers_read_everything() {
    let live = LiveLog::default();
    live.open(JobId(1));
    let mut early = live.subscribe(JobId(1));
    assert_eq!(poll_once(early.next()), Poll::Pending);
    let events: Vec<_> = (0..500)
        .map(|id| token(1, 0, id))
        .chain([end(1, 0)])
        .collect();
    std::thread::scope(|threads| {
        let read = |mut subscription: woolly::queue::Subscription| {
            let mut read = Vec::new();
            while let Some(event) = block_on(subscription.next()) {
                read.push(event);
            }
            read
        };
        let eager = threads.spawn(move || read(early));
        let (first, rest) = events.split_at(250);
        first.iter().for_each(|event| live.append(event.clone()));
        let late = live.subscribe(JobId(1));
        let slow = live.subscribe(JobId(1));
        let late = threads.spawn(move || read(late));
        rest.iter().for_each(|event| live.append(event.clone()));
        live.close(JobId(1));
        // One that comes after the end reads it too.
        let after = live.subscribe(JobId(1));
        for reader in [
            eager,
            late,
            threads.spawn(move || read(slow)),
            threads.spawn(move || read(after)),
        ] {
            assert_eq!(reader.join().unwrap(), events);
        }
    });
    assert_eq!(block_on(live.subscribe(JobId(2)).next()), None);
}

#[test]
fn logs_of_jobs_do_not_mix() {
    let live = LiveLog::default();
    live.open(JobId(1));
    live.open(JobId(2));
    live.append(token(1, 0, 10));
    live.append(token(2, 0, 20));
    live.append(token(3, 0, 30));
    live.close(JobId(1));
    let mut first = live.subscribe(JobId(2));
    assert_eq!(block_on(first.next()), Some(token(2, 0, 20)));
    assert_eq!(poll_once(first.next()), Poll::Pending);
    assert_eq!(block_on(live.subscribe(JobId(3)).next()), None);
}

#[test]
fn a_job_that_runs_again_repeats_nothing() {
    let live = LiveLog::default();
    live.open(JobId(1));
    let mut subscription = live.subscribe(JobId(1));
    for event in [token(1, 0, 10), token(1, 1, 20), token(1, 0, 11)] {
        live.append(event);
    }
    let stopped = SequenceEvent {
        job: JobId(1),
        sequence: 0,
        event: Event::Stopped,
    };
    live.append(Arc::new(stopped));
    live.open(JobId(1));
    // The sequences meet in another order the second time.
    for event in [
        token(1, 1, 20),
        token(1, 1, 21),
        token(1, 0, 10),
        token(1, 0, 11),
        token(1, 0, 12),
        end(1, 0),
    ] {
        live.append(event);
    }
    live.close(JobId(1));
    let mut read = Vec::new();
    while let Some(event) = block_on(subscription.next()) {
        read.push(event);
    }
    let expected = [
        token(1, 0, 10),
        token(1, 1, 20),
        token(1, 0, 11),
        token(1, 1, 21),
        token(1, 0, 12),
        end(1, 0),
    ];
    assert_eq!(read, expected);
}

#[test]
fn jobs_that_are_claimed_and_do_not_run_are_not_measured() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let ids = ["a", "b", "c"].map(|name| accept(&queue, detached(name)));
    for id in ids {
        assert_eq!(queue.claim_blocking().unwrap().id, id);
    }
    // One waits for an equal one, one has the result of an equal one.
    queue.stands_by(ids[1]);
    queue.stands_by(ids[2]);
    queue.finish_blocking(ids[2], completed("yes")).unwrap();
    assert_eq!(queue.pace(), None);
    queue.finish_blocking(ids[0], completed("yes")).unwrap();
    let pace = queue.pace().unwrap();
    assert_eq!(pace.at_once, 1.0);
    assert!(pace.run_ms < 60_000.0, "{pace:?}");
}

#[test]
fn the_log_is_open_from_submit_to_the_end_of_the_job() {
    let root = tempfile::tempdir().unwrap();
    let queue = open(root.path());
    let id = accept(&queue, detached("a"));
    let mut subscription = queue.live().subscribe(id);
    assert_eq!(poll_once(subscription.next()), Poll::Pending);
    queue.claim_blocking().unwrap();
    queue.live().append(token(id.0, 0, 10));
    queue.requeue_blocking(vec![id]).unwrap();
    drop(queue);
    assert_eq!(block_on(subscription.next()), Some(token(id.0, 0, 10)));
    assert_eq!(block_on(subscription.next()), None);

    // The next daemon has a log for it again.
    let queue = open(root.path());
    let mut subscription = queue.live().subscribe(id);
    queue.claim_blocking().unwrap();
    queue.live().append(token(id.0, 0, 10));
    queue.finish_blocking(id, completed("yes")).unwrap();
    assert_eq!(block_on(subscription.next()), Some(token(id.0, 0, 10)));
    assert_eq!(block_on(subscription.next()), None);
    assert_eq!(state(&queue, id), State::Completed);

    let id = accept(&queue, detached("b"));
    let mut subscription = queue.live().subscribe(id);
    block_on(queue.cancel(id)).unwrap();
    assert_eq!(block_on(subscription.next()), None);
}
