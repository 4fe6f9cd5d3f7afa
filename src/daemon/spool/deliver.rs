//! From a batch that has ended to the files beside the one that was dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use serde_json::{Value, json};

use crate::queue::batch::{FileId, Spooled};
use crate::queue::{BatchChange, Error, Queue};

use super::{Trouble, file_trouble, names};

/// For who dropped the file, and for the group of the directory, which whoever set it up decided.
const MODE: u32 = 0o640;

pub(super) fn undelivered(queue: &Queue) -> Result<Vec<Spooled>, Trouble> {
    Ok(queue.read_blocking(|reader| reader.undelivered())?)
}

/// Writes the results of a batch that has ended; nothing for another.
pub(super) fn deliver(directory: &Path, queue: &Queue, spooled: &Spooled) -> Result<(), Trouble> {
    let Spooled { name, batch } = spooled;
    if !batch.state.is_terminal() {
        return Ok(());
    }
    let result = |id: Option<FileId>, file: String| -> Result<Option<String>, Trouble> {
        let Some(content) = id.map_or(Ok(None), |id| content(queue, id))? else {
            return Ok(None);
        };
        publish(directory, &file, batch.batch.uid, content)?;
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
    publish(
        directory,
        &names::done(name),
        batch.batch.uid,
        format!("{done}\n").as_bytes(),
    )?;
    queue.change_batch_blocking(BatchChange::SpoolDelivered(batch.id))?;
    tracing::info!(batch = %batch.id, file = name, status = batch.state.as_str(), "results of a spooled file are there");
    Ok(())
}

/// `None`: somebody has deleted it.
fn content(queue: &Queue, id: FileId) -> Result<Option<File>, Trouble> {
    match queue.read_blocking(move |reader| reader.file(id)) {
        Ok(row) => Ok(Some(queue.files().read(&row.file.stored_as)?)),
        Err(Error::NotFound) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// The file has its name when it is whole and on disk.
fn publish(directory: &Path, file: &str, uid: u32, mut content: impl Read) -> Result<(), Trouble> {
    let (path, unfinished) = (
        directory.join(file),
        directory.join(names::unfinished(file)),
    );
    let mut write = || -> io::Result<()> {
        // Left by a daemon that died, or put there by somebody who may write here: never opened, also not as a link.
        let _ = fs::remove_file(&unfinished);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(MODE);
        let mut written = options.open(&unfinished)?;
        let group = fs::metadata(directory)?.gid();
        // A service that is not root may give files to its own groups only, and to no other user.
        let _ = fchown(&written, Some(uid), Some(group))
            .or_else(|_| fchown(&written, None, Some(group)));
        // Whatever the umask of a service is.
        written.set_permissions(fs::Permissions::from_mode(MODE))?;
        io::copy(&mut content, &mut written)?;
        written.flush()?;
        written.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|problem| {
        let _ = fs::remove_file(&unfinished);
        file_trouble(&path, "cannot be written")(problem)
    })
}
