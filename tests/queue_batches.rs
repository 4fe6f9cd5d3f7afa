//! The conformance suite of files and batches in a `JobStore`, for the SQLite store and for the oracle.

use woolly::job::{Endpoint, JobId, State};
use woolly::queue::batch::{
    BatchId, BatchRow, BatchState, FileId, FileRow, Lines, NewBatch, NewFile, NewLine, Refused,
};
use woolly::queue::{
    Applied, BatchChange, Change, Error, Finished, FlowChange, JobStore, LINES_BYTES, Limits,
    NewJob, Page, Purged, Reached, Retention, Swept, Times,
};

use crate::support::conformance::{Disk, conformance};
use crate::support::queue::{Single, admission, completed, detached, failed, full, limits, purged};

conformance! {
    files_are_kept_listed_and_removed
    a_batch_goes_from_file_to_files
    lines_become_jobs_once
    a_page_of_lines_ends_when_its_results_are_large
    equal_beginnings_run_one_after_the_other
    a_batch_that_cannot_be_used_fails
    a_cancelled_batch_cancels_its_jobs_in_chunks
    lines_do_not_fill_the_queue_and_outlive_retention
    a_spooled_file_becomes_one_batch
    what_is_delivered_stays_while_another_batch_needs_it
    an_open_batch_counts_as_one_job
    files_are_kept_for_their_time
}

pub(crate) fn file(name: &str) -> NewFile {
    NewFile {
        uid: 7,
        purpose: "batch".to_owned(),
        name: "in.jsonl".to_owned(),
        stored_as: name.to_owned(),
        bytes: 11,
        kept_s: None,
    }
}

pub(crate) fn line(custom_id: &str) -> NewLine {
    NewLine {
        custom_id: custom_id.to_owned(),
        job: NewJob {
            times: Times {
                not_before_ms: None,
                deadline_ms: Some(1_000),
            },
            ..detached(custom_id)
        },
        refused: None,
    }
}

pub(crate) trait Batches: Single {
    fn change(&mut self, change: BatchChange, now_ms: i64) -> Result<Applied, Error> {
        self.one(Change::Batch(change), now_ms)
    }

    fn batch(&mut self, change: BatchChange, now_ms: i64) -> BatchRow {
        match self.change(change, now_ms).unwrap() {
            Applied::Batch(row) => row,
            other => panic!("{other:?}"),
        }
    }

    fn add_file(&mut self, name: &str, now_ms: i64) -> FileRow {
        match self
            .change(
                BatchChange::AddFile {
                    file: file(name),
                    limits: limits(1),
                },
                now_ms,
            )
            .unwrap()
        {
            Applied::File(row) => row,
            other => panic!("{other:?}"),
        }
    }

    /// A batch of a file of its own, in progress with so many lines.
    fn begin(&mut self, name: &str, total: u64) -> BatchId {
        let input_file = self.add_file(name, 1).id;
        let id = self.batch(add(new_batch(input_file)), 2).id;
        let begun = self.batch(BatchChange::Begin { id, total }, 3);
        assert_eq!(
            (begun.state, begun.in_progress_at_ms),
            (BatchState::InProgress, Some(3))
        );
        id
    }

