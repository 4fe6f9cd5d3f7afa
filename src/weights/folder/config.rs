//! `config.json`: the sizes of a model, and the keys that a GGUF file would have in their place.

use serde_json::{Map, Value as Json};

use crate::weights::gguf::Value;

use super::architectures::{self, Architecture, Fixed, Otherwise};
use super::read::Folder;
use super::{Error, rope};

const FILE: &str = "config.json";
/// A real one has a few kilobytes, with the options of a task a few hundred.
const LIMIT: u64 = 4 << 20;
/// Far above any model, so that sizes never overflow.
const LARGEST: u64 = 1 << 32;

/// What `config.json` says, checked as far as names and rows of tensors depend on it.
pub(super) struct Config {
    pub(super) architecture: &'static Architecture,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Values of one head.
    pub(super) head: usize,
    /// The output matrix is the embedding.
    pub(super) tied: bool,
    /// Divisors of the rotation of each pair, where the model stretches it.
    pub(super) rope_factors: Option<Vec<f32>>,
    pub(super) object: Object,
    pairs: Vec<(String, Value)>,
}

impl Config {
    pub(super) fn read(folder: &mut Folder) -> Result<Self, Error> {
        let object = folder.object(FILE, LIMIT)?;
        let object = Object {
            file: FILE,
            members: object.ok_or(Error::MissingFile(FILE))?,
        };
        let architecture = architecture(&object)?;
        refuse_what_is_not_computed(&object, architecture)?;
        let size = |key, otherwise| match object.size(key)? {
            Some(size) => Ok(size),
            None => otherwise,
        };
        let refused = |key| Err(object.missing(key));
        let heads = size("num_attention_heads", refused("num_attention_heads"))?;
        let kv_heads = size("num_key_value_heads", Ok(heads))?;
        let hidden = size("hidden_size", refused("hidden_size"))?;
        let head = size("head_dim", Ok(hidden / heads))?;
        let rotation = rope::read(&object, architecture.gguf, head)?;

        let mut pairs = sizes(&object, architecture)?;
        pairs.extend(rotation.pairs);
        Ok(Config {
            architecture,
            layers: size("num_hidden_layers", refused("num_hidden_layers"))?,
            heads,
            kv_heads,
            head,
            tied: object
                .boolean("tie_word_embeddings")?
                .unwrap_or(architecture.tied),
            rope_factors: rotation.factors,
            object,
            pairs,
        })
    }

    /// The keys of a GGUF file that describe the model.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        self.pairs.clone()
    }

    /// Everything here that changes values of tensors or which there are, for the key of the cache file.
    pub(super) fn recipe(&self) -> String {
        let Config {
            architecture,
            heads,
            kv_heads,
            head,
            tied,
            rope_factors,
            ..
        } = self;
        // Increment the number when other values come of the same files.
        format!(
            "folder 1: architecture {} heads {heads} kv {kv_heads} of {head} tied {tied} rope {:x?}",
            architecture.gguf,
            rope_factors
                .iter()
                .flatten()
                .map(|factor| factor.to_bits())
                .collect::<Vec<_>>(),
        )
    }
}

fn architecture(object: &Object) -> Result<&'static Architecture, Error> {
    let key = "architectures";
    match object.get(key) {
        None => Err(object.missing(key)),
        Some(Json::Array(names)) => match names.as_slice() {
            [Json::String(name)] => architectures::find(name),
            _ => Err(object.wrong(key, "a list of one name")),
        },
        Some(_) => Err(object.wrong(key, "a list of one name")),
    }
}

fn refuse_what_is_not_computed(object: &Object, architecture: &Architecture) -> Result<(), Error> {
    if let Some(quantization) = object.get("quantization_config") {
        let method = quantization.get("quant_method").and_then(Json::as_str);
        let method = method.unwrap_or("quantization_config").to_owned();
        return Err(Error::Quantized { method });
    }
    for (key, fixed) in architecture.fixed {
        let Some(found) = object.get(key) else {
            continue;
        };
        let (equal, expected) = match fixed {
            Fixed::Text(text) => (found.as_str() == Some(text), format!("{text:?}")),
            Fixed::Number(number) => (found.as_f64() == Some(*number), number.to_string()),
        };
        if !equal {
            return Err(object.wrong(key, &expected));
        }
    }
    Ok(())
}

fn sizes(object: &Object, architecture: &Architecture) -> Result<Vec<(String, Value)>, Error> {
    let prefix = architecture.gguf;
    let mut pairs = vec![(
        "general.architecture".to_owned(),
        Value::String(prefix.to_owned()),
    )];
    for size in architecture.sizes {
        let value = match (object.size(size.key)?, size.otherwise) {
            (Some(value), _) => Some(value),
            (None, Otherwise::Absent) => None,
            (None, Otherwise::Same(other)) => object.size(other)?,
            (None, Otherwise::Refused) => return Err(object.missing(size.key)),
        };
        let value = value.map(|value| Value::U64(value as u64));
        pairs.extend(value.map(|value| (format!("{prefix}.{}", size.gguf), value)));
    }
    for (key, gguf) in architecture.numbers {
        let number = object.number(key)?.ok_or_else(|| object.missing(key))?;
        // Writers of GGUF files round in the same way.
        pairs.push((format!("{prefix}.{gguf}"), Value::F32(number as f32)));
    }
    Ok(pairs)
}

/// The members of a JSON file; `null` counts as missing, as in the libraries that write these files.
pub(super) struct Object {
    pub(super) file: &'static str,
    pub(super) members: Map<String, Json>,
}

impl Object {
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// A whole number that is at least 1.
    pub(super) fn size(&self, key: &'static str) -> Result<Option<usize>, Error> {
        self.typed(key, "a whole number from 1 up", |value| {
            let number = value
                .as_u64()
                .filter(|number| (1..=LARGEST).contains(number))?;
            usize::try_from(number).ok()
        })
    }

    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, Error> {
        self.typed(key, "a number", Json::as_f64)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, Error> {
        self.typed(key, "true or false", Json::as_bool)
    }

    pub(super) fn typed<'a, T>(
        &'a self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match convert(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(self.wrong(key, expected)),
            },
        }
    }

    pub(super) fn missing(&self, key: &'static str) -> Error {
        Error::MissingKey {
            file: self.file,
            key,
        }
    }

    /// The value of `key` is not what it should be.
    pub(super) fn wrong(&self, key: &'static str, expected: &str) -> Error {
        let mut found = self.get(key).map_or_else(String::new, Json::to_string);
        if found.len() > LONGEST_SHOWN {
            let end = found.floor_char_boundary(LONGEST_SHOWN);
            found.truncate(end);
            found.push_str("...");
        }
        Error::Value {
            file: self.file,
            key,
            found,
            expected: expected.to_owned(),
        }
    }
}

/// Bytes of a value that an error shows.
const LONGEST_SHOWN: usize = 80;
