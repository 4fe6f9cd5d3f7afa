//! What is left of a process that met an unreadable page of a mapped file: a note in a marker file, for the
//! next start.
//!
//! The note is one line: the offset in 16 hexadecimal digits, a space, and the path of the file.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::mapped::guard;
use super::place::open_regular;

/// Which page could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From the beginning of the file.
    pub offset: u64,
    /// When it was noted. A file that is younger is not the one that failed.
    pub noted: SystemTime,
}

/// While it lives, an unreadable page of a mapped file ends the process with a sentence and exit code 74.
/// One per process.
#[derive(Debug)]
pub struct Guard {
    /// The file for notes, open because nothing can be opened in a signal handler.
    marker: Option<(PathBuf, File)>,
}

impl Guard {
    /// Watches all file maps, those made before too. With a `marker`, the fault is noted in this file; it is
    /// empty until then, and goes away with the guard.
    pub fn install(marker: Option<&Path>) -> io::Result<Guard> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let file = open_regular(path, &mut options)?;
            io::Result::Ok((path.to_path_buf(), file))
        };
        let marker = marker.map(open).transpose()?;
        guard::install(marker.as_ref().map_or(-1, |(_, file)| file.as_raw_fd()))?;
        Ok(Guard { marker })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        guard::forget_marker();
        if let Some((path, _)) = &self.marker {
            // An empty marker means nothing.
            let _ = fs::remove_file(path);
        }
    }
}

/// The fault that an earlier process noted. A marker that is missing, empty or damaged tells of none.
pub fn read(marker: &Path) -> Option<Fault> {
    let mut note = Vec::new();
    let mut file = open_regular(marker, OpenOptions::new().read(true)).ok()?;
    let noted = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .ok()?;
    file.read_to_end(&mut note).ok()?;
    let line = note.strip_suffix(b"\n")?;
    let (digits, path) = line.split_at_checked(guard::OFFSET_DIGITS)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let path = path.strip_prefix(b" ").filter(|path| !path.is_empty())?;
    Some(Fault {
        file: PathBuf::from(OsStr::from_bytes(path)),
        offset: u64::from_str_radix(digits, 16).ok()?,
        noted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_an_offset_and_a_path_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("fault");
        assert_eq!(read(&marker), None);
        let fault = |note: &str| {
            fs::write(&marker, note).unwrap();
            read(&marker)
        };
        let noted = fault("0000000000012000 /a b\nc\n").unwrap();
        assert_eq!(noted.file, Path::new("/a b\nc"));
        assert_eq!(noted.offset, 0x12000);
        assert_eq!(
            noted.noted,
            fs::metadata(&marker).unwrap().modified().unwrap()
        );
        for damaged in [
            "",
            "\n",
            "0000000000012000 /a",
            "000000000001200x /a\n",
            "12000 /a\n",
            "0000000000012000 \n",
        ] {
            assert_eq!(fault(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn the_marker_lives_as_long_as_the_guard() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("fault");
        fs::write(&marker, "0000000000012000 /a\n").unwrap();
        let guard = Guard::install(Some(&marker)).unwrap();
        assert_eq!(read(&marker), None);
        drop(guard);
        assert!(!marker.exists());
    }
}
