//! Why bytes are not a GGUF file that can be read: one variant per kind of damage.

use super::Place;

/// A refused GGUF file. The sentences continue "model file X: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is not a GGUF file: it begins with {found}, expected \"GGUF\"")]
    NotGguf { found: String },
    #[error("it is a big-endian GGUF file; only little-endian files are read")]
    BigEndian,
    #[error("it has GGUF version {0}; versions 2 and 3 are read")]
    Version(u32),
    #[error("it is truncated: it ends inside {place}, after byte {position}")]
    Truncated { place: Place, position: u64 },
    #[error("it declares {count} {what}, more than the {limit} that are read")]
    TooMany {
        what: &'static str,
        count: u64,
        limit: u64,
    },
    #[error(
        "it is truncated: it declares {keys} keys and {tensors} tensors, more than its size can hold"
    )]
    CountsBeyondFile { keys: u64, tensors: u64 },
    #[error("{place} is a text of {length} bytes, more than the {limit} that are read")]
    StringTooLong {
        place: Place,
        length: u64,
        limit: u64,
    },
    #[error("{place} has a text that is not UTF-8")]
    NotUtf8 { place: Place },
    #[error("key {index} of the metadata is empty")]
    EmptyKey { index: u64 },
    #[error("key {index} of the metadata contains a control character")]
    ControlCharacter { index: u64 },
    #[error("the metadata has the key {0} twice")]
    DuplicateKey(String),
    #[error("the value of {key} has the unknown type {id}")]
    UnknownValueType { key: String, id: u32 },
    #[error("the value of {key} is an array of the unknown type {id}")]
    UnknownElementType { key: String, id: u32 },
    #[error("the value of {key} is the byte {byte}, which is not a boolean")]
    NotBoolean { key: String, byte: u8 },
    #[error("the value of {key} is an array of arrays")]
    NestedArray { key: String },
    #[error("the array {key} has {count} elements, more than the {limit} that are read")]
    ArrayTooLong { key: String, count: u64, limit: u64 },
    #[error("it is truncated: the array {key} has {count} elements, more than its size can hold")]
    ArrayBeyondFile { key: String, count: u64 },
    #[error("there is no memory for the {count} elements of {key}")]
    Memory { key: String, count: u64 },
    #[error("with {place} the metadata takes more than the 256 MiB that are read")]
    MetadataTooLarge { place: Place },
    #[error("general.alignment is {found}, expected a 32-bit unsigned number")]
    AlignmentType { found: &'static str },
    #[error("general.alignment is {0}, expected a power of two up to 65536")]
    Alignment(u32),
    #[error("the name of tensor {index} has {length} bytes, expected 1 to {limit}")]
    TensorNameLength { index: u64, length: u64, limit: u64 },
    #[error("the name of tensor {index} contains a control character, a slash or \"..\"")]
    TensorName { index: u64 },
    #[error("it has the tensor {0} twice")]
    DuplicateTensor(String),
    #[error("tensor {name} has {count} dimensions, expected 1 to 4")]
    DimensionCount { name: String, count: u32 },
    #[error("dimension {axis} of tensor {name} is 0")]
    ZeroDimension { name: String, axis: usize },
    #[error("the size of tensor {name} overflows")]
    TensorSize { name: String },
    #[error("tensor {name} has the unknown type {id}")]
    UnknownTensorType { name: String, id: u32 },
    #[error("tensor {name} has the type {found}, which is not supported; supported: {supported}")]
    UnsupportedTensorType {
        name: String,
        found: &'static str,
        supported: String,
    },
    #[error("tensor {name} has rows of {columns} values, not a multiple of its block of {block}")]
    PartialBlock {
        name: String,
        columns: u64,
        block: u64,
    },
    #[error("tensor {name} begins at offset {offset}, not a multiple of the alignment {alignment}")]
    UnalignedOffset {
        name: String,
        offset: u64,
        alignment: u64,
    },
    #[error(
        "tensor {name} begins at offset {offset}, expected {expected}, where the one before it ends"
    )]
    NotContiguous {
        name: String,
        offset: u64,
        expected: u64,
    },
    #[error("it is truncated: tensor {name} ends at byte {end}, and the file has {size} bytes")]
    TensorBeyondFile { name: String, end: u64, size: u64 },
    #[error("{extra} bytes follow the last tensor")]
    TrailingBytes { extra: u64 },
    #[error("it has no tensors")]
    NoTensors,
}
