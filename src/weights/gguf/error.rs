//! Why bytes are not a GGUF file that can be read: one variant per kind of damage.

/// A refused GGUF file. The sentences continue "model file X: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is not a GGUF file: it begins with {found}, expected \"GGUF\"")]
    NotGguf { found: String },
    #[error("it is a big-endian GGUF file; only little-endian files are read")]
    BigEndian,
    #[error("it has GGUF version {0}; versions 2 and 3 are read")]
    Version(u32),
    #[error("it is truncated: it ends inside the header, after byte {position}")]
    Truncated { position: u64 },
    #[error("it declares {count} {what}, more than the {limit} that are read")]
    TooMany {
        what: &'static str,
        count: u64,
        limit: u64,
    },
    #[error("it is truncated: it declares {count} {what}, more than its size can hold")]
    CountBeyondFile { what: String, count: u64 },
    #[error("{what} has {length} bytes, more than the {limit} that are read")]
    StringTooLong {
        what: String,
        length: u64,
        limit: u64,
    },
    #[error("{what} is not UTF-8")]
    NotUtf8 { what: String },
    #[error("key {index} of the metadata is empty")]
    EmptyKey { index: u64 },
    #[error("key {index} of the metadata contains a control character")]
    ControlCharacter { index: u64 },
    #[error("the metadata has the key {0} twice")]
    DuplicateKey(String),
    #[error("the value of {key} has the unknown type {id}")]
    UnknownValueType { key: String, id: u32 },
    #[error("the value of {key} is the byte {byte}, which is not a boolean")]
    NotBoolean { key: String, byte: u8 },
    #[error("the value of {key} is an array of arrays")]
    NestedArray { key: String },
    #[error("the array {key} has {count} elements, more than the {limit} that are read")]
    ArrayTooLong { key: String, count: u64, limit: u64 },
    #[error("the metadata takes more than the {limit} bytes that are read")]
    MetadataTooLarge { limit: u64 },
    #[error("general.alignment is not a 32-bit unsigned number")]
    AlignmentType,
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
