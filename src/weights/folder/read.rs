//! The small files of a folder, read whole and with a limit.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cache::MappedFile;

use super::Error;

/// A folder that remembers what was read of it.
pub(super) struct Folder {
    path: PathBuf,
    /// Over the names and contents of all files read so far.
    hash: blake3::Hasher,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if !path.metadata().map_err(Error::Open)?.is_dir() {
            return Err(Error::NotAFolder);
        }
        Ok(Folder {
            path: path.to_path_buf(),
            hash: blake3::Hasher::new(),
        })
    }

    /// The text of a file; `None` when it is not there. Its size is asked before anything is read.
    pub(super) fn text(&mut self, file: &'static str, limit: u64) -> Result<Option<String>, Error> {
        let mapped = match open(&self.path, file) {
            Ok(mapped) => mapped,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let file = file.to_owned();
                return Err(Error::Read { file, source });
            }
        };
        let bytes = mapped.bytes().len() as u64;
        if bytes > limit {
            return Err(Error::TooLarge { file, bytes, limit });
        }
        let text = String::from_utf8(mapped.bytes().to_vec());
        let text = text.map_err(|_| Error::NotUtf8 { file })?;
        // With its length, so that no two sets of files give the same sequence.
        self.hash.update(format!("{file} {bytes}\n").as_bytes());
        self.hash.update(text.as_bytes());
        Ok(Some(text))
    }

    /// The JSON object in a file; `None` when the file is not there.
    pub(super) fn object(
        &mut self,
        file: &'static str,
        limit: u64,
    ) -> Result<Option<Map<String, Value>>, Error> {
        let Some(text) = self.text(file, limit)? else {
            return Ok(None);
        };
        let object = serde_json::from_str(&text).map_err(|error| Error::Json {
            file,
            problem: error.to_string(),
        })?;
        Ok(Some(object))
    }

    /// BLAKE3 over all files read so far, in hex.
    pub(super) fn digest(&self) -> String {
        self.hash.finalize().to_hex().to_string()
    }
}

/// Maps a file of the folder: a regular one that is not empty.
pub(super) fn open(folder: &Path, file: &str) -> io::Result<MappedFile> {
    MappedFile::open(&folder.join(file))
}
