//! What tensors are computed from: one mapped file or several, and how.

use std::path::Path;

use crate::tensor::Element;

use super::{Error, Identity, Key, MappedFile, Progress, Work, fingerprint};

/// The files that decide values. Several are one source: parts of a split file, shards of a folder.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What a user would name to get all of it; it decides nothing.
    pub path: &'a Path,
    /// At least one; their order counts.
    pub files: &'a [MappedFile],
    /// What besides the bytes of the files decides the values, as text; empty when nothing does.
    pub recipe: &'a str,
    /// Number type that matrices are stored as.
    pub element: Element,
}

impl Source<'_> {
    /// The key of the source, for which every file is read.
    pub fn content_key(&self, progress: &dyn Progress) -> Result<Key, Error> {
        let unknown = self.files.iter().map(|_| None).collect();
        Ok(self.key(&self.hashes(unknown, progress)?))
    }

    /// The hash of every file. Those that are not `known` are read.
    pub(super) fn hashes(
        &self,
        known: Vec<Option<String>>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, Error> {
        let files = || self.files.iter().zip(&known);
        let unread = files().filter(|(_, known)| known.is_none());
        let bytes: u64 = unread.map(|(file, _)| file.bytes().len() as u64).sum();
        if bytes > 0 {
            progress.begin(Work::Reading, bytes);
        }
        let hash = |(file, known): (&MappedFile, &Option<String>)| match known {
            Some(hash) => Ok(hash.clone()),
            None => fingerprint::hash(file.bytes(), progress),
        };
        let hashes = files().map(hash).collect::<Result<_, _>>()?;
        if bytes > 0 {
            progress.finish();
        }
        Ok(hashes)
    }

    /// The key of a source whose files have these hashes. One file without a recipe has the key of its
    /// bytes, which any tool can compute; everything else the hash over the hashes and the recipe.
    pub(super) fn key(&self, hashes: &[String]) -> Key {
        let source = match hashes {
            [hash] if self.recipe.is_empty() => hash.clone(),
            // Every hash is 64 digits, so a line break cannot be part of one.
            _ => blake3::hash([&hashes.join("\n"), "\n", self.recipe].concat().as_bytes())
                .to_hex()
                .to_string(),
        };
        let source_bytes = self.files.iter().map(|file| file.bytes().len() as u64);
        Key {
            source,
            source_bytes: source_bytes.sum(),
            element: self.element,
        }
    }

    /// A name for the state of all files and the recipe, fit for file names.
    pub(super) fn digest(&self, identities: &[Identity]) -> String {
        match identities {
            [identity] if self.recipe.is_empty() => identity.digest(),
            _ => {
                let states: Vec<String> = identities.iter().map(Identity::digest).collect();
                let text = [&states.join("\n"), "\n", self.recipe].concat();
                blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
            }
        }
    }

    /// The states of the files, asked anew.
    pub(super) fn identities(&self) -> std::io::Result<Vec<Identity>> {
        self.files.iter().map(MappedFile::identity).collect()
    }
}
