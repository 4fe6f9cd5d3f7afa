//! What a source file contains, known without reading it again at each start.
//!
//! The BLAKE3 of a file is remembered in a small record in the cache directory, beside the file's
//! device, inode, size and times. The time of the last status change is among them because a user can
//! set the modification time back, but not that one.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::place::open_own;
use super::{Error, Progress, temporary};

/// A file changed this recently may change again within the same tick of its clock (2 s on FAT), so its
/// record would not notice.
const SETTLED: Duration = Duration::from_secs(2);

/// Which file, in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified_ns: i128,
    pub changed_ns: i128,
}

impl Identity {
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// A name for this state of the file, fit for file names.
    pub(super) fn digest(&self) -> String {
        blake3::hash(format!("{self:?}").as_bytes()).to_hex()[..32].to_owned()
    }

    /// Whether a later change is sure to show in the times.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos()
            .cast_signed();
        now - self.changed_ns.max(self.modified_ns) >= SETTLED.as_nanos().cast_signed()
    }
}

/// Bytes that are hashed between two signs of progress: so many that all threads are kept busy.
const STRIDE: usize = 64 << 20;

/// BLAKE3 of `bytes` in hex, computed on all threads of the current rayon pool. The caller begins and finishes
/// the work that `progress` watches.
pub(super) fn hash(bytes: &[u8], progress: &dyn Progress) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    for part in bytes.chunks(STRIDE) {
        if progress.is_stopped() {
            return Err(Error::Stopped);
        }
        hasher.update_rayon(part);
        progress.advance(part.len() as u64);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Ending of records.
pub(super) const EXTENSION: &str = "source";

/// Bytes that are read of a record. One file takes some hundreds and a path, in which JSON may need six bytes
/// for one; a model may have hundreds of files.
const LONGEST: u64 = 4 << 20;

/// What a file, or a model of several files, contained in one state.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) blake3: String,
    /// Where the model was, for people and for building again; it identifies nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    /// At least one.
    pub(super) files: Vec<RecordedFile>,
}

/// A file of a record, in the state that it tells of.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordedFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    pub(super) identity: Identity,
}

impl Record {
    /// `None` when it is missing, makes no sense, or could be somebody else's: who writes records decides
    /// which weights are taken for those of a model.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut text = Vec::new();
        let file = open_own(path).ok()?;
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        let is_hash =
            record.blake3.len() == 64 && record.blake3.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && !record.files.is_empty()).then_some(record)
    }

    fn write(&self, path: &Path) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = temporary::replace(path, &text);
        }
    }
}

/// The remembered hash of the file in this state. A missing or unreadable record is no record.
pub(super) fn recall(directory: &Path, identity: &Identity) -> Option<String> {
    let record = Record::read(&record_path(directory, identity))?;
    match record.files.as_slice() {
        [file] if file.identity == *identity => Some(record.blake3),
        _ => None,
    }
}

/// Remembers the hash of a file. Best effort: without the record, the next start reads the file again.
pub(super) fn remember(
    directory: &Path,
    path: &Path,
    identity: &Identity,
    blake3: &str,
    now: SystemTime,
) {
    let record = Record {
        blake3: blake3.to_owned(),
        path: utf8(path),
        files: vec![RecordedFile {
            path: utf8(path),
            identity: *identity,
        }],
    };
    // Of a file that may still change within one tick of the clock nothing is remembered.
    if identity.is_settled(now) {
        record.write(&record_path(directory, identity));
    }
}

/// Remembers of which model the source `blake3` was, when that is not the hash of a file. Best effort: without
/// it nobody knows what to convert again. Whoever believes it reads the model once more.
pub(super) fn remember_model<'a>(
    directory: &Path,
    path: &Path,
    files: impl Iterator<Item = (&'a Path, &'a Identity)>,
    blake3: &str,
) {
    let files = files.map(|(path, identity)| RecordedFile {
        path: utf8(path),
        identity: *identity,
    });
    let path = std::path::absolute(path).ok();
    let record = Record {
        blake3: blake3.to_owned(),
        path: path.as_deref().and_then(utf8),
        files: files.collect(),
    };
    record.write(&directory.join(format!("{blake3}.{EXTENSION}")));
}

/// JSON has no words for a name that is not UTF-8.
fn utf8(path: &Path) -> Option<PathBuf> {
    path.to_str().map(PathBuf::from)
}

/// One record per inode, so that a changed file replaces its own.
fn record_path(directory: &Path, identity: &Identity) -> PathBuf {
    let (device, inode) = (identity.device, identity.inode);
    directory.join(format!("{device:x}-{inode:x}.{EXTENSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            device: 1,
            inode: 2,
            size: 3,
            modified_ns: 4,
            changed_ns: 5_000_000_000,
        }
    }

    fn after(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_record_holds_for_one_state_of_the_file_only() {
        let directory = tempfile::tempdir().unwrap();
        let blake3 = hash(b"model", &()).unwrap();
        let path = Path::new("/m");
        remember(directory.path(), path, &identity(), &blake3, after(8));
        assert_eq!(recall(directory.path(), &identity()), Some(blake3));

        for changed in [
            Identity {
                size: 4,
                ..identity()
            },
            Identity {
                modified_ns: 5,
                ..identity()
            },
            Identity {
                changed_ns: 6,
                ..identity()
            },
        ] {
            assert_eq!(recall(directory.path(), &changed), None);
        }
    }

    #[test]
    fn a_file_changed_just_now_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        remember(
            directory.path(),
            Path::new("/m"),
            &identity(),
            &hash(b"model", &()).unwrap(),
            after(6),
        );
        assert_eq!(recall(directory.path(), &identity()), None);
    }

    #[test]
    fn a_record_that_is_not_hexadecimal_is_none() {
        let directory = tempfile::tempdir().unwrap();
        remember(
            directory.path(),
            Path::new("/m"),
            &identity(),
            "../../etc/passwd",
            after(8),
        );
        assert_eq!(recall(directory.path(), &identity()), None);
    }
}