    fn expand(&mut self, id: BatchId, from: u64, lines: &[NewLine]) -> Option<Vec<JobId>> {
        let lines = lines.to_vec();
        match self
            .change(BatchChange::Expand { id, from, lines }, 4)
            .unwrap()
        {
            Applied::Expanded(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }
}

impl<S: JobStore + ?Sized> Batches for S {}

pub(crate) fn add(batch: NewBatch) -> BatchChange {
    let limits = limits(9);
    BatchChange::Add { batch, limits }
}

pub(crate) fn new_batch(input_file: FileId) -> NewBatch {
    NewBatch {
        uid: 7,
        endpoint: Endpoint::Completions,
        input_file,
        completion_window: "24h".to_owned(),
        deadline_ms: 1_000,
        priority: -2,
        metadata: Some("{}".to_owned()),
        output_kept_s: Some(3_600),
        idempotency_key: None,
    }
}

pub(crate) fn stored(store: &dyn JobStore, id: BatchId) -> BatchRow {
    store.reader().unwrap().batch(id).unwrap()
}

fn page(before: Option<i64>, uid: Option<u32>) -> Page {
    Page {
        before,
        limit: 2,
        uid,
    }
}

fn files_are_kept_listed_and_removed(disk: &dyn Disk) {
    let mut store = disk.open();
    let rows: Vec<FileRow> = ["a", "b", "c"]
        .iter()
        .map(|name| store.add_file(name, 5))
        .collect();
    assert_eq!((&rows[0].file, rows[0].created_at_ms), (&file("a"), 5));
    drop(store);
    let mut store = disk.open();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.file(rows[1].id), Ok(rows[1].clone()));
    assert_eq!(
        reader.files(page(None, None), None, 5).unwrap(),
        [rows[2].clone(), rows[1].clone()]
    );
    assert_eq!(
        reader
            .files(page(Some(rows[1].id.0), Some(7)), Some("batch"), 5)
            .unwrap(),
        [rows[0].clone()]
    );
    assert_eq!(reader.files(page(None, Some(8)), None, 5).unwrap(), []);
    let output = reader.files(page(None, None), Some("batch_output"), 5);
    assert_eq!(output, Ok(vec![]));
    assert_eq!(reader.stored_names().unwrap(), ["a", "b", "c"]);
    let batch = store.batch(add(new_batch(rows[0].id)), 6);
    assert_eq!(
        store.change(BatchChange::RemoveFile(rows[0].id), 7),
        Err(Error::FileInUse)
    );
    store.batch(
        BatchChange::Refuse {
            id: batch.id,
            errors: "{}".to_owned(),
        },
        8,
    );
    assert_eq!(
        store.change(BatchChange::RemoveFile(rows[0].id), 9),
        Ok(Applied::File(rows[0].clone()))
    );
    assert_eq!(
        store.change(BatchChange::RemoveFile(rows[0].id), 9),
        Err(Error::NotFound)
    );
    assert_eq!(reader.file(rows[0].id), Err(Error::NotFound));
    assert_eq!(
        store.change(add(new_batch(rows[0].id)), 9),
        Err(Error::NotFound)
    );
}

fn a_batch_goes_from_file_to_files(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 3);
    let mut lines = ["a", "b", "c"].map(line);
    lines[2].refused = Some(Refused {
        message: "no".to_owned(),
        param: Some("prompt".to_owned()),
    });
    let jobs = store.expand(id, 0, &lines).unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(
        stored(&*store, id).lines,
        Lines {
            total: 3,
            expanded: 3,
            ended: 1,
            failed: 1,
            ..Lines::default()
        }
    );
    let claimed = store.claim(5).unwrap();
    assert_eq!(
        (claimed.id, claimed.body),
        (jobs[0], lines[0].job.body.clone())
    );
    assert!(store.finish(jobs[0], completed("yes"), 6));
    drop(store);
    let mut store = disk.open();
    assert_eq!(
        store.reader().unwrap().open_batches().unwrap(),
        [stored(&*store, id)]
    );
    store.claim(7).unwrap();
    assert!(store.finish(jobs[1], failed("broken"), 8));
    let counted = Lines {
        total: 3,
        expanded: 3,
        ended: 3,
        completed: 1,
        failed: 2,
        prompt_tokens: 5,
        completion_tokens: 7,
    };
    assert_eq!(stored(&*store, id).lines, counted);
    let finalizing = store.batch(BatchChange::Finalizing(id), 9);
    assert_eq!(
        (finalizing.state, finalizing.finalizing_at_ms),
        (BatchState::Finalizing, Some(9))
    );
    let ends = store.reader().unwrap().lines(id, 0, 10).unwrap();
    let brief: Vec<_> = ends
        .iter()
        .map(|end| {
            (
                end.line,
                end.custom_id.as_str(),
                end.state,
                end.result.as_deref(),
                end.error.as_deref(),
                end.refused,
                end.param.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            (
                0,
                "a",
                State::Completed,
                Some(&b"yes"[..]),
                None,
                false,
                None
            ),
            (1, "b", State::Failed, None, Some("broken"), false, None),
            (
                2,
                "c",
                State::Failed,
                None,
                Some("no"),
                true,
                Some("prompt")
            ),
        ]
    );
    assert_eq!(store.reader().unwrap().lines(id, 1, 1).unwrap(), ends[1..2]);
    let end = BatchChange::End {
        id,
        state: BatchState::Completed,
        output: Some(file("out")),
        errors: Some(file("err")),
    };
    let ended = store.batch(end.clone(), 10);
    assert_eq!(
        (ended.state, ended.ended_at_ms),
        (BatchState::Completed, Some(10))
    );
    let names = [ended.output_file, ended.error_file].map(|id| {
        store
            .reader()
            .unwrap()
            .file(id.unwrap())
            .unwrap()
            .file
            .stored_as
    });
    assert_eq!(names, ["out", "err"]);
    // The end is final, and adds files once.
    assert_eq!(store.batch(end, 11), ended);
    assert_eq!(store.batch(BatchChange::Cancel(id), 12), ended);
    assert_eq!(
        store.batch(
            BatchChange::Refuse {
                id,
                errors: "x".to_owned()
            },
            13
        ),
        ended
    );
    assert_eq!(store.reader().unwrap().stored_names().unwrap().len(), 3);
    assert_eq!(store.reader().unwrap().open_batches().unwrap(), []);
    assert_eq!(
        store
            .reader()
            .unwrap()
            .batches(page(None, Some(7)))
            .unwrap(),
        [ended]
    );
}

fn lines_become_jobs_once(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 4);
    let lines = ["a", "b", "c", "d"].map(line);
    assert_eq!(store.expand(id, 0, &lines[..2]).unwrap().len(), 2);
    // Asked for again after a crash, or from elsewhere.
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.expand(id, 0, &lines[..2]), None);
    assert_eq!(store.expand(id, 3, &lines[3..]), None);
    assert_eq!(store.expand(id, 2, &lines[2..]).unwrap().len(), 2);
    let ids: Vec<String> = store
        .reader()
        .unwrap()
        .lines(id, 0, 9)
        .unwrap()
        .into_iter()
        .map(|end| end.custom_id)
        .collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    // What expires counts as ended, and as nothing else.
    assert_eq!(store.wake(1_000).expired.len(), 4);
    assert_eq!(
        stored(&*store, id).lines,
        Lines {
            total: 4,
            expanded: 4,
            ended: 4,
            ..Lines::default()
        }
    );
}

