//! From a file that was dropped to a batch in the queue.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::api::now_ms;
use crate::config::OVERFLOW_UID;
use crate::job::Endpoint;
use crate::protocol::batch_line::BatchLine;
use crate::protocol::batches::PURPOSE_BATCH;
use crate::queue::batch::{FileId, NewBatch, NewFile};
use crate::queue::{NewStored, Queue};

use super::{Trouble, file_trouble, names};

/// Nobody waits at a connection: the longest window that there is.
const WINDOW: &str = "366d";
const WINDOW_MS: i64 = 366 * 24 * 3_600 * 1_000;
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;
/// Of the first line, to find its endpoint; a longer one is looked at when the batch is validated.
const FIRST_LINE: usize = 1 << 20;

/// Takes the file `NAME.jsonl` in.
pub(super) fn accept(directory: &Path, queue: &Queue, name: &str) -> Result<(), Trouble> {
    let path = directory.join(names::dropped_file(name));
    let not_taken = |why: &str| Trouble::NotTaken {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    let mut file = match open(&path) {
        Ok(file) => file,
        // Taken away again.
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(problem) => return Err(file_trouble(&path, "cannot be opened")(problem)),
    };
    let metadata = file.metadata();
    let before = metadata.map_err(file_trouble(&path, "cannot be read"))?;
    if !before.is_file() {
        return Err(not_taken("is not a regular file"));
    }
    if before.uid() == OVERFLOW_UID {
        return Err(not_taken(
            "belongs to a user whom this machine does not know",
        ));
    }
    let mut stored = queue.files().create()?;
    let copied = copy(&mut file, &mut stored)?.map_err(file_trouble(&path, "cannot be read"))?;
    let after = file
        .metadata()
        .map_err(file_trouble(&path, "cannot be read"))?;
    if place(&before) != place(&after) || stored.bytes() != after.size() {
        return Err(not_taken(
            "is still being written: write it elsewhere on the same file system and rename it",
        ));
    }
    let bytes = stored.bytes();
    let stored_as = stored.finish()?;
    let uid = before.uid();
    let new_file = NewFile {
        uid,
        purpose: PURPOSE_BATCH.to_owned(),
        name: names::dropped_file(name),
        stored_as: stored_as.clone(),
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
    };
    let identity = format!("{}-{}", place(&before), copied.hash);
    let taken = queue.spool_blocking((name.to_owned(), identity), new_file, batch);
    let is_new = matches!(taken, Ok((_, false)));
    if !is_new {
        queue.files().remove(&stored_as);
    }
    let (batch, _) = taken?;
    let accepted = directory.join(names::accepted(name));
    fs::rename(&path, accepted).map_err(file_trouble(&path, "cannot be renamed"))?;
    tracing::info!(batch = %batch.id, file = name, is_new, "a spooled file was taken in");
    Ok(())
}

/// Never through a link, and without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
}

/// What another file, or the same one with other content, does not have.
fn place(metadata: &Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!(
        "{}-{}-{}-{seconds}.{nanoseconds:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.size()
    )
}

struct Copied {
    hash: blake3::Hash,
    /// Of the first line; where there is none that can be read, the validation of the batch says so.
    endpoint: Endpoint,
}

/// The inner error is of reading.
fn copy(
    file: &mut File,
    stored: &mut NewStored,
) -> Result<io::Result<Copied>, crate::queue::Error> {
    let mut hasher = blake3::Hasher::new();
    let mut first = vec![];
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(problem) if problem.kind() == io::ErrorKind::Interrupted => continue,
            Err(problem) => return Ok(Err(problem)),
        };
        let bytes = &chunk[..count];
        hasher.update(bytes);
        stored.write(bytes)?;
        let room = FIRST_LINE.saturating_sub(first.len());
        first.extend_from_slice(&bytes[..count.min(room)]);
    }
    let lines = first.split(|&byte| byte == b'\n');
    let mut texts = lines.filter_map(|line| std::str::from_utf8(line).ok());
    let line = texts.find(|line| !line.trim().is_empty());
    let line = line.map(|line| line.trim_start_matches('\u{feff}'));
    let request = line.and_then(|line| BatchLine::openai(line).ok()?.request.ok());
    Ok(Ok(Copied {
        hash: hasher.finalize(),
        endpoint: request.map_or(Endpoint::Completions, |request| request.endpoint),
    }))
}
