//! Files by what they are, whatever they are called: opening, telling apart, renaming.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Never through a link, and without waiting for the other end of a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
}

/// What another file, or the same one with other content, does not have.
pub(super) fn place(metadata: &Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!(
        "{}-{}-{}-{seconds}.{nanoseconds:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.size()
    )
}

/// The place and the content: a place alone may be another file's after this one is deleted.
pub(super) fn identity(metadata: &Metadata, hash: &blake3::Hash) -> String {
    format!("{}-{hash}", place(metadata))
}

/// Whether a file with this identity would be found there.
pub(super) fn may_be(identity: &str, metadata: &Metadata) -> bool {
    let known = identity.rsplit_once('-');
    known.is_some_and(|(known, _)| known == place(metadata))
}

/// Whether the path leads to this file, which is open: its number is nobody else's.
pub(super) fn is_at(path: &Path, file: &Metadata) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// Renames, and never replaces.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do both at once.
        Err(Errno::INVAL | Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
            Err(problem) => Err(problem),
        },
        renamed => Ok(renamed?),
    }
}

/// Renames this file, which is open. One that was put into its place meanwhile keeps its name.
pub(super) fn rename_if_there(from: &Path, to: &Path, file: &Metadata) -> io::Result<()> {
    if !is_at(from, file)? {
        return Ok(());
    }
    match rename(from, to) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    // Put there between the look and the rename.
    if !is_at(to, file)? {
        rename(to, from)?;
    }
    Ok(())
}

/// A path as it may stand in a log: on one line, whatever its bytes are.
pub(super) fn shown(path: impl AsRef<Path>) -> String {
    let bytes = path.as_ref().as_os_str().as_encoded_bytes();
    let chunks = bytes.utf8_chunks().map(|chunk| {
        let (text, other) = (chunk.valid(), chunk.invalid());
        format!("{}{}", text.escape_debug(), other.escape_ascii())
    });
    chunks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_and_only_the_file_that_is_meant_is_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let texts = || [&old, &new].map(|path| fs::read_to_string(path).unwrap_or_default());
        fs::write(&old, "first").unwrap();
        fs::write(&new, "in the way").unwrap();
        let first = File::open(&old).unwrap().metadata().unwrap();
        let refused = rename(&old, &new).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(texts(), ["first", "in the way"]);
        fs::remove_file(&new).unwrap();
        rename_if_there(&old, &new, &first).unwrap();
        assert_eq!(texts(), ["", "first"]);
        // Another file, and none.
        fs::write(&old, "second").unwrap();
        fs::rename(&new, directory.path().join("away")).unwrap();
        rename_if_there(&old, &new, &first).unwrap();
        assert_eq!(texts(), ["second", ""]);
        fs::remove_file(&old).unwrap();
        rename_if_there(&old, &new, &first).unwrap();
        assert_eq!(texts(), ["", ""]);
    }

    #[test]
    fn a_name_is_shown_on_one_line() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"\xc3\xbc\n\x1b[2J\xff.jsonl");
        assert_eq!(shown(name), r"ü\n\u{1b}[2J\xff.jsonl");
    }
}