fn a_page_of_lines_ends_when_its_results_are_large(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 5);
    let jobs = store
        .expand(id, 0, &["a", "b", "c", "d", "e"].map(line))
        .unwrap();
    let half = "x".repeat(LINES_BYTES / 2);
    let texts = [
        half.clone(),
        half.clone(),
        half,
        "y".repeat(2 * LINES_BYTES),
    ];
    for (job, text) in jobs.iter().zip(&texts) {
        store.claim(5).unwrap();
        assert!(store.finish(*job, completed(text), 6));
    }
    let mut reader = store.reader().unwrap();
    let mut page = |from, limit| {
        let ends = reader.lines(id, from, limit).unwrap();
        ends.iter().map(|end| end.line).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 9), [0, 1]);
    assert_eq!(page(1, 9), [1, 2]);
    assert_eq!(page(2, 9), [2, 3]);
    assert_eq!(page(3, 9), [3]);
    assert_eq!(page(4, 9), [4]);
    assert_eq!(page(0, 1), [0]);
    assert_eq!(page(5, 9), Vec::<u64>::new());
}

fn equal_beginnings_run_one_after_the_other(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 5);
    let lines = ["sheep: b", "goat: a", "sheep: a", "goat: b", "sheep: a"].map(line);
    store.expand(id, 0, &lines).unwrap();
    let order: Vec<String> = std::iter::from_fn(|| store.claim(0))
        .map(|claimed| String::from_utf8(claimed.body).unwrap())
        .collect();
    let bodies = ["goat: a", "goat: b", "sheep: a", "sheep: a", "sheep: b"];
    assert_eq!(
        order,
        bodies.map(|name| format!("{{\"prompt\":\"{name}\"}}"))
    );
    // The answers stand in the order of the file.
    let ends = store.reader().unwrap().lines(id, 0, 9).unwrap();
    let names: Vec<&str> = ends.iter().map(|end| &*end.custom_id).collect();
    assert_eq!(
        names,
        ["sheep: b", "goat: a", "sheep: a", "goat: b", "sheep: a"]
    );
}

