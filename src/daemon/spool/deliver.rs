//! From a batch that has ended to the files beside the one that was dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use serde_json::{Value, json};

use crate::queue::batch::{FileId, Spooled};
use crate::queue::{BatchChange, Error, Queue};

use super::ending::Ending;
use super::place;
use super::{Trouble, file_trouble, names, not_taken, queue_trouble};

/// For who dropped the file, and for the group of the directory, which whoever set it up decided.
const MODE: u32 = 0o640;

/// Writes results.
pub(super) struct Delivery<'a> {
    pub(super) directory: &'a Path,
    pub(super) queue: &'a Queue,
    pub(super) ending: Ending<'a>,
}

impl Delivery<'_> {
    /// Writes the results of a batch that has ended; nothing for another.
    pub(super) fn deliver(&self, spooled: &Spooled) -> Result<(), Trouble> {
        let Spooled { name, batch, .. } = spooled;
        if !batch.state.is_terminal() {
            return Ok(());
        }
        let uid = batch.batch.uid;
        let result = |id: Option<FileId>, file: String| -> Result<Option<String>, Trouble> {
            let content = id.map_or(Ok(None), |id| self.content(id));
            let content = content.map_err(queue_trouble(&self.directory.join(&file)))?;
            let Some(content) = content else {
                return Ok(None);
            };
            self.publish(&file, uid, content)?;
            Ok(Some(file))
        };
        let output = result(batch.output_file, names::output(name))?;
        let errors = result(batch.error_file, names::errors(name))?;
        let problems = batch.errors.as_deref();
        let problems = problems.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let done = json!({
            "batch": batch.id.to_string(),
            "status": batch.state.as_str(),
            "request_counts": {
                "total": batch.lines.total,
                "completed": batch.lines.completed,
                "failed": batch.lines.failed,
            },
            "output": output,
            "errors": errors,
            "problems": problems,
        });
        let marker = names::done(name);
        self.publish(&marker, uid, Cursor::new(format!("{done}\n")))?;
        let noted = self
            .queue
            .change_batch_blocking(BatchChange::SpoolDelivered(batch.id));
        noted.map_err(queue_trouble(&self.directory.join(&marker)))?;
        tracing::info!(batch = %batch.id, file = name, status = batch.state.as_str(), "results of a spooled file are there");
        Ok(())
    }

    /// `None`: somebody has deleted it.
    fn content(&self, id: FileId) -> Result<Option<File>, Error> {
        match self.queue.read_blocking(move |reader| reader.file(id)) {
            Ok(row) => Ok(Some(self.queue.files().read(&row.file.stored_as)?)),
            Err(Error::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The file has its name when it is whole and on disk, and then replaces no other.
    fn publish(&self, file: &str, uid: u32, mut content: impl Read + Seek) -> Result<(), Trouble> {
        let path = self.directory.join(file);
        let is_there = match place::open(&path) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(false),
            // A daemon that died before it noted the delivery has left the same bytes.
            Ok(there) => self
                .is_same(there, &mut content)
                .and_then(|is_same| match is_same {
                    true => Ok(true),
                    false => Err(io::ErrorKind::AlreadyExists.into()),
                }),
            Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
        };
        let written = is_there.and_then(|is_there| {
            if !is_there {
                self.write(
                    &path,
                    &self.directory.join(names::unfinished(file)),
                    uid,
                    content,
                )?;
            }
            File::open(self.directory)?.sync_all()
        });
        written.map_err(|problem| match problem.kind() {
            io::ErrorKind::AlreadyExists => not_taken(
                &path,
                "is in the way of a result, which waits until it is moved away",
            ),
            _ => file_trouble(&path, "cannot be written")(problem),
        })
    }

    fn is_same(&self, there: File, content: &mut (impl Read + Seek)) -> io::Result<bool> {
        let metadata = there.metadata()?;
        let bytes = content.seek(SeekFrom::End(0))?;
        content.rewind()?;
        if !metadata.is_file() || metadata.len() != bytes {
            return Ok(false);
        }
        let mut there = BufReader::new(self.ending.reads(there));
        let mut content = BufReader::new(content);
        loop {
            let (left, right) = (there.fill_buf()?, content.fill_buf()?);
            let count = left.len().min(right.len());
            if count == 0 {
                return Ok(left.is_empty() && right.is_empty());
            }
            if left[..count] != right[..count] {
                return Ok(false);
            }
            there.consume(count);
            content.consume(count);
        }
    }

    fn write(
        &self,
        path: &Path,
        unfinished: &Path,
        uid: u32,
        content: impl Read,
    ) -> io::Result<()> {
        let write = || -> io::Result<()> {
            // Left by a daemon that died, or put there by somebody who may write here: never opened, also not as a link.
            let _ = fs::remove_file(unfinished);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(MODE);
            let mut written = options.open(unfinished)?;
            // Whatever the umask of a service is; while the file is its own, which it may not be allowed to later.
            written.set_permissions(fs::Permissions::from_mode(MODE))?;
            io::copy(&mut self.ending.reads(content), &mut written)?;
            let group = fs::metadata(self.directory)?.gid();
            // A service that is not root may give files to its own groups only, and to no other user.
            let _ = fchown(&written, Some(uid), Some(group))
                .or_else(|_| fchown(&written, None, Some(group)));
            written.sync_all()?;
            place::rename(unfinished, path)
        };
        write().inspect_err(|_| _ = fs::remove_file(unfinished))
    }
}
