//! Room on the disk that is set aside, so that a daemon can also start when the disk is full: SQLite needs some for the
//! index of its log, and the jobs of the daemon before are written down as waiting again. What is finished can then be
//! fetched, and new jobs are refused until there is room.
//!
//! Invariant: a file of zeros that nobody reads; without it everything works but such a start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::files::fault;

const NAME: &str = "reserve";
/// For the log's index (32 KiB) and some hundred rows with their indexes.
const BYTES: u64 = 2 << 20;
/// Written at once.
const CHUNK: usize = 64 << 10;

pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn of(state_dir: &Path) -> Self {
        Reserve {
            path: state_dir.join(NAME),
        }
    }

    /// Before the store is opened: gives the room back when there is none beside it.
    pub(super) fn spend_if_full(&self) {
        if self.path.exists() && self.free() < BYTES {
            tracing::warn!("the disk is full: the daemon starts in the room that was set aside");
            // When this fails, the store says what is wrong.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Sets the room aside, unless the disk is nearly full. A disk that fails is an error.
    pub(super) fn fill(&self) -> Result<(), Error> {
        let length = self.path.metadata().map_or(0, |metadata| metadata.len());
        if length == BYTES || self.free() < 2 * BYTES {
            return Ok(());
        }
        match self.write().map_err(|error| fault(&self.path, &error)) {
            Err(Error::NoSpace { .. }) => {
                let _ = fs::remove_file(&self.path);
                Ok(())
            }
            Err(Error::File { path, problem }) => Err(Error::Store { path, problem }),
            written => written,
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut options = File::options();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(&self.path)?;
        for _ in 0..BYTES / CHUNK as u64 {
            file.write_all(&[0; CHUNK])?;
        }
        file.sync_all()
    }

    /// Bytes that are free for us; where nobody can tell, there is no reserve to speak of.
    fn free(&self) -> u64 {
        let above = self.path.parent().unwrap_or(&self.path);
        rustix::fs::statvfs(above).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_filled_once_and_stays_while_there_is_room() {
        let root = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(root.path());
        reserve.spend_if_full();
        reserve.fill().unwrap();
        let file = root.path().join("reserve");
        let written = |file: &Path| file.metadata().unwrap().modified().unwrap();
        let first = written(&file);
        reserve.fill().unwrap();
        reserve.spend_if_full();
        assert_eq!(
            (file.metadata().unwrap().len(), written(&file)),
            (BYTES, first)
        );
        // A daemon died over it.
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(9)
            .unwrap();
        reserve.fill().unwrap();
        assert_eq!(file.metadata().unwrap().len(), BYTES);
    }
}
