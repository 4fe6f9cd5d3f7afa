//! A copy of the whole queue at one moment: the database, and the files that it knows.
//!
//! The copy lies in a directory of its own inside the state directory until it is dropped; one that a dead daemon left
//! is swept away at the next start. Files are linked, not copied: they never change once the store knows them. None is
//! removed while the copy is made, so that all are there that the copied database knows.
//!
//! Invariant: whatever was accepted before the copy began is in it, and nothing in it refers to a file that is not.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Error;
use super::files::{self, Files};
use super::store::JobReader;

/// Begins the names of the directories.
const PREFIX: &str = "backup-";
/// What the database is called in a backup, as in a state directory.
pub const DATABASE: &str = "queue.db";

/// A copy that is gone when this is dropped.
pub struct Backup {
    directory: PathBuf,
    /// Where each file belongs in a state directory, and where it is now.
    pub entries: Vec<(String, PathBuf)>,
}

impl Backup {
    /// Copies what `reader` sees, until it is told to stop.
    pub(super) fn make(
        state_dir: &Path,
        known: &Files,
        reader: &mut dyn JobReader,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let directory = state_dir.join(format!("{PREFIX}{}", known.fresh_name()?));
        let fault = |error: io::Error| files::fault(&directory, &error);
        let private = DirBuilder::new().mode(0o700).create(&directory);
        private.map_err(fault)?;
        let mut backup = Backup {
            directory: directory.clone(),
            entries: vec![],
        };
        let database = directory.join(DATABASE);
        let mut problem = None;
        let mut linked = vec![];
        let _held = known.hold();
        reader.copy_to(&database, stop, &mut |stored_as| {
            let link = directory.join(stored_as);
            match fs::hard_link(known.path_of(stored_as), &link) {
                Ok(()) => {
                    linked.push((format!("{}/{stored_as}", files::DIRECTORY), link));
                    true
                }
                // It was lost before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => {
                    problem.get_or_insert(error);
                    true
                }
            }
        })?;
        if let Some(error) = problem {
            return Err(fault(error));
        }
        backup.entries.push((DATABASE.to_owned(), database));
        backup.entries.extend(linked);
        Ok(backup)
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        // Left behind, it is swept away at the next start.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes what backups of a dead daemon left.
pub(super) fn sweep(state_dir: &Path) {
    for entry in fs::read_dir(state_dir).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
