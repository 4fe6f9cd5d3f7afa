//! A backup as a state directory that is gone when it has been looked at.

use std::cell::Cell;
use std::error::Error as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::queue::backup::DATABASE;

use super::Error;
use super::interrupt::Interrupt;
use super::submit::random_key;

/// A private directory for temporary files with what the archive holds; dropping it removes it.
pub(super) struct UnpackedBackup(PathBuf);

/// The archive as it is read.
struct Source<'a> {
    file: File,
    interrupt: &'a Interrupt,
    /// All of it was read. A whole archive says itself where it ends, and nobody reads on to find out.
    at_end: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.has_come() {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.file.read(buffer)?;
        self.at_end.set(count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

impl UnpackedBackup {
    /// Its name has something random in it: others can make names, too, where temporary files are.
    pub(super) fn of(archive: &Path, interrupt: &Interrupt) -> Result<Self, Error> {
        let file =
            File::open(archive).map_err(|problem| Error::file("cannot read", archive, &problem))?;
        let directory = std::env::temp_dir().join(random_key()?);
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|problem| Error::file("cannot create", &directory, &problem))?;
        let unpacked = UnpackedBackup(directory);
        unpacked.fill(archive, file, interrupt)?;
        Ok(unpacked)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn fill(&self, archive: &Path, file: File, interrupt: &Interrupt) -> Result<(), Error> {
        let failed = |problem: String| Error::Failed(format!("{} {problem}", archive.display()));
        let at_end = &Cell::new(false);
        let source = Source {
            file,
            interrupt,
            at_end,
        };
        let mut begun = false;
        let told = |begun: bool, problem: io::Error| match problem {
            _ if interrupt.has_come() => Error::Interrupted,
            _ if !begun => failed("is no backup of a queue".to_owned()),
            _ if at_end.get() => failed("is cut short".to_owned()),
            problem => failed(format!("cannot be unpacked: {}", innermost(&problem))),
        };
        let mut tar = tar::Archive::new(source);
        let entries = tar.entries().map_err(|problem| told(begun, problem))?;
        for entry in entries {
            let mut entry = entry.map_err(|problem| told(begun, problem))?;
            begun = true;
            // Names that lead out of the directory are left out by the library.
            let done = entry.unpack_in(&self.0);
            done.map_err(|problem| told(begun, problem))?;
        }
        match self.0.join(DATABASE).is_file() {
            true if at_end.get() => Err(failed("is cut short".to_owned())),
            true => Ok(()),
            false => Err(failed("is no backup of a queue".to_owned())),
        }
    }
}

impl Drop for UnpackedBackup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The library's own sentences say what it did, and the last source why that failed.
fn innermost(problem: &io::Error) -> String {
    let mut sentence = problem.to_string();
    let mut source = problem.source();
    while let Some(problem) = source {
        sentence = problem.to_string();
        source = problem.source();
    }
    sentence
}
