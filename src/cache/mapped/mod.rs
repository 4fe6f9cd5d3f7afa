//! Every file map of the crate: the weights' cache and the models' files.
//!
//! Invariant: files are mapped read-only, and only regular files. Cache files are replaced by rename
//! and never changed in place, so what is mapped does not change. A file that someone truncates under the
//! map, or a disk that fails, ends the process through the `guard`.
#![allow(
    unsafe_code,
    reason = "a file map is unsafe by nature: another process may change the file"
)]

pub(super) mod guard;
mod tensors;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::Identity;
use super::lock;

pub use tensors::MappedTensors;

/// A whole file mapped read-only.
pub struct MappedFile {
    // Dropped before the map, so that no address is watched that is not mapped any more.
    _watch: Option<guard::Watch>,
    map: memmap2::Mmap,
    file: File,
    path: PathBuf,
}

impl MappedFile {
    /// Opens and maps a regular file. Fails on directories, devices, FIFOs and empty files.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        Self::map(file, path)
    }

    /// Maps a file that is already open, and was found at `path`.
    pub(super) fn map(file: File, path: &Path) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        if metadata.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
        }
        // SAFETY: the map is read-only and shared. The bytes behind it could change only if another
        // process wrote to the file: nobody may write to cache files, which are replaced instead; a
        // source file's identity is compared after it has been read. Values are plain bytes, for
        // which every bit pattern is valid.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        // What is read from the disk through this map comes in large pages, where the file system can do that:
        // batches of 8 to 16 sequences are a tenth faster on them. Other kernels refuse the advice, which changes
        // nothing but the time.
        let _ = map.advise(memmap2::Advice::HugePage);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(MappedFile {
            _watch: guard::watch(&map, &path),
            map,
            file,
            path,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The absolute path it was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the time of the last access to now; best effort, a file of another user refuses it.
    fn note_use(&self) {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
        };
        let _ = rustix::fs::futimens(&self.file, &times);
    }

    /// Whether `path` leads to this file.
    fn is_still_at(&self, path: &Path) -> bool {
        lock::is_still(path, &self.file).unwrap_or(false)
    }

    /// Device, inode, size and times of the open file, asked anew.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&self.file.metadata()?))
    }
}
