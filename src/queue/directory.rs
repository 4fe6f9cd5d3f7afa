//! The state directory: made private to the user, and held by one process at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cache::{open_regular, trust_directory};

use super::Error;

const LOCK_FILE: &str = "queue.lock";

/// A directory that no other daemon uses while this value lives. The kernel gives the lock back when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: File,
}

impl StateDir {
    /// Creates the directory (mode 0700) where it is missing and takes its lock without waiting.
    pub fn hold(path: &Path) -> Result<Self, Error> {
        let refuse = |problem| Error::StateDir {
            path: path.display().to_string(),
            problem,
        };
        create_private(path)?;
        // Who can put files there could put another queue there, or a link that makes us write elsewhere.
        trust_directory(path)
            .map_err(|error| refuse(format!("cannot be opened: {error}")))?
            .map_err(|problem| refuse(format!("{problem}, so no job is safe in it")))?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = open_regular(&path.join(LOCK_FILE), &mut options)
            .map_err(|error| refuse(cannot_write(&error)))?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDir {
                path: path.to_owned(),
                lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                path: path.display().to_string(),
            }),
            Err(TryLockError::Error(error)) => {
                Err(refuse(format!("cannot lock {LOCK_FILE}: {error}")))
            }
        }
    }

    /// Whether somebody holds it. Changes nothing.
    pub fn is_in_use(path: &Path) -> bool {
        let lock = File::open(path.join(LOCK_FILE));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names of the files in it last.
    pub(super) fn sync_names(&self) -> Result<(), Error> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| Error::Store {
            path: self.path.display().to_string(),
            problem: format!("cannot sync the names of its files: {error}"),
        })
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Closing the file is not enough at once: a child process that is just being started may hold a
        // copy of it for a moment. When this fails, the lock ends with the process.
        let _ = self.lock.unlock();
    }
}

/// Creates what is missing of a directory's path, with mode 0700, so that a power loss leaves it there: what is synced
/// inside of a directory is no safer than the directory's own name.
pub(super) fn create_private(path: &Path) -> Result<(), Error> {
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_private(above)?;
            return create_private(path);
        }
        Err(error) if !path.is_dir() => {
            return Err(Error::StateDir {
                path: path.display().to_string(),
                problem: format!("cannot be created: {error}"),
            });
        }
        // It may have been made by a daemon that died before it could sync.
        Ok(()) | Err(_) => {}
    }
    // Whoever may not read the directory above has not made anything in it.
    let Ok(above) = File::open(above) else {
        return Ok(());
    };
    above.sync_all().map_err(|error| Error::Store {
        path: path.display().to_string(),
        problem: format!("cannot sync its name: {error}"),
    })
}

fn cannot_write(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("the daemon needs write permission: {error}")
        }
        _ => format!("cannot create {LOCK_FILE}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_directory_is_created_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state");
        let held = StateDir::hold(&path).unwrap();
        assert_eq!(held.path(), path);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(LOCK_FILE)), 0o600);
    }

    #[test]
    fn a_second_holder_is_refused_until_the_first_lets_go() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::hold(root.path()).unwrap();
        let refused = StateDir::hold(root.path()).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "state directory {}: is in use by another daemon; one daemon per directory",
                root.path().display()
            )
        );
        drop(first);
        StateDir::hold(root.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        std::fs::write(&path, b"").unwrap();
        let refused = StateDir::hold(&path).unwrap_err().to_string();
        let start = format!("state directory {}: cannot be created: ", path.display());
        assert!(refused.starts_with(&start), "{refused}");
    }

    #[test]
    fn a_directory_in_which_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o770)).unwrap();
        let refused = StateDir::hold(root.path()).unwrap_err().to_string();
        let expected = format!(
            "state directory {}: others can write to it: its mode is 0770, so no job is safe in it",
            root.path().display()
        );
        assert_eq!(refused, expected);
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        StateDir::hold(root.path()).unwrap();
    }

    #[test]
    fn a_lock_file_that_leads_elsewhere_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, root.path().join(LOCK_FILE)).unwrap();
        assert!(StateDir::hold(root.path()).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn missing_permission_says_so() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            cannot_write(&error),
            "the daemon needs write permission: permission denied"
        );
    }
}
