//! An output file that gets its name only when it is complete and on disk: temp -> fsync -> link or rename ->
//! fsync directory. Dropped before, it leaves nothing behind and an older file untouched.
//!
//! Where the file system can do it, the file has no name until then, and goes with the process however that
//! ends. A file that is replaced keeps its permissions; a symbolic link stays, and what it names is replaced.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use super::Error;

/// Permissions, before the umask takes its part.
const MODE: u32 = 0o666;
/// The same for what is never published.
const PRIVATE: u32 = 0o600;
/// What a file that is replaced hands on.
const PERMISSIONS: u32 = 0o777;
/// As many symbolic links as the system follows.
const MOST_LINKS: u32 = 40;

/// The file while it is written, in the directory it will have its name in.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// A name beside `path`, for the time before and for replacing.
    temporary: PathBuf,
    /// Whether `temporary` exists.
    is_named: bool,
    file: File,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let usage = |problem| Error::Usage(format!("the output {} {problem}", path.display()));
        let failed = |problem: io::Error| Error::file("cannot create", path, &problem);
        if path == Path::new("-") {
            return Err(usage(
                "is no name, and the output appears under its name when it is complete",
            ));
        }
        let replaced = fs::metadata(path).ok();
        match &replaced {
            Some(there) if there.is_dir() => return Err(usage("is a directory")),
            Some(there) if !there.is_file() => {
                return Err(usage("is there already and is no regular file"));
            }
            _ => {}
        }
        let path = &target(path).map_err(failed)?;
        if path.file_name().is_none() {
            return Err(usage("is not the name of a file"));
        }
        let temporary = path.with_file_name(unused().map_err(failed)?);
        let nameless = without_name(directory(path), MODE);
        let is_named = nameless.is_err();
        let file = nameless
            .or_else(|_| {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&temporary)
            })
            .map_err(failed)?;
        let file = NewFile {
            path: path.clone(),
            temporary,
            is_named,
            file,
        };
        if let Some(there) = replaced {
            file.set_mode(there.mode() & PERMISSIONS)?;
        }
        Ok(file)
    }

    /// Whether both would get the same name.
    pub(super) fn is_same(&self, other: &NewFile) -> bool {
        let place = |file: &NewFile| {
            fs::metadata(directory(&file.path))
                .ok()
                .map(|it| identity(&it))
        };
        self.path.file_name() == other.path.file_name() && place(self) == place(other)
    }

    /// Takes back what was written.
    pub(super) fn begin_again(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|problem| self.failed(&problem))
    }

    fn set_mode(&self, mode: u32) -> Result<(), Error> {
        let set = self.file.set_permissions(fs::Permissions::from_mode(mode));
        set.map_err(|problem| self.failed(&problem))
    }

    /// Nobody else may read it, whatever the umask says.
    pub(super) fn make_private(&self) -> Result<(), Error> {
        self.set_mode(PRIVATE)
    }

    /// Gives the file its name. A file that has it already is replaced, or else stays and makes this fail.
    pub(super) fn publish(mut self, replace: bool) -> Result<(), Error> {
        self.name(replace).map_err(|problem| self.failed(&problem))
    }

    /// Nothing is to be published: a file that has the name already is replaced by an empty one.
    pub(super) fn empty_an_older_one(mut self) -> Result<(), Error> {
        if !self.path.exists() {
            return Ok(());
        }
        self.begin_again()?;
        self.publish(true)
    }

    fn name(&mut self, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match (self.is_named, replace) {
            (false, false) => self.link(&self.path)?,
            (true, false) => self.rename_to_free_name()?,
            (named, true) => {
                if !named {
                    self.link(&self.temporary)?;
                    self.is_named = true;
                }
                fs::rename(&self.temporary, &self.path)?;
            }
        }
        self.is_named = false;
        File::open(directory(&self.path))?.sync_all()
    }

    /// Linking never replaces.
    fn link(&self, name: &Path) -> io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(
            CWD,
            own,
            CWD,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    fn rename_to_free_name(&self) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.path, flags) {
            // Some file systems cannot look and rename in one step.
            Err(rustix::io::Errno::INVAL) if !self.path.exists() => {
                fs::rename(&self.temporary, &self.path)
            }
            Err(rustix::io::Errno::INVAL) => Err(io::ErrorKind::AlreadyExists.into()),
            other => Ok(other?),
        }
    }

    pub(super) fn failed(&self, problem: &io::Error) -> Error {
        Error::file("cannot write", &self.path, problem)
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_named {
            // Nothing more can be done about a temporary file that does not go away; it is named as such.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Device and number of a file: the same for all of its names.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// What symbolic links lead to, whether it is there or not.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = directory(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// The directory that a name stands in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A file to write and read that nobody else sees, and that goes with the process however that ends.
pub(super) fn nameless(directory: &Path) -> io::Result<File> {
    without_name(directory, PRIVATE).or_else(|_| {
        let path = directory.join(unused()?);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    })
}

/// A name that nothing has, whatever earlier processes left behind: in a container all of them may have the same number.
/// It is short: a longer one than that of the output might be too long.
fn unused() -> io::Result<String> {
    let number = SysRng.try_next_u64().map_err(io::Error::other)?;
    Ok(format!(".{number:016x}.tmp"))
}

/// A file without a name gets one through /proc.
fn without_name(directory: &Path, mode: u32) -> io::Result<File> {
    if !Path::new("/proc/self/fd").exists() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::from_raw_mode(mode))?;
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(directory: &Path) -> Vec<std::ffi::OsString> {
        let files = fs::read_dir(directory).unwrap();
        files.map(|file| file.unwrap().file_name()).collect()
    }

    /// A file of the ordinary kind, or of the kind that has a name from the beginning.
    fn create(path: &Path, named: bool) -> NewFile {
        let mut file = NewFile::create(path).unwrap();
        if named && !file.is_named {
            file.link(&file.temporary).unwrap();
            file.is_named = true;
        }
        file.write_all(b"new").unwrap();
        file
    }

    #[test]
    fn a_name_that_is_taken_keeps_its_file_unless_it_is_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for named in [false, true] {
            fs::write(&path, "older").unwrap();
            let file = create(&path, named);
            assert_eq!(file.publish(false).unwrap_err().code(), 1);
            assert_eq!(fs::read(&path).unwrap(), b"older");
            assert_eq!(names(dir.path()), ["out"]);
        }
        for named in [false, true] {
            fs::write(&path, "older").unwrap();
            let file = create(&path, named);
            file.publish(true).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(names(dir.path()), ["out"]);
        }
        for named in [false, true] {
            fs::remove_file(&path).unwrap();
            let file = create(&path, named);
            file.publish(false).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(names(dir.path()), ["out"]);
        }
    }

    #[test]
    fn what_is_replaced_keeps_its_permissions_and_links_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for named in [false, true] {
            fs::write(at("out"), "older").unwrap();
            fs::set_permissions(at("out"), fs::Permissions::from_mode(0o604)).unwrap();
            std::os::unix::fs::symlink("out", at("link")).unwrap();
            std::os::unix::fs::symlink(at("link"), at("far")).unwrap();
            create(&at("far"), named).publish(true).unwrap();
            assert_eq!(fs::read(at("out")).unwrap(), b"new");
            assert_eq!(fs::metadata(at("out")).unwrap().mode() & 0o7777, 0o604);
            assert!(fs::symlink_metadata(at("far")).unwrap().is_symlink());
            fs::remove_file(at("out")).unwrap();
            create(&at("far"), named).publish(true).unwrap();
            assert_eq!(fs::read(at("out")).unwrap(), b"new");
            for name in ["out", "link", "far"] {
                fs::remove_file(at(name)).unwrap();
            }
        }
        std::os::unix::fs::symlink("round", at("round")).unwrap();
        assert_eq!(NewFile::create(&at("round")).unwrap_err().code(), 1);
    }

    #[test]
    fn an_older_file_is_emptied_and_none_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for named in [false, true] {
            fs::write(&path, "older").unwrap();
            create(&path, named).empty_an_older_one().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"");
            fs::remove_file(&path).unwrap();
            create(&path, named).empty_an_older_one().unwrap();
            assert!(names(dir.path()).is_empty());
        }
    }

    #[test]
    fn two_names_of_one_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| NewFile::create(&dir.path().join(name)).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        assert!(at("a").is_same(&at("./link")));
        assert!(!at("a").is_same(&at("b")));
    }

    #[test]
    fn what_was_written_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = create(&path, false);
        file.begin_again().unwrap();
        file.write_all(b"x").unwrap();
        file.publish(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn what_another_process_left_behind_is_in_nobody_s_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let (one, two) = (create(&path, true), create(&path, true));
        assert_ne!(one.temporary, two.temporary);
        for file in [one, two] {
            file.publish(true).unwrap();
        }
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_file_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for named in [false, true] {
            drop(create(&dir.path().join("out"), named));
            assert!(names(dir.path()).is_empty());
        }
    }
}
