//! The vocabulary of a model: entries, their kinds, and the tokens with a role.

use std::collections::HashMap;
use std::fmt;

use crate::weights::Metadata;

use super::Error;
use super::end_tokens::{END_KEYS, END_ROLES, is_end};

/// What an entry is for; the numbers are those of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Unused, byte and undefined entries: they have no text in a gpt2 vocabulary.
    Silent,
}

impl Kind {
    fn from_gguf(number: i32) -> Self {
        match number {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            _ => Kind::Silent,
        }
    }

    /// Entries that only exact text in a prompt may produce, and only where control tokens are parsed.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Kind::Control | Kind::Unknown)
    }
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

/// What is added around a prompt where no key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Additions {
    pub(super) bos: bool,
    pub(super) eos: bool,
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
        .ok_or_else(|| out_of_range(key, id, size))
}

fn out_of_range(key: &str, id: impl fmt::Display, size: usize) -> Error {
    Error::Tokenizer(format!(
        "{key} is {id}, but the vocabulary has {size} entries"
    ))
}

/// Whether BOS and EOS are added to a prompt: as the file says, else the default; never without an id.
pub(super) fn additions(
    metadata: &Metadata,
    roles: &mut Roles,
    default: Additions,
) -> Result<(), Error> {
    let flag = |key| metadata.boolean(key).map_err(Error::metadata);
    let add_bos = flag("tokenizer.ggml.add_bos_token")?.unwrap_or(default.bos);
    let add_eos = flag("tokenizer.ggml.add_eos_token")?.unwrap_or(default.eos);
    roles.add_bos = add_bos && roles.bos.is_some();
    roles.add_eos = add_eos && roles.eos.is_some();
    Ok(())
}

impl Vocabulary {
    /// Reads `tokenizer.ggml.tokens`, `token_type` and the ids with roles.
    pub(super) fn from_metadata(metadata: &Metadata, default_bos: bool) -> Result<Self, Error> {
        let key = "tokenizer.ggml.tokens";
        let names = metadata
            .require(key, metadata.strings(key))
            .map_err(Error::metadata)?;
        let types = metadata
            .integers("tokenizer.ggml.token_type")
            .map_err(Error::metadata)?
            .unwrap_or(&[]);
        if !types.is_empty() && types.len() < names.len() {
            return Err(Error::Tokenizer(format!(
                "tokenizer.ggml.token_type has {} entries for {} tokens",
                types.len(),
                names.len()
            )));
        }
        if u32::try_from(names.len()).is_err() {
            return Err(Error::Tokenizer(
                "the vocabulary has more than 2^32 entries".to_owned(),
            ));
        }
        let mut vocabulary = Vocabulary {
            // An entry without text gets a name that no text can produce by accident.
            names: names
                .iter()
                .enumerate()
                .map(|(id, name)| {
                    if name.is_empty() {
                        format!("[EMPTY_{id}]")
                    } else {
                        name.clone()
                    }
                })
                .collect(),
            kinds: (0..names.len())
                .map(|id| {
                    types
                        .get(id)
                        .map_or(Kind::Normal, |number| Kind::from_gguf(*number))
                })
                .collect(),
            roles: Roles::default(),
        };
        let default = Additions {
            bos: default_bos,
            eos: false,
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
        let ids = self.index()?;
        let mut ends = Vec::new();
        let mut controls = Vec::new();
        for key in END_KEYS {
            ends.extend(role_id(metadata, key, size)?);
        }
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
            bos: role_id(metadata, "tokenizer.ggml.bos_token_id", size)?,
            eos: role_id(metadata, "tokenizer.ggml.eos_token_id", size)?,
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
            let end = end.ok_or_else(|| out_of_range(key, id, size))?;
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
                return Err(Error::Tokenizer(format!(
                    "the vocabulary has {name:?} twice, as {earlier} and {id}"
                )));
            }
        }
        Ok(ids)
    }
}
