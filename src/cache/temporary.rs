//! A file that does not exist until it is published.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::lock;

/// Nobody writes to a file that may be mapped, and whoever may read its directory may read it.
fn mode(directory: &Path) -> io::Result<Mode> {
    let readers = fs::metadata(directory)?.mode() & 0o044;
    Ok(Mode::from_raw_mode(0o400 | readers))
}

/// Beginning of the names of files that are not finished. Whoever writes one holds a lock on it.
const PREFIX: &str = ".building-";

/// Whether a file of this name was never finished, or is not yet.
pub(super) fn is_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// A new file in the directory of its final name. Dropped unpublished, it leaves nothing behind; a
/// nameless one does so even when the process is killed.
pub(super) struct Temporary {
    file: File,
    /// `None` for a file without a name.
    path: Option<PathBuf>,
}

impl Temporary {
    /// Creates the file, without a name where the file system can do that.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        // A nameless file gets its name through /proc.
        if Path::new("/proc/self/fd").exists()
            && let Ok(file) = Self::nameless(directory)
        {
            return Ok(file);
        }
        Self::named(directory)
    }

    fn nameless(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(directory, flags, mode(directory)?)?;
        Ok(Temporary {
            file: File::from(file),
            path: None,
        })
    }

    fn named(directory: &Path) -> io::Result<Self> {
        let (file, path) = create(directory)?;
        Ok(Temporary {
            file,
            path: Some(path),
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its final name, after its bytes are on disk, and makes the name durable. False when a
    /// file has the name already: that one stays, and this one goes.
    pub(super) fn publish(mut self, name: &Path) -> io::Result<bool> {
        self.file.sync_all()?;
        let named = match &self.path {
            None => {
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, own, CWD, name, AtFlags::SYMLINK_FOLLOW)
            }
            Some(path) => rename_to_free(path, name),
        };
        match named {
            Ok(()) => self.path = None,
            Err(Errno::EXIST) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        sync_directory(name)?;
        Ok(true)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The failure that led here is reported; a leftover name is only untidy.
            let _ = fs::remove_file(path);
        }
    }
}

/// Renames unless the new name is taken. Where the file system cannot do that in one step, the builder's lock
/// keeps other builders away between the two.
fn rename_to_free(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => rustix::fs::rename(from, to),
        },
        other => other,
    }
}

/// Makes the names in the directory of `path` durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Replaces the small file `name` in one step.
pub(super) fn replace(name: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = name.parent().unwrap_or(Path::new("."));
    let (mut file, path) = create(directory)?;
    let replaced = file.write_all(bytes).and_then(|()| fs::rename(&path, name));
    if replaced.is_err() {
        let _ = fs::remove_file(&path);
    }
    replaced
}

/// A new file `.building-<pid>-<n>`, locked so that nobody takes it for a leftover.
fn create(directory: &Path) -> io::Result<(File, PathBuf)> {
    let mode = mode(directory)?;
    for number in 0..u32::MAX {
        let path = directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode.as_raw_mode())
            .open(&path);
        match options {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => {
                let file = other?;
                file.lock_shared()?;
                // Before the lock it could be taken for a leftover and removed.
                if lock::is_still(&path, &file)? {
                    return Ok((file, path));
                }
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_published_and_not_before() {
        for create in [Temporary::create, Temporary::named] {
            let directory = tempfile::tempdir().unwrap();
            let name = directory.path().join("name");
            let temporary = create(directory.path()).unwrap();
            temporary.file().write_all(b"content").unwrap();
            assert!(!name.exists());
            assert!(temporary.publish(&name).unwrap());
            assert_eq!(fs::read(&name).unwrap(), b"content");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

            drop(create(directory.path()).unwrap());
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_unfinished_file_with_a_name_is_known_and_locked() {
        let directory = tempfile::tempdir().unwrap();
        let temporary = Temporary::named(directory.path()).unwrap();
        let path = temporary.path.clone().unwrap();
        assert!(is_name(path.file_name().unwrap().to_str().unwrap()));
        assert!(lock::is_held(&path));
        drop(temporary);
        assert!(!path.exists() && !lock::is_held(&path));
        for name in [
            "building-1-0",
            ".profile",
            ".building-site",
            ".building-1-x",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_taken_keeps_its_file() {
        for create in [Temporary::create, Temporary::named] {
            let directory = tempfile::tempdir().unwrap();
            let name = directory.path().join("name");
            fs::write(&name, "first").unwrap();
            assert!(!create(directory.path()).unwrap().publish(&name).unwrap());
            assert_eq!(fs::read(&name).unwrap(), b"first");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn who_may_read_the_directory_may_read_its_files() {
        for (directory_mode, expected) in [(0o700, 0o400), (0o750, 0o440), (0o755, 0o444)] {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), PermissionsExt::from_mode(directory_mode))
                .unwrap();
            for create in [Temporary::create, Temporary::named] {
                let temporary = create(directory.path()).unwrap();
                let mode = temporary.file().metadata().unwrap().mode();
                assert_eq!(mode & 0o777, expected);
            }
        }
    }
}
