//! A model in several GGUF files, as `gguf-split` of llama.cpp writes them.
//!
//! | key | value |
//! |---|---|
//! | `split.no` | number of the part, counted from 0 |
//! | `split.count` | number of parts |
//! | `split.tensors.count` | number of tensors in all parts together |
//!
//! The files are named `<name>-00001-of-00003.gguf` and so on, counted from 1. The first holds the
//! metadata, perhaps no tensors; the others hold tensors. A model is named by its first part: another
//! part is refused with a sentence that names the first, as llama.cpp does.
//!
//! Invariant: decides with names and headers; it opens nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Header, Metadata};

/// Why files are not the parts of one model. The sentences continue "model file X: ...", where X is the
/// part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("it is one part of a split model and has no {key}")]
    MissingKey { key: &'static str },
    #[error("{key} is not a non-negative integer")]
    KeyType { key: &'static str },
    #[error("it is part {number} of {count}; give the first part, {}", first.display())]
    NotFirst {
        number: u64,
        count: u64,
        first: PathBuf,
    },
    #[error("it is the first of {count} parts, so its name must end in {expected}")]
    Name { count: u64, expected: String },
    #[error("part {number} of {count} is missing: there is no {}", file.display())]
    MissingPart {
        number: u64,
        count: u64,
        file: PathBuf,
    },
    #[error("it says it is part {found}, and its name says it is part {expected}")]
    Number { found: u64, expected: u64 },
    #[error("{key} is {found}, and {expected} in the first part")]
    Disagreement {
        key: &'static str,
        found: u64,
        expected: u64,
    },
    #[error("the parts have {found} tensors together, and split.tensors.count is {expected}")]
    TensorTotal { found: u64, expected: u64 },
    #[error("it has the tensor {name}, which {} has too", other.display())]
    DuplicateTensor { name: String, other: PathBuf },
}

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// What the digits of a name can count.
const MOST_PARTS: u64 = 99_999;

/// What a part says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    number: u64,
    count: u64,
    /// In all parts.
    tensors: u64,
}

impl Part {
    /// `None` for a whole file.
    pub fn read(metadata: &Metadata) -> Result<Option<Part>, SplitError> {
        if !is_part(metadata) {
            return Ok(None);
        }
        let number = |key| match metadata.unsigned(key) {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(SplitError::MissingKey { key }),
            Err(_) => Err(SplitError::KeyType { key }),
        };
        Ok(Some(Part {
            number: number(NUMBER)?,
            count: number(COUNT)?,
            tensors: number(TENSORS)?,
        }))
    }

    /// The files of all parts, of which `path` is to be the first.
    pub fn files(&self, path: &Path) -> Result<Vec<PathBuf>, SplitError> {
        let count = self.count;
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let stem = name
            .strip_suffix(&ending(self.number.saturating_add(1), count))
            .filter(|_| count <= MOST_PARTS);
        let file =
            |stem: &str, number| path.with_file_name([stem, &ending(number, count)].concat());
        match (self.number, stem) {
            (0, Some(stem)) => Ok((1..=count).map(|number| file(stem, number)).collect()),
            (0, None) => Err(SplitError::Name {
                count,
                expected: ending(1, count),
            }),
            // Without its name's help, the ending of the first is all that can be said.
            (number, stem) => Err(SplitError::NotFirst {
                number: number.saturating_add(1),
                count,
                first: file(stem.unwrap_or("*"), 1),
            }),
        }
    }

    /// The part that is missing where `files` has position `position`.
    pub fn missing(&self, position: usize, file: &Path) -> SplitError {
        SplitError::MissingPart {
            number: (position as u64).saturating_add(1),
            count: self.count,
            file: file.to_path_buf(),
        }
    }
}

/// Checks that the headers of all parts, in order, belong together. On an error, `Err` names the
/// position of the part that is wrong.
pub fn check(files: &[PathBuf], headers: &[Header]) -> Result<(), (usize, SplitError)> {
    let mut first: Option<Part> = None;
    let mut owners: HashMap<&str, &PathBuf> = HashMap::new();
    for (position, (file, header)) in files.iter().zip(headers).enumerate() {
        let wrong = |error| (position, error);
        let part = Part::read(&header.metadata).map_err(wrong)?;
        let part = part.ok_or_else(|| wrong(SplitError::MissingKey { key: COUNT }))?;
        let expected = *first.get_or_insert(part);
        for (key, found, expected) in [
            (COUNT, part.count, expected.count),
            (TENSORS, part.tensors, expected.tensors),
        ] {
            if found != expected {
                return Err(wrong(SplitError::Disagreement {
                    key,
                    found,
                    expected,
                }));
            }
        }
        if part.number != position as u64 {
            return Err(wrong(SplitError::Number {
                found: part.number.saturating_add(1),
                expected: (position as u64).saturating_add(1),
            }));
        }
        for tensor in &header.tensors {
            if let Some(other) = owners.insert(&tensor.name, file) {
                return Err(wrong(SplitError::DuplicateTensor {
                    name: tensor.name.clone(),
                    other: other.clone(),
                }));
            }
        }
    }
    let found = owners.len() as u64;
    match first {
        Some(Part { tensors, .. }) if tensors != found => Err((
            0,
            SplitError::TensorTotal {
                found,
                expected: tensors,
            },
        )),
        _ => Ok(()),
    }
}

/// The name of a model by the stem of its file: without what numbers a part.
pub fn model_name(stem: &str) -> &str {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    stem.rsplit_once("-of-")
        .filter(|(_, count)| digits(count))
        .and_then(|(rest, _)| rest.rsplit_once('-'))
        .filter(|(name, number)| digits(number) && !name.is_empty())
        .map_or(stem, |(name, _)| name)
}

/// Whether a file with this metadata is one of several parts. A part may have no tensors.
pub(super) fn is_part(metadata: &Metadata) -> bool {
    // A count of another type is for `Part::read` to refuse.
    metadata.get(COUNT).is_some() && !matches!(metadata.unsigned(COUNT), Ok(Some(0 | 1)))
}

fn ending(number: u64, count: u64) -> String {
    format!("-{number:05}-of-{count:05}.gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_number_of_their_part_only() {
        assert_eq!(model_name("big-00001-of-00012"), "big");
        for stem in ["big", "-00001-of-00002", "big-1-of-2", "best-of-00002", ""] {
            assert_eq!(model_name(stem), stem);
        }
    }

    #[test]
    fn the_files_of_all_parts_stand_beside_the_first() {
        let part = |number, count| Part {
            number,
            count,
            tensors: 9,
        };
        let files = part(0, 2).files(Path::new("/m/a-00001-of-00002.gguf"));
        let expected = ["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"];
        assert_eq!(files.unwrap(), expected.map(PathBuf::from));
        let other = part(1, 2).files(Path::new("a-00002-of-00002.gguf"));
        assert_eq!(
            other.unwrap_err().to_string(),
            "it is part 2 of 2; give the first part, a-00001-of-00002.gguf"
        );
        let expected = "-00001-of-00002.gguf".to_owned();
        assert_eq!(
            part(0, 2).files(Path::new("renamed.gguf")),
            Err(SplitError::Name { count: 2, expected })
        );
        for (number, count) in [(0, u64::MAX), (u64::MAX, 2)] {
            assert!(part(number, count).files(Path::new("a.gguf")).is_err());
        }
    }
}
