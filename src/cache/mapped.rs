//! Every file map of the crate: the weights' cache and the GGUF.
//!
//! Invariant: files are mapped read-only, and only regular files. Cache files are replaced by rename
//! and never changed in place, so what is mapped does not change. A file that someone truncates
//! under the map ends the process with SIGBUS.
#![allow(
    unsafe_code,
    reason = "a file map is unsafe by nature: another process may change the file"
)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::OFlags;

use crate::tensor::TensorSpec;

use super::format::{self, Header, Pad};
use super::{Error, Identity, Key, Problem, read};

/// A whole file mapped read-only.
pub struct MappedFile {
    file: File,
    map: memmap2::Mmap,
    path: Option<PathBuf>,
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
        Ok(MappedFile {
            path: std::path::absolute(path).ok(),
            ..Self::map(file)?
        })
    }

    /// Maps a file that is already open.
    pub(super) fn map(file: File) -> io::Result<Self> {
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
        // process wrote to the file: cache files have mode 0400 and are replaced, never written; a
        // source file's identity is compared after it has been read. Values are plain bytes, for
        // which every bit pattern is valid.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(MappedFile {
            file,
            map,
            path: None,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The absolute path it was opened by, if it was opened by one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Device, inode, size and times of the open file, asked anew.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&self.file.metadata()?))
    }
}

/// A mapped cache file: tensors by name as `&[f32]`.
pub struct MappedTensors {
    path: PathBuf,
    file: MappedFile,
    header: Header,
    index: HashMap<String, usize>,
}

impl std::fmt::Debug for MappedTensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MappedTensors")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl MappedTensors {
    /// Maps the cache file at `path` and checks its header and its size; with a `key`, also that it was
    /// made from that source. Values are not read; see [`MappedTensors::verify`].
    pub fn open(path: &Path, key: Option<&Key>) -> Result<Self, Error> {
        let file = MappedFile::open(path).map_err(|source| Error::File {
            path: path.to_path_buf(),
            action: "map it",
            source,
        })?;
        let refuse = |problem| Error::Refused {
            path: path.to_path_buf(),
            problem,
        };
        let header = read::header(file.bytes()).map_err(refuse)?;
        if let Some(key) = key.filter(|key| **key != header.key) {
            return Err(refuse(Problem::WrongValue {
                key: "source".into(),
                found: format!("{} ({} bytes)", header.key.source, header.key.source_bytes),
                expected: format!("{} ({} bytes)", key.source, key.source_bytes),
            }));
        }
        let names = header.places.iter().map(|place| place.spec.name.clone());
        let index = names.zip(0..).collect();
        let path = path.to_path_buf();
        Ok(MappedTensors {
            path,
            file,
            header,
            index,
        })
    }

    /// Its spec and its values, panel padding included.
    pub fn get(&self, name: &str) -> Option<(&TensorSpec, &[f32])> {
        self.position(name).map(|index| self.at(index))
    }

    /// Position of a tensor in file order.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The tensor at a position that [`MappedTensors::position`] gave.
    pub fn at(&self, index: usize) -> (&TensorSpec, &[f32]) {
        let place = &self.header.places[index];
        (
            &place.spec,
            bytemuck::cast_slice(self.slice(place.offset, place.bytes)),
        )
    }

    /// In file order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.header
            .places
            .iter()
            .map(|place| place.spec.clone())
            .collect()
    }

    pub fn key(&self) -> &Key {
        &self.header.key
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all values, panel padding included.
    pub fn value_bytes(&self) -> u64 {
        self.header.places.iter().map(|place| place.bytes).sum()
    }

    /// Reads every value and compares it with its checksum; padding must be zero.
    pub fn verify(&self) -> Result<(), Error> {
        let tensors = 0..self.header.places.len();
        tensors
            .into_par_iter()
            .try_for_each(|index| self.verify_tensor(index))?;
        self.verify_padding()
    }

    /// Reads the values of one tensor, at a position in file order, and compares them with their checksum.
    pub fn verify_tensor(&self, index: usize) -> Result<(), Error> {
        let place = &self.header.places[index];
        let found = format::tensor_checksum(self.slice(place.offset, place.bytes));
        if found == place.checksum {
            return Ok(());
        }
        Err(self.damaged(&place.spec.name))
    }

    /// The bytes between tensors, of which there are few.
    pub fn verify_padding(&self) -> Result<(), Error> {
        let is_dirty = |pad: &Pad| {
            self.slice(pad.offset, pad.bytes)
                .iter()
                .any(|&byte| byte != 0)
        };
        match self.header.pads.iter().position(is_dirty) {
            Some(number) => Err(self.damaged(&format!("{}{number}", format::PAD_PREFIX))),
            None => Ok(()),
        }
    }

    fn damaged(&self, tensor: &str) -> Error {
        Error::Refused {
            path: self.path.clone(),
            problem: Problem::Checksum(tensor.to_owned()),
        }
    }

    /// The header's reader has checked that all places lie within the file.
    fn slice(&self, offset: u64, bytes: u64) -> &[u8] {
        &self.file.bytes()[offset as usize..(offset + bytes) as usize]
    }
}
