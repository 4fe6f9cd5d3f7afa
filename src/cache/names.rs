//! Which files of a directory are the cache's own, by their names.
//!
//! A directory may hold other files: a user may keep models there, or point the cache at a project with lock
//! files of its own. What has no name that this module knows is never listed, moved or removed.

use std::path::Path;

use crate::tensor::Element;

use super::directory::EXTENSION;
use super::format::layout_name;
use super::quarantine::QUARANTINED;
use super::{fingerprint, temporary};

/// Hex digits of the hash of a source.
const HASH_DIGITS: usize = 64;

/// Ending of lock files.
pub(super) const LOCK: &str = "lock";

/// What a name says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Cache,
    Quarantined,
    Temporary,
    Lock,
    Record,
}

/// Whether the last part of `path` is the name of a cache file.
pub fn is_cache_file_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(named) == Some(Named::Cache)
}

/// The hash of the source in the name of a cache file; the header of a damaged one cannot be asked.
pub fn source_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    is_cache_file_name(path).then(|| name.get(..HASH_DIGITS))?
}

/// The number type in the name of a cache file; `None` for one that this version does not write.
pub fn element_of(path: &Path) -> Option<Element> {
    let name = path.file_name()?.to_str()?;
    let (_, rest) = is_cache_file_name(path).then(|| name.split_once('-'))??;
    let written = |element: &Element| {
        rest.strip_prefix(&layout_name(*element))
            .is_some_and(|rest| rest.starts_with("-v"))
    };
    Element::ALL.into_iter().find(written)
}

/// `None` for a file that is none of the cache's.
pub(super) fn named(name: &str) -> Option<Named> {
    if temporary::is_name(name) {
        return Some(Named::Temporary);
    }
    let (stem, extension) = name.rsplit_once('.')?;
    match extension {
        EXTENSION => is_stem(stem).then_some(Named::Cache),
        QUARANTINED => (named(stem) == Some(Named::Cache)).then_some(Named::Quarantined),
        // Of a file's state, or of a source that is no file.
        LOCK => (is_hex(stem) && [32, HASH_DIGITS].contains(&stem.len())).then_some(Named::Lock),
        // Of one file, or of a model of several.
        fingerprint::EXTENSION => {
            let of_file = stem
                .split_once('-')
                .is_some_and(|(device, inode)| is_hex(device) && is_hex(inode));
            let of_model = is_hex(stem) && stem.len() == HASH_DIGITS;
            (of_file || of_model).then_some(Named::Record)
        }
        _ => None,
    }
}

/// `<64 digits>-<layout>-v<number>`, of this version or another.
fn is_stem(stem: &str) -> bool {
    let Some((source, rest)) = stem.split_once('-') else {
        return false;
    };
    let version = rest.rsplit_once("-v").map_or("", |(_, version)| version);
    source.len() == HASH_DIGITS
        && is_hex(source)
        && !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_cache_gives_are_its_own() {
        let hash = "5a".repeat(32);
        let [file, narrow] = Element::ALL.map(|element| {
            let key = crate::cache::Key {
                source: hash.clone(),
                source_bytes: 1,
                element,
            };
            let path = Path::new("/somewhere").join(key.file_name());
            assert_eq!(element_of(&path), Some(element));
            key.file_name()
        });
        for (name, expected) in [
            (file.clone(), Some(Named::Cache)),
            (narrow, Some(Named::Cache)),
            (
                format!("{hash}-f16-rows-v12.safetensors"),
                Some(Named::Cache),
            ),
            (format!("{file}.bad"), Some(Named::Quarantined)),
            (format!("{hash}.lock"), Some(Named::Lock)),
            (format!("{}.lock", &hash[..32]), Some(Named::Lock)),
            ("fe00-9a2095.source".to_owned(), Some(Named::Record)),
            (format!("{hash}.source"), Some(Named::Record)),
            (format!("{}.source", &hash[1..]), None),
            (".building-12-0".to_owned(), Some(Named::Temporary)),
            ("model.safetensors".to_owned(), None),
            ("model-00001-of-00002.safetensors".to_owned(), None),
            (format!("{hash}.safetensors"), None),
            (format!("{hash}-v.safetensors"), None),
            ("model.safetensors.bad".to_owned(), None),
            ("Cargo.lock".to_owned(), None),
            ("poetry.lock".to_owned(), None),
            ("abc.lock".to_owned(), None),
            ("open.source".to_owned(), None),
            ("x".to_owned(), None),
        ] {
            assert_eq!(named(&name), expected, "{name}");
            let path = Path::new("/model.safetensors").join(&name);
            assert_eq!(is_cache_file_name(&path), expected == Some(Named::Cache));
            let source = is_cache_file_name(&path).then_some(hash.as_str());
            assert_eq!(source_of(&path), source);
        }
        let foreign = format!("{hash}-f16-rows-v12.safetensors");
        assert_eq!(element_of(Path::new(&foreign)), None);
    }
}
