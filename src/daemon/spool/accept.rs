//! From a file that was dropped to a batch in the queue.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::api::now_ms;
use crate::config::OVERFLOW_UID;
use crate::job::Endpoint;
use crate::protocol::batches::PURPOSE_BATCH;
use crate::queue::batch::{FileId, NewBatch, NewFile, Spooled};
use crate::queue::{Queue, Upload, WholeFile};

use super::ending::Ending;
use super::endpoint::Search;
use super::place;
use super::{Trouble, file_trouble, names, not_taken, queue_trouble};

/// Nobody waits at a connection: the longest window that there is.
const WINDOW: &str = "366d";
const WINDOW_MS: i64 = 366 * 24 * 3_600 * 1_000;
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// The copy of a file, in the directory of the queue.
struct Copied {
    /// Open until its batch is in the queue and it has its new name, so that no other file gets its number.
    _file: File,
    metadata: Metadata,
    /// Removed again unless the queue takes it.
    whole: WholeFile,
    hash: blake3::Hash,
    endpoint: Endpoint,
    /// It counts as on its way until the queue has it.
    _upload: Upload,
}

/// Takes files in.
pub(super) struct Intake<'a> {
    pub(super) directory: &'a Path,
    pub(super) queue: &'a Queue,
    /// Larger ones are refused.
    pub(super) max_bytes: u64,
    /// Longer lines say nothing of the endpoint.
    pub(super) longest_line: u64,
    pub(super) ending: Ending<'a>,
}

