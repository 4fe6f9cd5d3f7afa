//! The JSON object of a safetensors header, of a cache file as of any other: what JSON libraries make of
//! a repeated name differs, so none is let through.

use std::collections::HashSet;
use std::fmt;

use safetensors::{Dtype, tensor::TensorInfo};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

use super::{Problem, format};

/// The members of the header in file order, each name once.
pub struct Members {
    /// Sorted by key.
    pub metadata: Vec<(String, String)>,
    pub tensors: Vec<(String, TensorInfo)>,
}

impl Members {
    /// Parses the JSON of a header.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(json).map_err(duplicate_or_json)
    }
}

/// How a repeated name travels through serde's errors, which carry only text.
const DUPLICATE: &str = "duplicate name: ";

fn duplicate_or_json(error: serde_json::Error) -> Problem {
    let text = error.to_string();
    match text.strip_prefix(DUPLICATE) {
        // serde_json appends " at line L column C".
        Some(rest) => {
            let name = rest.rsplit_once(" at line ").map_or(rest, |(name, _)| name);
            Problem::DuplicateName(name.to_owned())
        }
        None => Problem::Json(text),
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members {
                    metadata: vec![],
                    tensors: vec![],
                };
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{DUPLICATE}{name}")));
                    }
                    if name == format::METADATA {
                        let Unique(pairs) = map.next_value()?;
                        members.metadata = pairs;
                    } else {
                        let Info {
                            dtype,
                            shape: Dimensions(shape),
                            data_offsets,
                        } = map.next_value()?;
                        let info = TensorInfo {
                            dtype,
                            shape,
                            data_offsets,
                        };
                        members.tensors.push((name, info));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A tensor as it is written; the library's own type takes any number of dimensions, of two bytes each in
/// the file and of eight in memory.
#[derive(serde::Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Dimensions,
    data_offsets: (usize, usize),
}

/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

struct Dimensions(Vec<usize>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Dimensions;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "up to {MAX_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Dimensions, A::Error> {
                let mut dimensions = vec![];
                while let Some(dimension) = list.next_element()? {
                    if dimensions.len() == MAX_DIMENSIONS {
                        return Err(A::Error::invalid_length(MAX_DIMENSIONS + 1, &self));
                    }
                    dimensions.push(dimension);
                }
                Ok(Dimensions(dimensions))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// The pairs of an object sorted by key, each key once.
struct Unique<T>(Vec<(String, T)>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(std::marker::PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Object<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut pairs: Vec<(String, T)> = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                // Beside each other after sorting; a set of names would take as much again as the pairs.
                pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
                if let Some([(name, _), _]) = pairs.array_windows().find(|[(a, _), (b, _)]| a == b)
                {
                    return Err(A::Error::custom(format_args!("{DUPLICATE}{name}")));
                }
                Ok(Unique(pairs))
            }
        }

        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}