fn a_batch_that_cannot_be_used_fails(disk: &dyn Disk) {
    let mut store = disk.open();
    let input_file = store.add_file("in", 1).id;
    let id = store.batch(add(new_batch(input_file)), 2).id;
    assert_eq!(store.expand(id, 0, &[line("a")]), None);
    let refused = store.batch(
        BatchChange::Refuse {
            id,
            errors: "[1]".to_owned(),
        },
        3,
    );
    assert_eq!(
        (refused.state, refused.ended_at_ms),
        (BatchState::Failed, Some(3))
    );
    assert_eq!(refused.errors.as_deref(), Some("[1]"));
    assert_eq!(store.batch(BatchChange::Begin { id, total: 1 }, 4), refused);
    assert_eq!(
        store.change(BatchChange::Cancel(BatchId(99)), 5),
        Err(Error::NotFound)
    );
}

fn a_cancelled_batch_cancels_its_jobs_in_chunks(disk: &dyn Disk) {
    let mut store = disk.open();
    let other = store.accept(detached("other"));
    let id = store.begin("in", 9);
    let jobs = store.expand(id, 0, &["a", "b", "c"].map(line)).unwrap();
    assert_eq!(store.claim(5).unwrap().id, other);
    assert_eq!(store.claim(5).unwrap().id, jobs[0]);
    let cancelling = store.batch(BatchChange::Cancel(id), 6);
    assert_eq!(
        (cancelling.state, cancelling.cancelling_at_ms),
        (BatchState::Cancelling, Some(6))
    );
    assert_eq!(store.batch(BatchChange::Cancel(id), 7), cancelling);
    assert_eq!(store.expand(id, 3, &[line("d")]), None);
    // Not with all other jobs; they are passed by.
    let (before, uid) = (None, None);
    let sweep = |limit| Change::CancelOpen { before, uid, limit };
    let passed_by = |rest_before| {
        let ended = vec![];
        Ok(Applied::Swept(Swept { ended, rest_before }))
    };
    assert_eq!(store.one(sweep(2), 8), passed_by(Some(jobs[1])));
    let mut cancel = |limit| {
        store
            .change(BatchChange::CancelJobs { id, limit }, 8)
            .unwrap()
    };
    assert_eq!(
        cancel(2),
        Applied::Ended(vec![(jobs[0], State::Running), (jobs[1], State::Queued)])
    );
    assert_eq!(cancel(2), Applied::Ended(vec![(jobs[2], State::Queued)]));
    assert_eq!(cancel(2), Applied::Ended(vec![]));
    assert_eq!(store.end(jobs[0], completed("late"), 9), Finished::TooLate);
    assert_eq!(
        stored(&*store, id).lines,
        Lines {
            total: 9,
            expanded: 3,
            ended: 3,
            ..Lines::default()
        }
    );
    assert!(store.finish(other, completed("yes"), 9));
}

fn lines_do_not_fill_the_queue_and_outlive_retention(disk: &dyn Disk) {
    let mut store = disk.open();
    let id = store.begin("in", 3);
    let jobs = store.expand(id, 0, &["a", "b", "c"].map(line)).unwrap();
    let submit = |name: &str| Change::Submit {
        job: detached(name),
        // The batch itself is one.
        admission: admission(2),
    };
    assert!(store.one(submit("x"), 5).is_ok());
    assert_eq!(store.one(submit("y"), 5), Err(full(2)));
    for job in &jobs {
        store.cancel(*job, 6).unwrap();
    }
    let retention = Retention {
        detached_before_ms: 100,
        attached_before_ms: 100,
    };
    let purge = || Change::Purge {
        retention,
        limit: 10,
    };
    assert_eq!(store.one(purge(), 7), Ok(purged(0, Some(-87))));
    let end = BatchChange::End {
        id,
        state: BatchState::Completed,
        output: None,
        errors: None,
    };
    store.batch(end, 8);
    assert_eq!(store.one(purge(), 9), Ok(purged(3, None)));
}