impl Intake<'_> {
    /// Takes the file `NAME.jsonl` in, and adds its batch to those whose results are to be delivered.
    pub(super) fn accept(&self, name: &str, undelivered: &mut Vec<Spooled>) -> Result<(), Trouble> {
        let path = self.directory.join(names::dropped_file(name));
        let Some(copied) = self.copy(&path, undelivered)? else {
            return Ok(());
        };
        let is_there = place::is_at(&path, &copied.metadata);
        if !matches!(is_there, Ok(true)) {
            // What replaced it while it was read has its turn at the next look.
            return is_there
                .map(drop)
                .map_err(file_trouble(&path, "cannot be read"));
        }
        let (uid, bytes) = (copied.metadata.uid(), copied.metadata.size());
        let new_file = NewFile {
            uid,
            purpose: PURPOSE_BATCH.to_owned(),
            name: names::dropped_file(name),
            stored_as: copied.whole.name().to_owned(),
            bytes,
            kept_s: None,
        };
        let batch = NewBatch {
            uid,
            endpoint: copied.endpoint,
            // That of the new file, once the store has given it a number.
            input_file: FileId(0),
            completion_window: WINDOW.to_owned(),
            deadline_ms: now_ms().saturating_add(WINDOW_MS),
            priority: 0,
            metadata: None,
            output_kept_s: None,
            idempotency_key: None,
        };
        let identity = place::identity(&copied.metadata, &copied.hash);
        let taken = self
            .queue
            .spool_blocking((name.to_owned(), identity.clone()), new_file, batch);
        let is_new = matches!(taken, Ok((_, false)));
        // Known before: the queue has another copy.
        if is_new || taken.is_err() {
            copied.whole.settle(&taken);
        }
        let (batch, _) = taken.map_err(queue_trouble(&path))?;
        let id = batch.id;
        if is_new {
            undelivered.push(Spooled {
                name: name.to_owned(),
                identity,
                batch,
            });
        }
        let accepted = self.directory.join(names::accepted(name));
        place::rename_if_there(&path, &accepted, &copied.metadata)
            .map_err(file_trouble(&path, "cannot be renamed"))?;
        tracing::info!(batch = %id, file = name, is_new, "a spooled file was taken in");
        Ok(())
    }

    /// `None`: it was taken away.
    fn copy(&self, path: &Path, undelivered: &[Spooled]) -> Result<Option<Copied>, Trouble> {
        let unreadable = || file_trouble(path, "cannot be read");
        let file = match place::open(path) {
            Ok(file) => file,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(problem) => return Err(file_trouble(path, "cannot be opened")(problem)),
        };
        let before = file.metadata().map_err(unreadable())?;
        if !before.is_file() {
            return Err(not_taken(path, "is not a regular file"));
        }
        if before.uid() == OVERFLOW_UID {
            let why = "belongs to a user whom this machine does not know";
            return Err(not_taken(path, why));
        }
        self.check_size(path, before.size())?;
        let of_queue = || queue_trouble(path);
        // Before a large file is copied for nothing. One that the queue knows needs no room: it waits for its name.
        let may_be_known = |known: &Spooled| place::may_be(&known.identity, &before);
        let mut upload = self.queue.upload(before.uid());
        if !undelivered.iter().any(may_be_known) {
            let asked = upload.admit_batch_blocking(before.size());
            asked.map_err(of_queue())?;
        }
        let mut stored = self.queue.files().create().map_err(of_queue())?;
        let (mut hasher, mut search) = (blake3::Hasher::new(), Search::new(self.longest_line));
        let (mut reading, mut chunk) = (self.ending.reads(&file), vec![0; CHUNK]);
        loop {
            let count = match reading.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => continue,
                Err(problem) => return Err(unreadable()(problem)),
            };
            let bytes = &chunk[..count];
            self.check_size(path, stored.bytes() + count as u64)?;
            hasher.update(bytes);
            search.look_at(bytes);
            stored.write(bytes).map_err(of_queue())?;
        }
        let after = file.metadata().map_err(unreadable())?;
        if place::place(&before) != place::place(&after) || stored.bytes() != after.size() {
            let why =
                "is still being written: write it elsewhere on the same file system and rename it";
            return Err(not_taken(path, why));
        }
        Ok(Some(Copied {
            _file: file,
            metadata: before,
            whole: stored.finish().map_err(of_queue())?,
            hash: hasher.finalize(),
            endpoint: search.end(),
            _upload: upload,
        }))
    }

    fn check_size(&self, path: &Path, bytes: u64) -> Result<(), Trouble> {
        let most = self.max_bytes;
        match bytes > most {
            true => {
                let why = format!("has more than {most} bytes ([api] max_file_bytes)");
                Err(not_taken(path, why))
            }
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::sync_channel;

    use crate::config;
    use crate::queue::Error;

    use super::*;

    #[test]
    fn limits_are_asked_before_anything_is_copied() {
        let root = tempfile::tempdir().unwrap();
        let config = config::Queue {
            max_bytes: Some(100),
            ..config::Queue::PLAIN
        };
        let queue = Queue::open(&root.path().join("state"), &config).unwrap();
        for (name, bytes) in [("a.jsonl", 51), ("b.jsonl", 50)] {
            fs::write(root.path().join(name), vec![b'x'; bytes]).unwrap();
        }
        // At the end of the daemon no byte of a file can be read.
        let (alive, ended) = sync_channel(0);
        drop(alive);
        let intake = Intake {
            directory: root.path(),
            queue: &queue,
            max_bytes: 1_000,
            longest_line: 1_000,
            ending: Ending(&ended),
        };
        // With its jobs it has twice its bytes.
        let refused = intake.accept("a", &mut vec![]);
        let too_large = matches!(
            refused,
            Err(Trouble::Queue {
                problem: Error::TooLarge(_),
                ..
            })
        );
        assert!(too_large, "{refused:?}");
        let unread = intake.accept("b", &mut vec![]);
        assert!(matches!(unread, Err(Trouble::File { .. })), "{unread:?}");
        // One that may be in the queue already only waits for its name.
        let metadata = fs::metadata(root.path().join("a.jsonl")).unwrap();
        let identity = place::identity(&metadata, &blake3::hash(b"x"));
        let of_queue = NewFile {
            uid: 7,
            purpose: PURPOSE_BATCH.to_owned(),
            name: "a.jsonl".to_owned(),
            stored_as: "a".to_owned(),
            bytes: 1,
            kept_s: None,
        };
        let batch = NewBatch {
            uid: 7,
            endpoint: Endpoint::Completions,
            input_file: FileId(0),
            completion_window: WINDOW.to_owned(),
            deadline_ms: i64::MAX,
            priority: 0,
            metadata: None,
            output_kept_s: None,
            idempotency_key: None,
        };
        let name = "a".to_owned();
        let taken = queue.spool_blocking((name.clone(), identity.clone()), of_queue, batch);
        let (batch, _) = taken.unwrap();
        let known = Spooled {
            name,
            identity,
            batch,
        };
        let unread = intake.accept("a", &mut vec![known]);
        assert!(matches!(unread, Err(Trouble::File { .. })), "{unread:?}");
    }
}
