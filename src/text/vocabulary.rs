//! The vocabulary of a model: entries, their kinds, and the tokens with a role.

use std::collections::HashMap;

use crate::weights::Metadata;
use crate::weights::gguf::excerpt;

use super::Error;
use super::end_tokens::{END_KEYS, END_ROLES, is_end};

/// What an entry is for; the numbers are those of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Stands for one byte; in a gpt2 vocabulary it has no text.
    Byte(u8),
    Unused,
    Undefined,
}

impl Kind {
    /// The kind of the entry `name`; a byte entry must name its byte.
    fn from_gguf(number: i32, id: usize, name: &str) -> Result<Self, Error> {
        match number {
            1 => Ok(Kind::Normal),
            2 => Ok(Kind::Unknown),
            3 => Ok(Kind::Control),
            4 => Ok(Kind::UserDefined),
            6 => named_byte(name)
                .map(Kind::Byte)
                .ok_or_else(|| Error::ByteToken {
                    id,
                    found: excerpt(name),
                }),
            0 => Ok(Kind::Undefined),
            5 => Ok(Kind::Unused),
            found => Err(Error::TokenType { id, found }),
        }
    }

    /// Entries that only exact text in a prompt may produce, and only where control tokens are parsed.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Kind::Control | Kind::Unknown)
    }
}

/// The byte of an entry that is written `<0x00>` to `<0xFF>`.
pub(in crate::text) fn named_byte(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let are_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_hex
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Most entries of a vocabulary: the largest have a quarter of a million.
pub(super) const MOST_ENTRIES: usize = 4 << 20;
/// Longest entry: the longest of real vocabularies are runs of 256 spaces or dashes.
const LONGEST_ENTRY: usize = 4096;
/// Most entries that are looked for in a text as they stand; gemma has 6,000.
const MOST_SPECIAL: usize = 65_536;

const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";

/// The arrays of a vocabulary: types and lengths are checked, no element is looked at.
pub(super) struct Arrays<'a> {
    tokens: &'a [String],
    types: Option<&'a [i32]>,
}

impl<'a> Arrays<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self, Error> {
        let tokens = metadata.require(TOKENS, metadata.strings(TOKENS));
        let tokens = tokens.map_err(Error::metadata)?;
        let expected = tokens.len();
        if !(1..=MOST_ENTRIES).contains(&expected) {
            return Err(Error::VocabularySize {
                found: expected,
                most: MOST_ENTRIES,
            });
        }
        let types = metadata.integers(TYPES).map_err(Error::metadata)?;
        // A gpt2 vocabulary does without, but a file that has them wrong has been tampered with.
        let scores = metadata.floats(SCORES).map_err(Error::metadata)?;
        for (key, found) in [
            (TYPES, types.map(<[_]>::len)),
            (SCORES, scores.map(<[_]>::len)),
        ] {
            if let Some(found) = found.filter(|&found| found != expected) {
                return Err(Error::Length {
                    key,
                    found,
                    expected,
                });
            }
        }
        Ok(Arrays { tokens, types })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    fn kind(&self, id: usize, name: &str) -> Result<Kind, Error> {
        let number = self.types.and_then(|types| types.get(id));
        number.map_or(Ok(Kind::Normal), |&number| {
            Kind::from_gguf(number, id, name)
        })
    }
}

/// Checks the ids and flags that keys name, against the size of the vocabulary.
pub(super) fn check_roles(metadata: &Metadata, size: usize) -> Result<(), Error> {
    let roles = END_ROLES.iter().map(|(key, _)| key);
    for key in END_KEYS.iter().chain(roles).chain(&[BOS, EOS]) {
        role_id(metadata, key, size)?;
    }
    additions(metadata, &mut Roles::default(), Additions::default())
}

/// Entries by id, and the tokens that have a role.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) names: Vec<String>,
    /// As long as `names`.
    pub(super) kinds: Vec<Kind>,
    pub(super) roles: Roles,
}

/// The tokens that have a role, whatever the encoder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roles {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    /// Ascending, no duplicates.
    pub(super) ends: Vec<u32>,
}

/// What is added around a prompt where no key says, and what ends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Additions {
    pub(super) bos: bool,
    pub(super) eos: bool,
    /// The id of EOS.
    pub(super) eos_id: Option<u32>,
}

/// An id that a key names. One outside the vocabulary is refused: it would never be generated.
pub(super) fn role_id(metadata: &Metadata, key: &str, size: usize) -> Result<Option<u32>, Error> {
    let Some(id) = metadata.unsigned(key).map_err(Error::metadata)? else {
        return Ok(None);
    };
    u32::try_from(id)
        .ok()
        .filter(|id| (*id as usize) < size)
        .map(Some)
        .ok_or_else(|| out_of_range(key, i64::try_from(id).unwrap_or(i64::MAX), size))
}