fn files_are_kept_for_their_time(disk: &dyn Disk) {
    let mut store = disk.open();
    let keep = |name: &str, kept_s| BatchChange::AddFile {
        file: NewFile {
            kept_s,
            ..file(name)
        },
        limits: limits(9),
    };
    for (name, kept_s) in [("input", Some(1)), ("other", Some(1)), ("longer", Some(2))] {
        store.change(keep(name, kept_s), 100).unwrap();
    }
    store.change(keep("for ever", None), 100).unwrap();
    let id = store.batch(add(new_batch(FileId(1))), 200).id;
    let mut purge = |now_ms| {
        let retention = Retention::at(now_ms, 100);
        let limit = 10;
        match store.one(Change::Purge { retention, limit }, now_ms) {
            Ok(Applied::Purged(purged)) => purged.files,
            other => panic!("{other:?}"),
        }
    };
    assert!(purge(1_099).is_empty());
    // The batch still reads the other one.
    assert_eq!(purge(1_100), ["other"]);
    assert!(purge(1_100).is_empty());
    let errors = "[]".to_owned();
    store.batch(BatchChange::Refuse { id, errors }, 1_200);
    drop(store);
    let mut store = disk.open();
    let retention = Retention::at(0, 100);
    let all = Change::Purge {
        retention,
        limit: 10,
    };
    let files = vec!["input".to_owned(), "longer".to_owned()];
    let purged = Purged {
        jobs: 0,
        files,
        next_ms: None,
    };
    assert_eq!(store.one(all, 2_100), Ok(Applied::Purged(purged)));
    let mut reader = store.reader().unwrap();
    let left = reader.file(FileId(4)).unwrap();
    assert_eq!((left.file.kept_s, left.expires_at_ms()), (None, None));
    assert_eq!(reader.file(FileId(3)), Err(Error::NotFound));
}

fn a_spooled_file_becomes_one_batch(disk: &dyn Disk) {
    let mut store = disk.open();
    let spool = |name: &str, identity: &str, most: u64| BatchChange::Spool {
        name: name.to_owned(),
        identity: identity.to_owned(),
        file: file(name),
        batch: NewBatch {
            uid: 7,
            endpoint: Endpoint::Completions,
            input_file: FileId(99),
            completion_window: "1d".to_owned(),
            deadline_ms: 1_000,
            priority: 0,
            metadata: None,
            output_kept_s: None,
            idempotency_key: None,
        },
        limits: Limits {
            max_bytes: Some(most),
            ..limits(9)
        },
    };
    let refused = store.change(spool("a", "1", 10), 5);
    assert_eq!(refused, Err(Error::TooLarge(Reached::Bytes(10))));
    assert_eq!(
        store.reader().unwrap().file(FileId(1)),
        Err(Error::NotFound)
    );
    let Ok(Applied::Spooled { batch, existed }) = store.change(spool("a", "1", 50), 5) else {
        panic!()
    };
    assert_eq!((existed, batch.batch.input_file), (false, FileId(1)));
    drop(store);
    let mut store = disk.open();
    // Under another name, and though there is no room: it is that file.
    let again = store.change(spool("b", "1", 10), 6);
    let existed = true;
    assert_eq!(
        again,
        Ok(Applied::Spooled {
            batch: batch.clone(),
            existed
        })
    );
    store.change(spool("c", "2", 50), 7).unwrap();
    let names = |store: &dyn JobStore| {
        let spooled = store.reader().unwrap().undelivered().unwrap();
        let names = spooled
            .into_iter()
            .map(|spooled| (spooled.name, spooled.batch.id.0));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&*store), [("a".to_owned(), 1), ("c".to_owned(), 2)]);
    let forgotten = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned());
        Ok(Applied::Forgotten(names.collect()))
    };
    let end = BatchChange::End {
        id: batch.id,
        state: BatchState::Completed,
        output: Some(file("out")),
        errors: Some(file("err")),
    };
    store.batch(end, 7);
    let delivered = || BatchChange::SpoolDelivered(batch.id);
    assert_eq!(
        store.change(delivered(), 8),
        forgotten(&["a", "out", "err"])
    );
    assert_eq!(store.change(delivered(), 8), forgotten(&[]));
    assert_eq!(names(&*store), [("c".to_owned(), 2)]);
    assert_eq!(store.reader().unwrap().stored_names().unwrap(), ["c"]);
    // With its results delivered it was dropped again, wherever the daemon dies then.
    for existed in [false, true] {
        let Ok(Applied::Spooled { batch, existed: is }) = store.change(spool("e", "1", 90), 8)
        else {
            panic!()
        };
        assert_eq!((is, batch.id.0), (existed, 3));
        drop(store);
        store = disk.open();
    }
    let both = [("c".to_owned(), 2), ("e".to_owned(), 3)];
    assert_eq!(names(&*store), both);
    store.one(Change::SetFlow(FlowChange::Drain), 9).unwrap();
    assert_eq!(store.change(spool("d", "3", 50), 9), Err(Error::Draining));
}

