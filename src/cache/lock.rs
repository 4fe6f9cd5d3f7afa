//! One builder at a time, also between processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::place::open_regular;

/// An exclusive lock, held until it is dropped; its file goes with it.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock at `path`. The kernel lets go of it when a holder dies.
    pub(super) fn acquire(path: PathBuf) -> io::Result<Self> {
        loop {
            let file = open_regular(
                &path,
                OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600),
            )?;
            file.lock()?;
            // The last holder may have removed the file while we waited for it; then a newcomer could
            // lock another file of the same name beside us.
            if is_still(&path, &file)? {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held, so that whoever waits sees that the name is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a file is in use, as far as locks tell.
#[derive(Debug)]
pub(super) enum Hold {
    /// Nobody uses it, and nobody begins to until this is dropped.
    Ours(File),
    /// A process holds a lock of either kind on it, or its name has just gone to another file.
    Theirs,
    /// It is a link, a FIFO or another thing that cannot be a mapped file.
    NoFile,
}

/// Locks the file at `path` if nobody else has. Fails where that cannot be told: a file that cannot be opened
/// now, or locked on this file system (NFS has no exclusive locks for who may not write), may be in use.
pub(super) fn try_hold(path: &Path) -> io::Result<Hold> {
    let file = match open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => {
            return Ok(Hold::NoFile);
        }
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // Its name may have gone to another file while it was being opened.
        Ok(()) if !is_still(path, &file)? => Ok(Hold::Theirs),
        Ok(()) => Ok(Hold::Ours(file)),
        Err(TryLockError::WouldBlock) => Ok(Hold::Theirs),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process holds a lock on the file at `path`, shared or exclusive, or may hold one.
pub(super) fn is_held(path: &Path) -> bool {
    match try_hold(path) {
        Ok(hold) => matches!(hold, Hold::Theirs),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether the name `path` leads to the open `file`.
pub(super) fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(named.ino() == ours.ino() && named.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn holders_exclude_each_other_and_leave_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(path.clone()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_told_counts_as_held_and_what_is_no_file_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(try_hold(&link), Ok(Hold::NoFile)));
        assert!(!is_held(&link));
        // A name too long cannot be opened, as a file cannot when a process has too many open.
        let unknown = directory.path().join("x".repeat(300));
        assert!(try_hold(&unknown).is_err());
        assert!(is_held(&unknown));
    }

    #[test]
    fn a_lock_of_either_kind_is_seen_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(!is_held(&path));
        let file = File::create(&path).unwrap();
        assert!(!is_held(&path));
        for lock in [File::lock, File::lock_shared] {
            lock(&file).unwrap();
            assert!(is_held(&path));
            file.unlock().unwrap();
            assert!(!is_held(&path));
        }
    }
}