fn out_of_range(key: &str, id: i64, size: usize) -> Error {
    Error::RoleId {
        key: key.to_owned(),
        id,
        size,
    }
}

/// Whether BOS and EOS are added to a prompt: as the file says, else the default; never without an id.
pub(super) fn additions(
    metadata: &Metadata,
    roles: &mut Roles,
    default: Additions,
) -> Result<(), Error> {
    let flag = |key| metadata.boolean(key).map_err(Error::metadata);
    let add_bos = flag(ADD_BOS)?.unwrap_or(default.bos);
    let add_eos = flag(ADD_EOS)?.unwrap_or(default.eos);
    roles.add_bos = add_bos && roles.bos.is_some();
    roles.add_eos = add_eos && roles.eos.is_some();
    Ok(())
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens`, `token_type` and the ids with roles.
    pub(super) fn from_metadata(metadata: &Metadata, default: Additions) -> Result<Self, Error> {
        let arrays = Arrays::read(metadata)?;
        let mut names = Vec::with_capacity(arrays.len());
        let mut kinds = Vec::with_capacity(arrays.len());
        for (id, name) in arrays.tokens.iter().enumerate() {
            if name.len() > LONGEST_ENTRY {
                return Err(Error::TokenLength {
                    id,
                    length: name.len(),
                    limit: LONGEST_ENTRY,
                });
            }
            kinds.push(arrays.kind(id, name)?);
            names.push(match name.as_str() {
                // An entry without text gets a name that no text can produce by accident.
                "" => format!("[EMPTY_{id}]"),
                name => name.to_owned(),
            });
        }
        let mut vocabulary = Vocabulary {
            names,
            kinds,
            roles: Roles::default(),
        };
        vocabulary.find_roles(metadata, default)?;
        Ok(vocabulary)
    }

    /// Finds the tokens with a role by keys and by their text.
    pub(super) fn find_roles(
        &mut self,
        metadata: &Metadata,
        default: Additions,
    ) -> Result<(), Error> {
        let size = self.names.len();
        let special = |kind: &&Kind| kind.is_control() || **kind == Kind::UserDefined;
        let count = self.kinds.iter().filter(special).count();
        if count > MOST_SPECIAL {
            return Err(Error::TooManySpecial {
                count,
                limit: MOST_SPECIAL,
            });
        }
        let ids = self.index()?;
        let mut ends = Vec::new();
        let mut controls = Vec::new();
        for key in END_KEYS {
            ends.extend(role_id(metadata, key, size)?);
        }
        let eos = default.eos_id.filter(|&id| (id as usize) < size);
        let eos = role_id(metadata, EOS, size)?.or(eos);
        ends.extend(eos);
        for (key, entries) in END_ROLES {
            match role_id(metadata, key, size)? {
                Some(id) => ends.push(id),
                None => controls.extend(entries.iter().filter_map(|entry| ids.get(entry).copied())),
            }
        }
        controls.extend(
            ids.iter()
                .filter(|(entry, _)| is_end(entry))
                .map(|(_, id)| *id),
        );
        for id in &controls {
            if let Some(kind) = self.kinds.get_mut(*id as usize) {
                *kind = Kind::Control;
            }
        }
        ends.append(&mut controls);
        ends.sort_unstable();
        ends.dedup();
        self.roles = Roles {
            bos: role_id(metadata, BOS, size)?,
            eos,
            ends,
            ..Roles::default()
        };
        additions(metadata, &mut self.roles, default)
    }

    /// Makes further ids, which `key` names, ends of a generation.
    pub(super) fn add_ends(&mut self, ids: &[i64], key: &str) -> Result<(), Error> {
        let size = self.names.len();
        for id in ids {
            let end = u32::try_from(*id).ok().filter(|id| (*id as usize) < size);
            let end = end.ok_or_else(|| out_of_range(key, *id, size))?;
            self.roles.ends.push(end);
        }
        self.roles.ends.sort_unstable();
        self.roles.ends.dedup();
        Ok(())
    }

    /// Ids by entry; an entry that stands twice is refused, because text could mean either id.
    fn index(&self) -> Result<HashMap<&str, u32>, Error> {
        let mut ids = HashMap::with_capacity(self.names.len());
        for (id, name) in (0..).zip(&self.names) {
            if let Some(earlier) = ids.insert(name.as_str(), id) {
                return Err(Error::DuplicateToken {
                    name: excerpt(name),
                    first: earlier,
                    second: id,
                });
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_have_two_digits() {
        assert_eq!(named_byte("<0x0A>"), Some(10));
        for name in ["<0x>", "<0xA>", "<0x0A", "<0x+A>", "<0xZZ>", "<0x00A>", "x"] {
            assert_eq!(named_byte(name), None, "{name}");
        }
    }
}
