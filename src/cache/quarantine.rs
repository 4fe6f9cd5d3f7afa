//! Damaged cache files, set aside: their name becomes free for a new one, maps of them stay valid, and somebody
//! can look at them.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::lock_path;
use super::lock::Lock;
use super::names::source_of;
use super::{Directory, Error};

/// Ending of files that were set aside.
pub(super) const QUARANTINED: &str = "bad";

impl Directory {
    /// Sets a damaged file aside, so that it is built again and can be looked at; its new path. Nothing is
    /// done unless the file of this name is `still` the damaged one: somebody else may have built it again.
    pub fn quarantine(
        &self,
        file: &Path,
        still: impl FnOnce(&Metadata) -> bool,
    ) -> Result<Option<PathBuf>, Error> {
        set_aside_if(file, still)
    }
}

/// Sets the file aside if it is `still` the damaged one. The lock of its key is held meanwhile, so that none is
/// moved that was just built; in a directory where no lock can be made nothing can be moved either.
pub(super) fn set_aside_if(
    file: &Path,
    still: impl FnOnce(&Metadata) -> bool,
) -> Result<Option<PathBuf>, Error> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let failed = |error| Error::writing(directory, "set a damaged file aside", 0, error);
    let _lock = match source_of(file) {
        Some(source) => Some(Lock::acquire(lock_path(directory, source)).map_err(failed)?),
        None => None,
    };
    match fs::symlink_metadata(file) {
        Ok(metadata) if still(&metadata) => set_aside(file),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Renames a damaged file. One that cannot be renamed is removed: it must not be found again.
pub(super) fn set_aside(file: &Path) -> Result<Option<PathBuf>, Error> {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(QUARANTINED);
    let aside = PathBuf::from(name);
    if fs::rename(file, &aside).is_ok() {
        return Ok(Some(aside));
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let directory = file.parent().unwrap_or(Path::new("."));
            Err(Error::writing(
                directory,
                "set a damaged file aside",
                0,
                error,
            ))
        }
        _ => Ok(None),
    }
}
