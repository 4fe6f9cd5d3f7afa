//! The header of a GGUF file: metadata, and where each tensor is.
//! Source of the format: `docs/gguf.md` of the ggml project.
//!
//! Every size is checked before it is used: no allocation, multiplication or offset is trusted. Memory
//! stays within four times the header's bytes and 16 MiB.
//!
//! The tensors fill the file: bytes behind the last one are refused, except the padding up to the next
//! multiple of the alignment, which may be there or not. What nobody reads is where a second file hides.

use std::collections::HashSet;
use std::ops::Range;

use crate::weights::dequant::TensorType;

use super::cursor::{Cursor, Place};
use super::{Error, Metadata, Value, split, value};

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
const MAX_KEYS: u64 = 65_536;
const MAX_TENSORS: u64 = 65_536;
const MAX_KEY_BYTES: u64 = 65_535;
/// Longest tensor name, as in ggml.
const MAX_NAME_BYTES: u64 = 64;
const MAX_DIMENSIONS: usize = 4;
/// All keys and values together.
const MAX_METADATA_BYTES: usize = 256 << 20;
const MAX_ALIGNMENT: u32 = 65_536;
pub(super) const DEFAULT_ALIGNMENT: u32 = 32;
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
/// A key's length, its type and a value of one byte.
const MIN_PAIR_BYTES: u64 = 8 + 4 + 1;
/// A name's length, a dimension count, one dimension, a type and an offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// Where one tensor is and what its bytes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// As in the file: the first is the length of a row, the one that is summed over.
    pub dimensions: Vec<usize>,
    pub kind: TensorType,
    /// From the beginning of the file; within it.
    pub bytes: Range<usize>,
}

/// A header whose every offset lies within the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    /// Reads the header of `file`, which is the whole file.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(file);
        version(file, &mut cursor)?;
        let tensor_count = cursor.u64()?;
        let key_count = cursor.u64()?;
        limit("metadata keys", key_count, MAX_KEYS)?;
        limit("tensors", tensor_count, MAX_TENSORS)?;
        let needed = key_count
            .saturating_mul(MIN_PAIR_BYTES)
            .saturating_add(tensor_count.saturating_mul(MIN_TENSOR_BYTES));
        if needed > cursor.remaining() as u64 {
            return Err(Error::CountsBeyondFile {
                keys: key_count,
                tensors: tensor_count,
            });
        }

        let metadata = metadata(&mut cursor, key_count)?;
        let alignment = alignment(&metadata)?;
        let mut names = HashSet::new();
        // At most as many as the limit, and as the file has room for.
        let mut infos = Vec::with_capacity(tensor_count as usize);
        for index in 0..tensor_count {
            let info = tensor(&mut cursor, index)?;
            if !names.insert(info.name.clone()) {
                return Err(Error::DuplicateTensor(info.name));
            }
            infos.push(info);
        }
        // The first part of a split model may hold nothing but the metadata.
        if infos.is_empty() && !split::is_part(&metadata) {
            return Err(Error::NoTensors);
        }
        let tensors = place(
            infos,
            cursor.position() as u64,
            alignment,
            file.len() as u64,
        )?;
        Ok(Header { metadata, tensors })
    }
}

fn version(file: &[u8], cursor: &mut Cursor) -> Result<(), Error> {
    let begin = file.get(..MAGIC.len()).unwrap_or(file);
    if begin != MAGIC {
        let found = format!("\"{}\"", begin.escape_ascii());
        return Err(Error::NotGguf { found });
    }
    cursor.take(MAGIC.len())?;
    match cursor.u32()? {
        2 | 3 => Ok(()),
        // A small number in the other byte order.
        swapped if swapped != 0 && swapped & 0xffff == 0 => Err(Error::BigEndian),
        other => Err(Error::Version(other)),
    }
}

fn limit(what: &'static str, count: u64, limit: u64) -> Result<(), Error> {
    if count > limit {
        Err(Error::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

fn metadata(cursor: &mut Cursor, count: u64) -> Result<Metadata, Error> {
    cursor.limit(Some(MAX_METADATA_BYTES));
    let mut names = HashSet::new();
    let mut pairs = Vec::with_capacity(count as usize);
    for index in 0..count {
        cursor.enter(Place::Key(index));
        let key = cursor.string(MAX_KEY_BYTES)?;
        if key.is_empty() {
            return Err(Error::EmptyKey { index });
        }
        // Keys are printed in errors and logs.
        if key.chars().any(char::is_control) {
            return Err(Error::ControlCharacter { index });
        }
        if !names.insert(key.clone()) {
            return Err(Error::DuplicateKey(key));
        }
        cursor.enter(Place::Value(key.clone()));
        let value = value::read(cursor, &key)?;
        pairs.push((key, value));
    }
    cursor.limit(None);
    Ok(Metadata::from_pairs(pairs))
}

fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT.into()),
        Some(&Value::U32(value)) if value.is_power_of_two() && value <= MAX_ALIGNMENT => {
            Ok(value.into())
        }
        Some(&Value::U32(value)) => Err(Error::Alignment(value)),
        Some(other) => Err(Error::AlignmentType {
            found: other.kind(),
        }),
    }
}

