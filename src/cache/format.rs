//! The cache file: a safetensors file with 64-byte aligned data and a checksum over every byte.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | length H of the header, little endian; 8 + H is a multiple of 4096 |
//! | 8..8+H | JSON object, padded with spaces; its first member is `__metadata__` |
//! | 8+H.. | the tensors without gaps: panels, then row tables, then vectors |
//!
//! Panels are F32 `[ceil(rows / 16), cols, 16]` or BF16 `[ceil(rows / 16), ceil(cols / 2), 16, 2]`, row tables
//! `[rows, cols]` of the same type, vectors F32 `[cols]`. Where a
//! tensor would not begin on a multiple of 64, a U8 tensor `__pad.N` of zeros stands before it,
//! because safetensors allows no gaps.
//!
//! | key of `__metadata__` | value |
//! |---|---|
//! | `woolly.header_xxh3` | XXH3-128 of the bytes 0..8+H with these 32 digits as zeros; the first key |
//! | `woolly.format` | [`FORMAT_VERSION`] |
//! | `woolly.layout` | see [`layout_name`] |
//! | `woolly.source_blake3` | 64 hex digits that identify what the tensors were computed from |
//! | `woolly.source_bytes` | size of that source |
//! | `xxh3.<tensor>` | XXH3-128 of the tensor's bytes |
//! | `shape.<tensor>` | `rows,cols` of a panel tensor whose rows or columns were padded |
//!
//! Version rule: whoever changes this layout, or any dequantized value, increments
//! [`FORMAT_VERSION`]. The version is part of the file's name, so old files are never opened.

use safetensors::{Dtype, tensor::TensorInfo};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::tensor::{Element, Layout, PANEL_ROWS, TensorSpec};

use super::Error;

/// Version of the layout above and of the values in it.
pub const FORMAT_VERSION: u32 = 1;

/// The data begins on a page, so that a mapping of the file is aligned.
pub(super) const DATA_ALIGNMENT: u64 = 4096;
/// One cache line, one AVX-512 register, one panel row.
pub(super) const TENSOR_ALIGNMENT: u64 = 64;
/// The file's JSON begins with these bytes, which puts the header's checksum at a fixed place.
pub(super) const OPENING: &[u8] = br#"{"__metadata__":{"woolly.header_xxh3":""#;
/// Hex digits of an XXH3-128.
pub(super) const CHECKSUM_DIGITS: usize = 32;
/// The header's length itself.
pub(super) const LENGTH_BYTES: usize = 8;

pub(super) const METADATA: &str = "__metadata__";
pub(super) const PAD_PREFIX: &str = "__pad.";
pub(super) const KEY_HEADER: &str = "woolly.header_xxh3";
pub(super) const KEY_FORMAT: &str = "woolly.format";
pub(super) const KEY_LAYOUT: &str = "woolly.layout";
pub(super) const KEY_SOURCE: &str = "woolly.source_blake3";
pub(super) const KEY_SOURCE_BYTES: &str = "woolly.source_bytes";
pub(super) const CHECKSUM_PREFIX: &str = "xxh3.";
pub(super) const SHAPE_PREFIX: &str = "shape.";

/// What tensors were computed from: names the cache file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// BLAKE3 of the source, 64 hex digits.
    pub source: String,
    /// Size of the source in bytes; 0 when it is not a file.
    pub source_bytes: u64,
    /// Number type of the matrices.
    pub element: Element,
}

/// How matrices are stored; a name per number type and panel width.
pub fn layout_name(element: Element) -> String {
    format!("{}-panels{PANEL_ROWS}", element.name())
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (source, bytes) = (&self.source, self.source_bytes);
        write!(f, "{source} ({bytes} bytes) as {}", self.element.name())
    }
}

impl Key {
    /// The name of the cache file without its ending: equal stems, equal values.
    pub fn stem(&self) -> String {
        let layout = layout_name(self.element);
        format!("{}-{layout}-v{FORMAT_VERSION}", self.source)
    }

    pub fn file_name(&self) -> String {
        format!("{}.safetensors", self.stem())
    }
}

/// One tensor and where its bytes are in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) spec: TensorSpec,
    /// From the beginning of the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// XXH3-128; 0 until it is known.
    pub(super) checksum: u128,
}

/// Zeros before a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pad {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// Everything a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: Key,
    /// Where the tensors begin in the file.
    pub(super) data_start: u64,
    /// In file order.
    pub(super) places: Vec<Place>,
    pub(super) pads: Vec<Pad>,
    pub(super) file_bytes: u64,
}

impl Header {
    /// Places `specs` in a file. Fails on reserved, repeated and empty names and on sizes that overflow.
    pub(super) fn plan(key: Key, mut specs: Vec<TensorSpec>) -> Result<Self, Error> {
        specs.sort_by_key(|spec| match spec.layout {
            Layout::Panels => 0,
            Layout::Rows => 1,
            Layout::Vector => 2,
        });
        let mut header = Header {
            key,
            data_start: 0,
            places: vec![],
            pads: vec![],
            file_bytes: 0,
        };
        let mut names = std::collections::HashSet::new();
        for spec in specs {
            let refuse = |problem| Error::Tensor {
                name: spec.name.clone(),
                problem,
            };
            if spec.name.is_empty() || spec.name == METADATA || spec.name.starts_with(PAD_PREFIX) {
                return Err(refuse("its name is reserved"));
            }
            if !names.insert(spec.name.clone()) {
                return Err(refuse("its name occurs twice"));
            }
            let bytes = stored_bytes(&spec, header.key.element)
                .ok_or_else(|| refuse("its size is zero or overflows"))?;
            header
                .append(spec.clone(), bytes)
                .ok_or_else(|| refuse("the file's size overflows"))?;
        }
        // The number of digits of the offsets in the header is final here, because offsets inside the
        // header count from the beginning of the data.
        let unpadded = (LENGTH_BYTES + header.json().len()) as u64;
        header.shift(unpadded.next_multiple_of(DATA_ALIGNMENT));
        Ok(header)
    }

