//! What can go wrong with cache files; each sentence names the file or directory.

use std::io;
use std::path::{Path, PathBuf};

use super::Distrust;

/// Failure to find, build or map a cache file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cache directory {}: cannot {action}: {source}", path.display())]
    Directory {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("cache directory {}: it is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("cache directory {}: cannot {action}: no permission to write there", path.display())]
    NotWritable { path: PathBuf, action: &'static str },
    #[error("{}: {problem}, so nothing in it can be trusted", path.display())]
    Untrusted { path: PathBuf, problem: Distrust },
    #[error("cache directory {}: the cache file needs {bytes} bytes and the file system has room for {available}", path.display())]
    NoSpace {
        path: PathBuf,
        bytes: u64,
        available: u64,
    },
    #[error("cache directory {}: the cache file needs {bytes} bytes, and of the {limit} that all files may have together, files in use have {in_use}", path.display())]
    OverLimit {
        path: PathBuf,
        bytes: u64,
        limit: u64,
        in_use: u64,
    },
    #[error("cache file {}: {problem}", path.display())]
    Refused { path: PathBuf, problem: Problem },
    #[error("cache file {}: cannot {action}: {source}", path.display())]
    File {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("tensor {name}: {problem}, so it cannot be stored")]
    Tensor { name: String, problem: &'static str },
    /// Found out before anything is allocated.
    #[error("the weights need {} of memory, and {} are available", gib(*.bytes), gib(*.available))]
    NoMemory { bytes: u64, available: u64 },
    #[error("cannot allocate {bytes} bytes for weights: {source}")]
    Memory { bytes: u64, source: io::Error },
    #[error("{0}")]
    Source(String),
    /// Whoever watched the conversion stopped it.
    #[error("the conversion was stopped")]
    Stopped,
}

impl Error {
    /// Whether the cache file could not be made because the directory takes no more: what is to be in it may
    /// live elsewhere.
    pub fn is_lack_of_room(&self) -> bool {
        matches!(
            self,
            Error::NoSpace { .. } | Error::OverLimit { .. } | Error::NotWritable { .. }
        )
    }

    /// The error of writing in `path`, in the words that help: permission, room, or the system's own.
    pub(super) fn writing(
        path: &Path,
        action: &'static str,
        bytes: u64,
        source: io::Error,
    ) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::NotWritable { path, action }
            }
            // Larger than any file may be is larger than any room, too.
            io::ErrorKind::FileTooLarge
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => Error::NoSpace {
                available: free_bytes(&path).unwrap_or(0),
                path,
                bytes,
            },
            _ => Error::Directory {
                path,
                action,
                source,
            },
        }
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Bytes that this user may still write to the file system of `path`; `None` when it does not tell.
pub(super) fn free_bytes(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    status.f_bavail.checked_mul(status.f_frsize)
}

/// Bytes of the whole file system of `path`; `None` when it does not tell.
pub(super) fn total_bytes(path: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(path).ok()?;
    status.f_blocks.checked_mul(status.f_frsize)
}

/// Why the bytes of a file are not a cache file that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is too short to hold a header")]
    TooShort,
    #[error("its header length {0} is not that of a cache file of its size")]
    HeaderLength(u64),
    #[error("it is not a cache file of this program")]
    Foreign,
    #[error("the header does not match its own checksum")]
    HeaderChecksum,
    #[error("the header is not valid: {0}")]
    Json(String),
    #[error("the header has the name {0} twice")]
    DuplicateName(String),
    #[error("the header has no {0}")]
    MissingKey(String),
    #[error("the header's {key} is {found}, expected {expected}")]
    WrongValue {
        key: String,
        found: String,
        expected: String,
    },
    #[error("tensor {0}: element type, shape and size do not agree")]
    Shape(String),
    #[error("tensor {0} does not begin where the one before it ends")]
    NotContiguous(String),
    #[error("tensor {0} is not aligned to 64 bytes")]
    Misaligned(String),
    #[error("it has {found} bytes, and its header describes {expected}")]
    Length { found: u64, expected: u64 },
    #[error("the values of tensor {0} do not match their checksum")]
    Checksum(String),
}