/// A file that another batch reads is not the daemon's own copy alone.
fn what_is_delivered_stays_while_another_batch_needs_it(disk: &dyn Disk) {
    let mut store = disk.open();
    let spool = BatchChange::Spool {
        name: "a".to_owned(),
        identity: "1".to_owned(),
        file: file("a"),
        batch: new_batch(FileId(99)),
        limits: limits(9),
    };
    let Ok(Applied::Spooled { batch, .. }) = store.change(spool, 5) else {
        panic!()
    };
    let other = store.batch(add(new_batch(batch.batch.input_file)), 6).id;
    let end = |id, output: &str| BatchChange::End {
        id,
        state: BatchState::Completed,
        output: Some(file(output)),
        errors: None,
    };
    store.batch(end(batch.id, "out"), 7);
    let gone = store.change(BatchChange::SpoolDelivered(batch.id), 8);
    assert_eq!(gone, Ok(Applied::Forgotten(vec!["out".to_owned()])));
    // Of a batch that was never spooled nothing goes.
    store.batch(end(other, "other"), 9);
    let none = store.change(BatchChange::SpoolDelivered(other), 10);
    assert_eq!(none, Ok(Applied::Forgotten(vec![])));
    let names = store.reader().unwrap().stored_names().unwrap();
    assert_eq!(names, ["a", "other"]);
    let unknown = store.change(BatchChange::SpoolDelivered(BatchId(9)), 10);
    assert_eq!(unknown, Err(Error::NotFound));
}

fn an_open_batch_counts_as_one_job(disk: &dyn Disk) {
    let mut store = disk.open();
    let input = store.add_file("in", 1).id;
    let within = |limits| BatchChange::Add {
        batch: new_batch(input),
        limits,
    };
    let first = store.batch(within(limits(1)), 2).id;
    assert_eq!(store.change(within(limits(1)), 2), Err(full(1)));
    let of_user = Limits {
        max_jobs_per_user: Some(1),
        ..limits(9)
    };
    let refused = Err(Error::Full(Reached::JobsOfUser(1)));
    assert_eq!(store.change(within(of_user), 2), refused);
    let spool = |limits| BatchChange::Spool {
        name: "a".to_owned(),
        identity: "1".to_owned(),
        file: file("a"),
        batch: new_batch(FileId(99)),
        limits,
    };
    assert_eq!(store.change(spool(of_user), 2), refused);
    let submit = |most| Change::Submit {
        job: detached("x"),
        admission: admission(most),
    };
    assert_eq!(store.one(submit(1), 2), Err(full(1)));
    // Its lines count no more than it does, and it counts until its end.
    store.batch(
        BatchChange::Begin {
            id: first,
            total: 2,
        },
        3,
    );
    store.expand(first, 0, &["a", "b"].map(line)).unwrap();
    assert!(store.one(submit(2), 3).is_ok());
    drop(store);
    let mut store = disk.open();
    assert_eq!(store.change(within(of_user), 4), refused);
    store.batch(BatchChange::Cancel(first), 5);
    store
        .change(
            BatchChange::CancelJobs {
                id: first,
                limit: 9,
            },
            5,
        )
        .unwrap();
    let end = BatchChange::End {
        id: first,
        state: BatchState::Cancelled,
        output: None,
        errors: None,
    };
    store.batch(end, 6);
    store.batch(within(of_user), 7);
}
