//! A mapped cache file: tensors by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::tensor::{TensorSpec, Values};

use super::MappedFile;
use crate::cache::format::{self, Header, Pad};
use crate::cache::place::Place;
use crate::cache::{Error, Key, Problem, Progress, Work, quarantine, read};

/// A mapped cache file: tensors by name.
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
    /// Maps the cache file at `path` if it can be trusted, and checks its header and its size; with a `key`,
    /// also that it was made from that source. Values are not read; see [`MappedTensors::verify`].
    pub fn open(path: &Path, key: Option<&Key>) -> Result<Self, Error> {
        Self::open_in(&Place::of(path)?, path, key)
    }

    /// The same with the directory already open.
    pub(in crate::cache) fn open_in(
        place: &Place,
        path: &Path,
        key: Option<&Key>,
    ) -> Result<Self, Error> {
        let file = place.open(path)?;
        let refuse = |problem| Error::Refused {
            path: path.to_path_buf(),
            problem,
        };
        let header = read::header(file.bytes()).map_err(refuse)?;
        if let Some(key) = key.filter(|key| **key != header.key) {
            return Err(refuse(Problem::WrongValue {
                key: "source".into(),
                found: header.key.to_string(),
                expected: key.to_string(),
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
    pub fn get(&self, name: &str) -> Option<(&TensorSpec, Values<'_>)> {
        self.position(name).map(|index| self.at(index))
    }

    /// Position of a tensor in file order.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The tensor at a position that [`MappedTensors::position`] gave.
    pub fn at(&self, index: usize) -> (&TensorSpec, Values<'_>) {
        let place = &self.header.places[index];
        let element = place.spec.element(self.header.key.element);
        let values = Values::of(element, self.slice(place.offset, place.bytes));
        (&place.spec, values)
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
    pub fn verify(&self, progress: &dyn Progress) -> Result<(), Error> {
        progress.begin(Work::Verifying, self.value_bytes());
        let tensors = 0..self.header.places.len();
        tensors.into_par_iter().try_for_each(|index| {
            if progress.is_stopped() {
                return Err(Error::Stopped);
            }
            self.verify_tensor(index)?;
            progress.advance(self.header.places[index].bytes);
            Ok(())
        })?;
        self.verify_padding()?;
        progress.finish();
        Ok(())
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

    /// Sets the file aside; see [`Directory::quarantine`](crate::cache::Directory::quarantine). Nothing is done
    /// when its name leads to another file by now: somebody else met the same damage, and has repaired it.
    pub fn quarantine(&self) -> Result<Option<PathBuf>, Error> {
        quarantine::set_aside_if(&self.path, |_| self.file.is_still_at(&self.path))
    }

    /// Tells the file system that the file was used, whatever it notes by itself: the files that were not
    /// used for longest are the first to go.
    pub(in crate::cache) fn note_use(&self) {
        self.file.note_use();
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