/// A tensor whose place in the file is not yet checked.
struct Unplaced {
    name: String,
    dimensions: Vec<usize>,
    kind: TensorType,
    size: u64,
    /// From the beginning of the data.
    offset: u64,
}

fn tensor(cursor: &mut Cursor, index: u64) -> Result<Unplaced, Error> {
    cursor.enter(Place::Tensor(index));
    let name = tensor_name(cursor, index)?;
    let count = cursor.u32()?;
    if count == 0 || count as usize > MAX_DIMENSIONS {
        return Err(Error::DimensionCount { name, count });
    }
    let overflow = || Error::TensorSize { name: name.clone() };
    let mut dimensions = Vec::with_capacity(MAX_DIMENSIONS);
    let mut values: u64 = 1;
    for axis in 0..count as usize {
        let dimension = cursor.u64()?;
        if dimension == 0 {
            return Err(Error::ZeroDimension { name, axis });
        }
        values = values
            .checked_mul(dimension)
            .filter(|&values| i64::try_from(values).is_ok())
            .ok_or_else(overflow)?;
        dimensions.push(usize::try_from(dimension).map_err(|_| overflow())?);
    }
    let kind = tensor_type(&name, cursor.u32()?)?;
    let (block, block_bytes) = (kind.block_values() as u64, kind.block_bytes() as u64);
    let columns = dimensions.first().copied().unwrap_or_default() as u64;
    if !columns.is_multiple_of(block) {
        return Err(Error::PartialBlock {
            name,
            columns,
            block,
        });
    }
    let size = values
        .checked_div(block)
        .and_then(|blocks| blocks.checked_mul(block_bytes))
        .ok_or_else(overflow)?;
    Ok(Unplaced {
        name,
        dimensions,
        kind,
        size,
        offset: cursor.u64()?,
    })
}

fn tensor_name(cursor: &mut Cursor, index: u64) -> Result<String, Error> {
    let name = match cursor.string(MAX_NAME_BYTES) {
        Err(Error::StringTooLong { length, limit, .. }) => {
            return Err(Error::TensorNameLength {
                index,
                length,
                limit,
            });
        }
        other => other?,
    };
    if name.is_empty() {
        return Err(Error::TensorNameLength {
            index,
            length: 0,
            limit: MAX_NAME_BYTES,
        });
    }
    if name.contains(['/', '\\']) || name.contains("..") || name.chars().any(char::is_control) {
        return Err(Error::TensorName { index });
    }
    Ok(name)
}

fn tensor_type(name: &str, id: u32) -> Result<TensorType, Error> {
    TensorType::from_id(id).ok_or_else(|| match TensorType::unsupported_name(id) {
        Some(found) => Error::UnsupportedTensorType {
            name: name.to_owned(),
            found,
            supported: TensorType::names(),
        },
        None => Error::UnknownTensorType {
            name: name.to_owned(),
            id,
        },
    })
}

/// Checks that the tensors follow each other without gaps, as ggml demands, and end with the file.
fn place(
    infos: Vec<Unplaced>,
    header_end: u64,
    alignment: u64,
    file_size: u64,
) -> Result<Vec<TensorInfo>, Error> {
    // The header lies within the file, so this does not saturate.
    let data_start = header_end
        .checked_next_multiple_of(alignment)
        .unwrap_or(u64::MAX);
    let mut expected: u64 = 0;
    let mut tensors = Vec::with_capacity(infos.len());
    for Unplaced {
        name,
        dimensions,
        kind,
        size,
        offset,
    } in infos
    {
        if !offset.is_multiple_of(alignment) {
            return Err(Error::UnalignedOffset {
                name,
                offset,
                alignment,
            });
        }
        if offset != expected {
            return Err(Error::NotContiguous {
                name,
                offset,
                expected,
            });
        }
        let overflow = || Error::TensorSize { name: name.clone() };
        let start = data_start.checked_add(offset).ok_or_else(overflow)?;
        let end = start.checked_add(size).ok_or_else(overflow)?;
        if end > file_size {
            return Err(Error::TensorBeyondFile {
                name,
                end,
                size: file_size,
            });
        }
        // The end lies within the file, so neither overflows.
        expected = offset
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or_else(overflow)?;
        let bytes = match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) => start..end,
            _ => return Err(overflow()),
        };
        tensors.push(TensorInfo {
            name,
            dimensions,
            kind,
            bytes,
        });
    }
    // Some writers leave the padding of the last tensor out.
    match file_size.checked_sub(data_start.saturating_add(expected)) {
        None | Some(0) => Ok(tensors),
        Some(extra) => Err(Error::TrailingBytes { extra }),
    }
}
