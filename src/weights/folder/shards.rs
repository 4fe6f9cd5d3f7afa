//! The safetensors files of a folder: one, or those that an index names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use serde::Deserialize;

use crate::cache::{Identity, MappedFile};

use super::header::{self, Entry};
use super::{Error, read};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// A hundred bytes for each of more tensors than any model has.
const INDEX_LIMIT: u64 = 64 << 20;

/// Mapped files, and where in them each tensor is.
pub(super) struct Shards {
    pub(super) files: Vec<MappedFile>,
    /// The files when their headers were read.
    pub(super) identities: Vec<Identity>,
    /// By name: the number of the file, and the entry in it.
    pub(super) tensors: BTreeMap<String, (usize, Entry)>,
}

#[derive(Deserialize)]
struct Index {
    /// From tensors to names of files.
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Opens all files and reads their headers. The order of the files is that of their names, whatever
    /// the index makes of it.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let index = match read::open(folder, SINGLE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(index(folder)?),
            // Any other error comes again below.
            _ => None,
        };
        let names: BTreeSet<&str> = match &index {
            Some(index) => index.weight_map.values().map(String::as_str).collect(),
            None => BTreeSet::from([SINGLE]),
        };
        if let Some(name) = names.iter().find(|name| !is_shard_name(name)) {
            let name = (*name).to_owned();
            return Err(Error::ShardName { name });
        }
        let names: Vec<&str> = names.into_iter().collect();
        let mut shards = Shards {
            files: vec![],
            identities: vec![],
            tensors: BTreeMap::new(),
        };
        for name in &names {
            shards.add(folder, &names, name)?;
        }
        if let Some(index) = &index {
            shards.compare(index, &names)?;
        }
        Ok(shards)
    }

    fn add(&mut self, folder: &Path, names: &[&str], name: &str) -> Result<(), Error> {
        let unreadable = |source: io::Error| {
            let file = name.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => Error::MissingShard { file },
                _ => Error::Read { file, source },
            }
        };
        let file = read::open(folder, name).map_err(unreadable)?;
        let identity = file.identity().map_err(unreadable)?;
        let entries = header::read(file.bytes()).map_err(|source| Error::Header {
            file: name.to_owned(),
            source,
        })?;
        let number = self.files.len();
        for entry in entries {
            let place = (number, entry.clone());
            if let Some((earlier, _)) = self.tensors.insert(entry.name.clone(), place) {
                return Err(Error::DuplicateTensor {
                    name: entry.name,
                    first: names[earlier].to_owned(),
                    second: name.to_owned(),
                });
            }
        }
        self.files.push(file);
        self.identities.push(identity);
        Ok(())
    }

    /// Both ways: what the index names is there, and what is there is named.
    fn compare(&self, index: &Index, names: &[&str]) -> Result<(), Error> {
        for (name, file) in &index.weight_map {
            let found = self.tensors.get(name).map(|(number, _)| names[*number]);
            if found != Some(file) {
                let (name, file) = (name.clone(), file.clone());
                return Err(Error::NotInShard { name, file });
            }
        }
        let mut tensors = self.tensors.iter();
        match tensors.find(|(name, _)| !index.weight_map.contains_key(*name)) {
            Some((name, (number, _))) => Err(Error::NotInIndex {
                name: name.clone(),
                file: names[*number].to_owned(),
            }),
            None => Ok(()),
        }
    }
}

fn index(folder: &Path) -> Result<Index, Error> {
    let text = read::Folder::open(folder)?.text(INDEX, INDEX_LIMIT)?;
    let text = text.ok_or(Error::NoWeights)?;
    serde_json::from_str(&text).map_err(|error| Error::Json {
        file: INDEX,
        problem: error.to_string(),
    })
}

/// A plain name: an index must not lead out of its folder.
fn is_shard_name(name: &str) -> bool {
    let path = Path::new(name);
    let mut parts = path.components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(only)), None) if only == name);
    plain
        && path.extension() == Some(OsStr::new("safetensors"))
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_lie_in_the_folder() {
        assert!(is_shard_name("model-00001-of-00002.safetensors"));
        for name in [
            "../x.safetensors",
            "/x.safetensors",
            "a/x.safetensors",
            "./x.safetensors",
            "x.safetensors/",
            "x\0.safetensors",
            "x\n.safetensors",
            "..",
            ".safetensors",
            "x.bin",
            "",
        ] {
            assert!(!is_shard_name(name), "{name:?}");
        }
    }
}
