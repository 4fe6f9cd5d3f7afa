//! The bytes of files go with what is known of them.

use std::path::Path;

use woolly::config;
use woolly::queue::batch::{FileId, NewFile};
use woolly::queue::{BatchChange, Error, Queue};

use crate::support::block_on::{block_on, poll_once};
use crate::support::queue::queue_config;

const CONFIG: config::Queue = queue_config(100, 3_600);

/// A file of these bytes.
fn store(queue: &Queue, bytes: &[u8]) -> FileId {
    let mut stored = queue.files().create().unwrap();
    stored.write(bytes).unwrap();
    let whole = stored.finish().unwrap();
    let added = queue.add_file_blocking(NewFile {
        uid: 7,
        purpose: "batch".to_owned(),
        name: "in.jsonl".to_owned(),
        stored_as: whole.name().to_owned(),
        bytes: bytes.len() as u64,
        kept_s: None,
    });
    whole.settle(&added);
    added.unwrap().id
}

fn wait_until_empty(root: &Path) {
    while std::fs::read_dir(root.join("files")).unwrap().count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_removed_file_goes_though_nobody_waits_for_the_answer() {
    let root = tempfile::tempdir().unwrap();
    let queue = Queue::open(root.path(), &CONFIG).unwrap();
    let id = store(&queue, b"x");
    // Dropped when it was sent, as by a server whose client has gone.
    let _ = poll_once(queue.change_batch(BatchChange::RemoveFile(id)));
    wait_until_empty(root.path());
    let gone = block_on(queue.read(move |reader| reader.file(id)));
    assert_eq!(gone, Err(Error::NotFound));
}
