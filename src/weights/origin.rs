//! What a model file is, without its weights.

use std::path::Path;

use crate::cache::{Key, MappedFile};

use super::gguf::Header;
use super::{Error, Metadata};

/// The metadata of a model, and the name of what is made of it.
pub struct Origin {
    pub metadata: Metadata,
    /// Names the cache file: equal keys, equal values.
    pub key: Key,
}

impl Origin {
    /// Reads all of the model for its hash, and converts nothing.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let file = MappedFile::open(path).map_err(|source| Error::Open {
            path: path.to_path_buf(),
            source,
        })?;
        let header = Header::read(file.bytes()).map_err(|source| Error::Gguf {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Origin {
            metadata: header.metadata,
            key: Key::of_file(&file),
        })
    }
}
