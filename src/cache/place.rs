//! The directory of cache files as an open file: what lies in it is opened relative to it, by its bare name.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Distrust, Error, MappedFile, Problem, trust};

/// Flags for opening what may be anything: a link is not followed, and a FIFO does not wait for its other end.
const CAREFULLY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// An open directory. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Place {
    directory: Arc<File>,
}

impl Place {
    /// Opens a directory without a look at who may write there.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Place {
            directory: Arc::new(File::from(directory)),
        })
    }

    /// The directory in which `file` lies.
    pub(super) fn of(file: &Path) -> Result<Self, Error> {
        let parent = file.parent().filter(|parent| *parent != Path::new(""));
        Self::at(parent.unwrap_or(Path::new("."))).map_err(|error| unreadable(file, error))
    }

    /// Whether others than this user and root could put files there.
    pub(super) fn trust(&self) -> io::Result<Result<(), Distrust>> {
        Ok(trust::directory(&self.directory.metadata()?, user()))
    }

    /// Maps the cache file at `path`, of which only the last part is used. A shared lock is held as long as
    /// it is mapped, so that nobody removes it to make room. Fails on links, on everything that is not a
    /// regular file, and on what another user could have written.
    pub(super) fn open(&self, path: &Path) -> Result<MappedFile, Error> {
        let failed = |error| unreadable(path, error);
        let untrusted = |problem| Error::Untrusted {
            path: path.to_path_buf(),
            problem,
        };
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(failed(io::ErrorKind::InvalidInput.into())),
        };
        let file = match self.open_name(name) {
            Ok(file) => file,
            Err(Errno::LOOP) => return Err(untrusted(Distrust::Symlink)),
            // A socket cannot be opened at all.
            Err(Errno::NXIO) => return Err(untrusted(Distrust::NotRegular)),
            Err(error) => return Err(failed(error.into())),
        };
        let check = || -> Result<u64, Error> {
            let metadata = file.metadata().map_err(failed)?;
            trust::file(&metadata, user()).map_err(untrusted)?;
            Ok(metadata.nlink())
        };
        check()?;
        lock_shared(&file).map_err(failed)?;
        // Whoever held the lock before may have removed the file.
        if check()? == 0 {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        MappedFile::map(file, path).map_err(|error| match error.kind() {
            // Nothing can be mapped of it, but it is a damaged file like any other that was cut short.
            io::ErrorKind::UnexpectedEof => Error::Refused {
                path: path.to_path_buf(),
                problem: Problem::TooShort,
            },
            _ => failed(error),
        })
    }

    fn open_name(&self, name: &OsStr) -> rustix::io::Result<File> {
        let flags = OFlags::RDONLY | CAREFULLY | OFlags::CLOEXEC;
        // Looking is not using: a survey must not make every file look used. Whoever uses a file notes it.
        match self.open_with(name, flags | OFlags::NOATIME) {
            // Only the owner may ask for that.
            Err(Errno::PERM) => self.open_with(name, flags),
            other => other,
        }
    }

    fn open_with(&self, name: &OsStr, flags: OFlags) -> rustix::io::Result<File> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened =
            match rustix::fs::openat2(&*self.directory, name, flags, Mode::empty(), resolve) {
                // An older kernel, or a sandbox that does not know the call. A bare name without links
                // followed is as good.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                    rustix::fs::openat(&*self.directory, name, flags, Mode::empty())
                }
                other => other,
            };
        opened.map(File::from)
    }
}

/// How often a lock is asked for, and what is waited in between: one that only tells whether the file may go is
/// held for microseconds.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Waits for a shared lock, but not for ever: where others may read the file, they can lock it too.
fn lock_shared(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another process keeps it locked",
    ))
}

/// Whether others than this user and root could put files into the directory at `path`.
pub fn trust_directory(path: &Path) -> io::Result<Result<(), Distrust>> {
    Place::at(path)?.trust()
}

/// Opens the regular file at `path`. Fails on links and on everything else that is no file.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(CAREFULLY.bits().cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(Distrust::NotRegular.to_string()))
    }
}

/// Opens the file at `path` for reading, unless another user could have written it.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let file = open_regular(path, OpenOptions::new().read(true))?;
    trust::file(&file.metadata()?, user())
        .map_err(|problem| io::Error::other(problem.to_string()))?;
    Ok(file)
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_path_buf(),
        action: "map it",
        source,
    }
}
