//! Ends of batches whose input is gone or cannot be read, step by step.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::config;
use crate::job::Endpoint;
use crate::protocol::batches::PURPOSE_BATCH;
use crate::queue::batch::{BatchId, BatchRow, BatchState, FileId, NewBatch, NewFile, NewLine};
use crate::queue::batch::{Refused, next_step};
use crate::queue::{Applied, BatchChange, NewJob, Times};

use super::*;

const LINES: [&str; 3] = ["a", "b", "c"];

struct Test {
    root: tempfile::TempDir,
    queue: Queue,
}

impl Test {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let queue = Queue::open(root.path(), &config::Queue::PLAIN).unwrap();
        Test { root, queue }
    }

    /// A batch of three lines whose window ends then, and the path of its input.
    fn batch(&self, deadline_ms: i64) -> (BatchId, PathBuf) {
        let mut stored = self.queue.files().create().unwrap();
        for id in LINES {
            let line = serde_json::json!({
                "custom_id": id, "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}
            });
            stored.write(format!("{line}\n").as_bytes()).unwrap();
        }
        let bytes = stored.bytes();
        let whole = stored.finish().unwrap();
        let path = self.path(whole.name());
        let added = self.queue.add_file_blocking(NewFile {
            uid: 7,
            purpose: PURPOSE_BATCH.to_owned(),
            name: "in.jsonl".to_owned(),
            stored_as: whole.name().to_owned(),
            bytes,
            kept_s: None,
        });
        whole.settle(&added);
        let batch = NewBatch {
            uid: 7,
            endpoint: Endpoint::Completions,
            input_file: added.unwrap().id,
            completion_window: "1s".to_owned(),
            deadline_ms,
            priority: 0,
            metadata: None,
            output_kept_s: None,
            idempotency_key: None,
        };
        let limits = crate::queue::Limits {
            max_jobs: 100,
            max_bytes: None,
            max_jobs_per_user: None,
            max_bytes_per_user: None,
        };
        let row = self.change(BatchChange::Add { batch, limits });
        (row.id, path)
    }

    fn path(&self, stored_as: &str) -> PathBuf {
        self.root.path().join("files").join(stored_as)
    }

    fn change(&self, change: BatchChange) -> BatchRow {
        match self.queue.change_batch_blocking(change) {
            Ok(Applied::Batch(row)) => row,
            other => panic!("{other:?}"),
        }
    }

    /// One of its lines is a job that has failed, the others never became any.
    fn begin(&self, id: BatchId, deadline_ms: i64) {
        let total = LINES.len() as u64;
        self.change(BatchChange::Begin { id, total });
        let job = NewJob {
            uid: 7,
            times: Times {
                not_before_ms: None,
                deadline_ms: Some(deadline_ms),
            },
            ..NewJob::plain("")
        };
        let line = NewLine {
            custom_id: LINES[0].to_owned(),
            job,
            refused: Some(Refused {
                message: "no".to_owned(),
                param: None,
            }),
        };
        let lines = vec![line];
        let expand = BatchChange::Expand { id, from: 0, lines };
        self.queue.change_batch_blocking(expand).unwrap();
    }

    /// Takes steps until there is none.
    fn run(&self) {
        self.run_with_lines_up_to(1_000);
    }

    fn run_with_lines_up_to(&self, longest: u64) {
        let mut rounds = Rounds::new(&self.queue, longest);
        while let Round::Changed = rounds.next() {}
    }

    fn row(&self, id: BatchId) -> BatchRow {
        let row = self.queue.read_blocking(move |reader| reader.batch(id));
        row.unwrap()
    }

    /// The ids in a file, in order.
    fn ids(&self, file: Option<FileId>) -> Vec<String> {
        let Some(id) = file else {
            return vec![];
        };
        let row = self.queue.read_blocking(move |reader| reader.file(id));
        let file = self.queue.files().read(&row.unwrap().file.stored_as);
        let lines = BufReader::new(file.unwrap()).lines();
        let id = |line: std::io::Result<String>| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["custom_id"].as_str().unwrap().to_owned()
        };
        lines.map(id).collect()
    }
}

/// A file that can be opened, and not read.
fn make_unreadable(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// Each makes the lines unknown that never became jobs.
const DAMAGES: [fn(&Path); 2] = [make_unreadable, remove];

#[test]
fn an_expired_batch_ends_with_what_is_known() {
    for damage in DAMAGES {
        let test = Test::new();
        let (id, path) = test.batch(1);
        test.begin(id, 1);
        damage(&path);
        test.run();
        let row = test.row(id);
        assert_eq!(
            (row.state, row.errors.as_deref()),
            (BatchState::Expired, None)
        );
        assert_eq!(test.ids(row.error_file), ["a"]);
    }
    let test = Test::new();
    let (id, _) = test.batch(1);
    test.begin(id, 1);
    test.run();
    assert_eq!(test.ids(test.row(id).error_file), LINES);
}

#[test]
fn a_cancelled_batch_ends_with_what_is_known() {
    for damage in DAMAGES {
        let test = Test::new();
        let (id, path) = test.batch(i64::MAX);
        test.begin(id, i64::MAX);
        test.change(BatchChange::Cancel(id));
        damage(&path);
        test.run();
        let row = test.row(id);
        assert_eq!(row.state, BatchState::Cancelled);
        assert_eq!(test.ids(row.error_file), ["a"]);
    }
}

/// The configuration may say by now that they are too long.
#[test]
fn lines_that_were_found_good_stay_so() {
    let test = Test::new();
    let (runs, _) = test.batch(i64::MAX);
    test.begin(runs, i64::MAX);
    let (cancelled, _) = test.batch(i64::MAX);
    test.begin(cancelled, i64::MAX);
    test.change(BatchChange::Cancel(cancelled));
    let (new, _) = test.batch(i64::MAX);
    test.run_with_lines_up_to(9);
    let row = test.row(runs);
    assert_eq!((row.state, row.lines.expanded), (BatchState::InProgress, 3));
    assert_eq!(test.ids(test.row(cancelled).error_file), LINES);
    assert_eq!(test.row(new).state, BatchState::Failed);
}

#[test]
fn a_batch_that_cannot_be_read_waits_for_its_time() {
    let test = Test::new();
    let (waits, path) = test.batch(i64::MAX);
    make_unreadable(&path);
    let (expires, path) = test.batch(1);
    make_unreadable(&path);
    let (is_read, _) = test.batch(1);
    test.run();
    assert_eq!(test.row(waits).state, BatchState::Validating);
    let row = test.row(expires);
    assert_eq!(row.state, BatchState::Expired);
    assert_eq!((row.output_file, row.error_file), (None, None));
    assert_eq!(next_step(&row, 2), crate::queue::batch::Step::Wait);
    // Late, and its lines are told all the same.
    let row = test.row(is_read);
    assert_eq!(row.state, BatchState::Expired);
    assert_eq!(test.ids(row.error_file), LINES);
}