    fn append(&mut self, spec: TensorSpec, bytes: u64) -> Option<()> {
        let start = self.file_bytes.checked_next_multiple_of(TENSOR_ALIGNMENT)?;
        if start > self.file_bytes {
            self.pads.push(Pad {
                offset: self.file_bytes,
                bytes: start - self.file_bytes,
            });
        }
        self.places.push(Place {
            spec,
            offset: start,
            bytes,
            checksum: 0,
        });
        self.file_bytes = start.checked_add(bytes)?;
        // Room for any header that safetensors would accept.
        (self.file_bytes < u64::MAX / 2).then_some(())
    }

    fn shift(&mut self, data_start: u64) {
        self.data_start = data_start;
        self.file_bytes += data_start;
        self.places
            .iter_mut()
            .for_each(|place| place.offset += data_start);
        self.pads
            .iter_mut()
            .for_each(|pad| pad.offset += data_start);
    }

    /// The bytes of the file before the data.
    pub(super) fn render(&self) -> Vec<u8> {
        let json = self.json();
        let length = self.data_start - LENGTH_BYTES as u64;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(self.data_start as usize, b' ');
        let checksum = format!("{:032x}", header_checksum(&bytes));
        let digits = LENGTH_BYTES + OPENING.len();
        bytes[digits..digits + CHECKSUM_DIGITS].copy_from_slice(checksum.as_bytes());
        bytes
    }

    fn json(&self) -> String {
        let mut metadata = Map::new();
        let mut put = |key: String, value: String| metadata.insert(key, Value::String(value));
        put(KEY_HEADER.into(), "0".repeat(CHECKSUM_DIGITS));
        put(KEY_FORMAT.into(), FORMAT_VERSION.to_string());
        put(KEY_LAYOUT.into(), layout_name(self.key.element));
        put(KEY_SOURCE.into(), self.key.source.clone());
        put(KEY_SOURCE_BYTES.into(), self.key.source_bytes.to_string());
        for place in &self.places {
            put(
                format!("{CHECKSUM_PREFIX}{}", place.spec.name),
                format!("{:032x}", place.checksum),
            );
        }
        for TensorSpec {
            name,
            layout,
            rows,
            cols,
        } in self.places.iter().map(|place| &place.spec)
        {
            let whole = rows % PANEL_ROWS == 0 && cols % self.key.element.line_columns() == 0;
            if *layout == Layout::Panels && !whole {
                put(format!("{SHAPE_PREFIX}{name}"), format!("{rows},{cols}"));
            }
        }

        let mut root = Map::new();
        root.insert(METADATA.into(), Value::Object(metadata));
        let mut pads = self.pads.iter().enumerate().peekable();
        for place in &self.places {
            if let Some((number, pad)) = pads.next_if(|(_, pad)| pad.offset < place.offset) {
                let shape = vec![pad.bytes as usize];
                let info = self.info(Dtype::U8, shape, pad.offset, pad.bytes);
                root.insert(format!("{PAD_PREFIX}{number}"), info);
            }
            let element = place.spec.element(self.key.element);
            let shape = stored_shape(&place.spec, element);
            let info = self.info(dtype(element), shape, place.offset, place.bytes);
            root.insert(place.spec.name.clone(), info);
        }
        Value::Object(root).to_string()
    }

    fn info(&self, dtype: Dtype, shape: Vec<usize>, offset: u64, bytes: u64) -> Value {
        let start = (offset - self.data_start) as usize;
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets: (start, start + bytes as usize),
        };
        serde_json::to_value(info).expect("a type name and integers are JSON")
    }
}

pub(super) fn dtype(element: Element) -> Dtype {
    match element {
        Element::F32 => Dtype::F32,
        Element::Bf16 => Dtype::BF16,
    }
}

/// The shape that other readers of the file see.
fn stored_shape(spec: &TensorSpec, element: Element) -> Vec<usize> {
    let panels = spec.rows.div_ceil(PANEL_ROWS);
    match spec.layout {
        Layout::Panels => match element {
            Element::F32 => vec![panels, spec.cols, PANEL_ROWS],
            Element::Bf16 => vec![panels, spec.cols.div_ceil(2), PANEL_ROWS, 2],
        },
        Layout::Rows => vec![spec.rows, spec.cols],
        Layout::Vector => vec![spec.cols],
    }
}

/// Bytes of the tensor where matrices have the type `matrices`; `None` when they are none or overflow.
pub(super) fn stored_bytes(spec: &TensorSpec, matrices: Element) -> Option<u64> {
    let len = spec.stored_len(matrices)?;
    let bytes = len.checked_mul(spec.element(matrices).bytes())?;
    (bytes > 0).then_some(bytes as u64)
}

/// XXH3-128 of the header's bytes, with the digits of the checksum itself taken as zeros. `bytes` is at
/// least as long as the place of the digits.
pub(super) fn header_checksum(bytes: &[u8]) -> u128 {
    let digits = LENGTH_BYTES + OPENING.len();
    let (before, rest) = bytes.split_at(digits.min(bytes.len()));
    let after = rest.get(CHECKSUM_DIGITS..).unwrap_or_default();
    let mut hash = Xxh3::new();
    hash.update(before);
    hash.update(&[b'0'; CHECKSUM_DIGITS]);
    hash.update(after);
    hash.digest128()
}

/// The checksum of one tensor.
pub(super) fn tensor_checksum(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}
