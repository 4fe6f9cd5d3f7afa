//! Reading a header back, as if an enemy wrote the file. Stricter than the safetensors library, which
//! lets a repeated name win silently.
//!
//! Invariant: looks at the header only; no tensor's page is touched.
#![deny(clippy::indexing_slicing)]

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use safetensors::{Dtype, tensor::TensorInfo};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

use crate::tensor::{Layout, PANEL_ROWS, TensorSpec};

use super::Problem;
use super::format::{self, Header, Key, Pad, Place, header_checksum};

/// The longest header that is read: that of a model with a million tensors.
const MAX_HEADER: u64 = 256 << 20;

/// Reads and checks the header at the beginning of `file`, which is the whole file.
pub(super) fn header(file: &[u8]) -> Result<Header, Problem> {
    let bytes = header_bytes(file)?;
    let (_, text) = bytes
        .split_at_checked(format::LENGTH_BYTES)
        .ok_or(Problem::TooShort)?;
    let members: Members = serde_json::from_slice(text).map_err(duplicate_or_json)?;
    let metadata = Metadata(members.metadata);

    metadata.expect(format::KEY_FORMAT, &format::FORMAT_VERSION.to_string())?;
    metadata.expect(format::KEY_LAYOUT, format::LAYOUT)?;
    let key = Key {
        source: metadata.get(format::KEY_SOURCE)?.to_owned(),
        source_bytes: metadata.number(format::KEY_SOURCE_BYTES)?,
    };
    let data_start = bytes.len() as u64;
    let mut header = Header {
        key,
        data_start,
        places: vec![],
        pads: vec![],
        file_bytes: data_start,
    };
    for (name, info) in members.tensors {
        append(&mut header, &metadata, name, info)?;
    }
    if header.file_bytes != file.len() as u64 {
        return Err(Problem::Length {
            found: file.len() as u64,
            expected: header.file_bytes,
        });
    }
    Ok(header)
}

/// The part of the file before the data, its checksum verified.
fn header_bytes(file: &[u8]) -> Result<&[u8], Problem> {
    let length = file.first_chunk().ok_or(Problem::TooShort)?;
    let length = u64::from_le_bytes(*length);
    let start = length.checked_add(format::LENGTH_BYTES as u64);
    let start = start
        .filter(|&start| length <= MAX_HEADER && start.is_multiple_of(format::DATA_ALIGNMENT))
        .ok_or(Problem::HeaderLength(length))?;
    let bytes = file
        .get(..start as usize)
        .ok_or(Problem::HeaderLength(length))?;

    let (_, json) = bytes
        .split_at_checked(format::LENGTH_BYTES)
        .ok_or(Problem::TooShort)?;
    let digits = json
        .strip_prefix(format::OPENING)
        .and_then(|rest| rest.get(..format::CHECKSUM_DIGITS))
        .ok_or(Problem::Foreign)?;
    if format!("{:032x}", header_checksum(bytes)).as_bytes() != digits {
        return Err(Problem::HeaderChecksum);
    }
    Ok(bytes)
}

/// Adds the next tensor of the header, which must begin where the file so far ends.
fn append(
    header: &mut Header,
    metadata: &Metadata,
    name: String,
    info: TensorInfo,
) -> Result<(), Problem> {
    let (start, end) = info.data_offsets;
    let range = range(header.data_start, start, end).ok_or_else(|| Problem::Shape(name.clone()))?;
    if range.start != header.file_bytes {
        return Err(Problem::NotContiguous(name));
    }
    header.file_bytes = range.end;
    let bytes = range.end - range.start;

    if name.starts_with(format::PAD_PREFIX) {
        if info.dtype != Dtype::U8 || bytes == 0 || bytes >= format::TENSOR_ALIGNMENT {
            return Err(Problem::Shape(name));
        }
        header.pads.push(Pad {
            offset: range.start,
            bytes,
        });
        return Ok(());
    }
    let spec = spec(metadata, &name, &info)?;
    if info.dtype != Dtype::F32 || format::stored_bytes(&spec) != Some(bytes) {
        return Err(Problem::Shape(name));
    }
    if !range.start.is_multiple_of(format::TENSOR_ALIGNMENT) {
        return Err(Problem::Misaligned(name));
    }
    let key = format!("{}{name}", format::CHECKSUM_PREFIX);
    let checksum = metadata.get(&key)?;
    let checksum = u128::from_str_radix(checksum, 16).map_err(|_| Problem::WrongValue {
        key,
        found: checksum.to_owned(),
        expected: "32 hex digits".to_owned(),
    })?;
    header.places.push(Place {
        spec,
        offset: range.start,
        bytes,
        checksum,
    });
    Ok(())
}

fn range(data_start: u64, start: usize, end: usize) -> Option<Range<u64>> {
    let at = |offset: usize| data_start.checked_add(offset as u64);
    let range = at(start)?..at(end)?;
    (range.start <= range.end).then_some(range)
}

/// Layout and logical size from the shape in the file and, for padded panels, from the metadata.
fn spec(metadata: &Metadata, name: &str, info: &TensorInfo) -> Result<TensorSpec, Problem> {
    let shape_error = || Problem::Shape(name.to_owned());
    let spec = |layout, rows, cols| TensorSpec {
        name: name.to_owned(),
        layout,
        rows,
        cols,
    };
    match *info.shape.as_slice() {
        [cols] => Ok(spec(Layout::Vector, 1, cols)),
        [rows, cols] => Ok(spec(Layout::Rows, rows, cols)),
        [panels, cols, PANEL_ROWS] => {
            let full = panels.checked_mul(PANEL_ROWS).ok_or_else(shape_error)?;
            let rows = match metadata.find(&format!("{}{name}", format::SHAPE_PREFIX)) {
                None => full,
                Some(text) => text
                    .split_once(',')
                    .filter(|(_, written_cols)| written_cols.parse() == Ok(cols))
                    .and_then(|(rows, _)| rows.parse().ok())
                    .filter(|rows: &usize| rows.div_ceil(PANEL_ROWS) == panels && *rows < full)
                    .ok_or_else(shape_error)?,
            };
            Ok(spec(Layout::Panels, rows, cols))
        }
        _ => Err(shape_error()),
    }
}

/// The pairs of `__metadata__`, sorted by key.
struct Metadata(Vec<(String, String)>);

impl Metadata {
    fn find(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(name, _)| name.as_str().cmp(key))
            .ok()
            .and_then(|index| self.0.get(index))
            .map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> Result<&str, Problem> {
        self.find(key)
            .ok_or_else(|| Problem::MissingKey(key.to_owned()))
    }

    fn number(&self, key: &str) -> Result<u64, Problem> {
        let text = self.get(key)?;
        text.parse().map_err(|_| wrong(key, text, "a number"))
    }

    fn expect(&self, key: &str, expected: &str) -> Result<(), Problem> {
        let found = self.get(key)?;
        if found == expected {
            Ok(())
        } else {
            Err(wrong(key, found, expected))
        }
    }
}

fn wrong(key: &str, found: &str, expected: &str) -> Problem {
    Problem::WrongValue {
        key: key.to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}

/// The members of the header in file order, each name once.
struct Members {
    /// Sorted by key.
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, TensorInfo)>,
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
                        let Unique(mut pairs) = map.next_value()?;
                        pairs.sort();
                        members.metadata = pairs;
                    } else {
                        members.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The pairs of an object, each key once.
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
                let mut names = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{DUPLICATE}{name}")));
                    }
                    pairs.push((name, value));
                }
                Ok(Unique(pairs))
            }
        }

        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}
