//! The header of a safetensors file that somebody else wrote.
//! Source of the format: the README of the safetensors project.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | length H of the header, little endian |
//! | 8..8+H | JSON object: tensors by name, and `__metadata__`; may end in spaces |
//! | 8+H.. | the tensors, without gaps and without overlap, up to the end of the file |
//!
//! Invariant: works on the bytes of the whole file and touches none behind the header.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use safetensors::{Dtype, tensor::TensorInfo};

use crate::cache::{Members, Problem};

/// The longest header of the format.
const MAX_HEADER: u64 = 100_000_000;
const LENGTH_BYTES: u64 = 8;
/// Names are printed in errors; real ones are far shorter.
const MAX_NAME_BYTES: usize = 256;

/// Why bytes are not a safetensors file that can be read. The sentences continue "X.safetensors: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("it is too short for a safetensors file")]
    TooShort,
    #[error("its header would have {length} bytes, more than the {limit} that are read")]
    Length { length: u64, limit: u64 },
    #[error("it is truncated: its header ends at byte {end}, and the file has {size} bytes")]
    HeaderBeyondFile { end: u64, size: u64 },
    #[error("it is not a safetensors file: its header does not begin with {{")]
    NotSafetensors,
    #[error("its header is not valid: {0}")]
    Json(String),
    #[error("its header has the name {0} twice")]
    DuplicateName(String),
    #[error("its header has a name of {0} bytes, expected 1 to 256")]
    NameLength(usize),
    #[error("its header has a name with a control character")]
    ControlCharacter,
    #[error("it has no tensors")]
    NoTensors,
    #[error("tensor {0}: element type, shape and size do not agree")]
    Size(String),
    #[error(
        "tensor {name} begins at byte {found} of the data, expected {expected}, where the one before it ends"
    )]
    NotContiguous {
        name: String,
        found: usize,
        expected: usize,
    },
    #[error("it is truncated: its tensors end at byte {end}, and the file has {size} bytes")]
    TensorsBeyondFile { end: u64, size: u64 },
    #[error("{extra} bytes follow the last tensor")]
    TrailingBytes { extra: u64 },
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Dtype,
    pub(super) shape: Vec<usize>,
    /// From the beginning of the file; within it.
    pub(super) bytes: Range<usize>,
}

/// How many tensors the safetensors file of these bytes has, or why it would be refused. For tests and
/// fuzzing, which have no file.
pub fn inspect(file: &[u8]) -> Result<usize, HeaderError> {
    read(file).map(|entries| entries.len())
}

/// Reads the header of `file`, which is the whole file. Tensors come in the order of their data.
pub(super) fn read(file: &[u8]) -> Result<Vec<Entry>, HeaderError> {
    let size = file.len() as u64;
    let length = u64::from_le_bytes(*file.first_chunk().ok_or(HeaderError::TooShort)?);
    if length > MAX_HEADER {
        return Err(HeaderError::Length {
            length,
            limit: MAX_HEADER,
        });
    }
    let end = LENGTH_BYTES + length;
    let json = file
        .get(LENGTH_BYTES as usize..end as usize)
        .ok_or(HeaderError::HeaderBeyondFile { end, size })?;
    if json.first() != Some(&b'{') {
        return Err(HeaderError::NotSafetensors);
    }
    let mut tensors = Members::parse(json)
        .map_err(|problem| match problem {
            Problem::DuplicateName(name) => HeaderError::DuplicateName(name),
            Problem::Json(text) => HeaderError::Json(text),
            other => HeaderError::Json(other.to_string()),
        })?
        .tensors;
    if tensors.is_empty() {
        return Err(HeaderError::NoTensors);
    }
    // The format leaves the order of the members open.
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut expected = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        let (found, next) = info.data_offsets;
        check_name(&name)?;
        if found != expected {
            return Err(HeaderError::NotContiguous {
                name,
                found,
                expected,
            });
        }
        if bytes(&info) != next.checked_sub(found) {
            return Err(HeaderError::Size(name));
        }
        let beyond = HeaderError::TensorsBeyondFile {
            end: end.saturating_add(next as u64),
            size,
        };
        if size - end < next as u64 {
            return Err(beyond);
        }
        expected = next;
        // Both lie within the file, so these cannot overflow.
        entries.push(Entry {
            name,
            kind: info.dtype,
            shape: info.shape,
            bytes: end as usize + found..end as usize + next,
        });
    }
    match size - end - expected as u64 {
        0 => Ok(entries),
        extra => Err(HeaderError::TrailingBytes { extra }),
    }
}

fn check_name(name: &str) -> Result<(), HeaderError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(HeaderError::NameLength(name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(HeaderError::ControlCharacter);
    }
    Ok(())
}

/// What the shape needs; `None` when it overflows or ends inside of a byte.
fn bytes(info: &TensorInfo) -> Option<usize> {
    let values = info
        .shape
        .iter()
        .try_fold(1_usize, |product, &length| product.checked_mul(length))?;
    let bits = values.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
