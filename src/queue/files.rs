//! The directory of files: inputs of batches as they were uploaded, and outputs as they were written.
//!
//! A file is written under a name of its own, synced, and only then known to the store; what the store does not know is
//! swept away at the next start.
//!
//! Invariant: names are made here, never of what a user wrote.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::TryRng;
use rand::rngs::SysRng;

use super::Error;
use super::directory::create_private;

/// Inside the state directory.
pub(super) const DIRECTORY: &str = "files";

/// The directory, held by whoever holds the state directory.
#[derive(Debug, Clone)]
pub struct Files {
    path: PathBuf,
    /// Names of files that are to be removed, while removals are held.
    held: Arc<Mutex<Option<Vec<String>>>>,
}

/// While it lives no file is removed. One at a time.
pub(super) struct Hold<'a>(&'a Files);

/// A file that is being written. Dropped before [`NewStored::finish`], it is removed.
pub struct NewStored {
    writer: BufWriter<File>,
    bytes: u64,
    whole: WholeFile,
}

/// A file that is whole, and that the store does not know yet. Dropped before it was taken in, it is removed.
pub struct WholeFile {
    directory: PathBuf,
    name: String,
    stays: bool,
}

impl Files {
    pub(super) fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(DIRECTORY);
        create_private(&path)?;
        Ok(Files {
            path,
            held: Arc::default(),
        })
    }

    /// Removes what nobody knows. A file that cannot be removed is left for the next start.
    pub(super) fn sweep(&self, known: &HashSet<String>) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let is_known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| known.contains(name));
            if !is_known {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A name that nobody can guess.
    pub(super) fn fresh_name(&self) -> Result<String, Error> {
        let mut random = [0; 16];
        SysRng
            .try_fill_bytes(&mut random)
            .map_err(|error| self.fault(&io::Error::other(error)))?;
        Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn path_of(&self, stored_as: &str) -> PathBuf {
        self.path.join(stored_as)
    }

    /// A new file with a name that nobody can guess.
    pub fn create(&self) -> Result<NewStored, Error> {
        let name = self.fresh_name()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(self.path.join(&name));
        Ok(NewStored {
            writer: BufWriter::new(file.map_err(|error| self.fault(&error))?),
            bytes: 0,
            whole: WholeFile {
                directory: self.path.clone(),
                name,
                stays: false,
            },
        })
    }

    /// Opens a file that the store knows; [`Error::NotFound`] when it was deleted meanwhile.
    pub fn read(&self, stored_as: &str) -> Result<File, Error> {
        File::open(self.path.join(stored_as)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound,
            _ => self.fault(&error),
        })
    }

    /// What the store forgets from here on is removed only when the hold ends.
    pub(super) fn hold(&self) -> Hold<'_> {
        self.held().get_or_insert_default();
        Hold(self)
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        // Names only; what is left out is swept away at the next start.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After the store has forgotten it.
    pub(super) fn remove(&self, stored_as: &str) {
        if let Some(held) = &mut *self.held() {
            held.push(stored_as.to_owned());
            return;
        }
        // Left behind, it is swept away at the next start.
        let _ = fs::remove_file(self.path.join(stored_as));
    }

    fn fault(&self, error: &io::Error) -> Error {
        fault(&self.path, error)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let names = self.0.held().take();
        names.iter().flatten().for_each(|name| self.0.remove(name));
    }
}

pub(super) fn fault(path: &Path, error: &io::Error) -> Error {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::NoSpace { path }
        }
        _ => Error::File {
            path,
            problem: error.to_string(),
        },
    }
}

impl NewStored {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.writer.write_all(bytes);
        written.map_err(|error| fault(&self.whole.directory, &error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it last, to be given to the store.
    pub fn finish(mut self) -> Result<WholeFile, Error> {
        let directory = &self.whole.directory;
        let synced = self
            .writer
            .flush()
            .and_then(|()| self.writer.get_ref().sync_all())
            .and_then(|()| File::open(directory)?.sync_all());
        synced.map_err(|error| fault(directory, &error))?;
        Ok(self.whole)
    }
}

impl WholeFile {
    /// [`super::batch::NewFile::stored_as`]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// After the store was asked to take it in: it stays when that was done, and where nobody can know. Then the next
    /// start sweeps it away, or not.
    pub fn settle<T>(mut self, taken: &Result<T, Error>) {
        self.stays = matches!(taken, Ok(_) | Err(Error::Store { .. } | Error::Closed));
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.stays {
            let _ = fs::remove_file(self.directory.join(&self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_not_finished_or_not_known_goes() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let write = |text: &str| {
            let mut file = files.create().unwrap();
            file.write(text.as_bytes()).unwrap();
            assert_eq!(file.bytes(), text.len() as u64);
            file
        };
        let closed = Error::Closed;
        let taken = [Ok(()), Err(closed), Err(Error::Draining)];
        let [kept, unknown, _refused] = taken.map(|taken| {
            let whole = write("kept").finish().unwrap();
            let name = whole.name().to_owned();
            whole.settle(&taken);
            name
        });
        drop(write("broken off"));
        drop(write("never given to the store").finish().unwrap());
        let count = || fs::read_dir(root.path().join(DIRECTORY)).unwrap().count();
        assert_eq!((count(), kept.len()), (2, 32));
        files.sweep(&HashSet::from([kept.clone()]));
        let mut text = String::new();
        files
            .read(&kept)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!((count(), text.as_str()), (1, "kept"));
        assert_eq!(files.read(&unknown).err(), Some(Error::NotFound));
        let hold = files.hold();
        files.clone().remove(&kept);
        assert_eq!(count(), 1, "nothing is removed now");
        drop(hold);
        assert_eq!(count(), 0);
        let other = write("other").finish().unwrap();
        let name = other.name().to_owned();
        other.settle(&Ok::<_, Error>(()));
        files.remove(&name);
        assert_eq!(count(), 0);
    }
}
