//! Writing the header of a GGUF file, version 3, whose tensors are all F32.
//!
//! Metadata comes back in its order, except what describes the old file and not the model: the type of its
//! tensors becomes F32, its alignment that of the format, and the keys of a split file go.
//!
//! Invariant: writes to memory only; the data follow the header, each tensor followed by [`padding`] zeros.

use crate::weights::dequant::TensorType;

use super::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC};
use super::value::id;
use super::{Metadata, Value};

const VERSION: u32 = 3;
const FILE_TYPE_KEY: &str = "general.file_type";
/// `LLAMA_FTYPE_ALL_F32` in `llama.h`.
const ALL_F32: Value = Value::U32(0);
const SPLIT_PREFIX: &str = "split.";

/// The bytes before the data of F32 `tensors`: names, and dimensions with the length of a row first.
pub fn header(metadata: &Metadata, tensors: &[(&str, Vec<usize>)]) -> Vec<u8> {
    let pairs = pairs(metadata);
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        text(&mut out, key);
        put(&mut out, value);
    }
    let mut offset: u64 = 0;
    for (name, dimensions) in tensors {
        text(&mut out, name);
        out.extend((dimensions.len() as u32).to_le_bytes());
        for &dimension in dimensions {
            out.extend((dimension as u64).to_le_bytes());
        }
        out.extend((TensorType::F32 as u32).to_le_bytes());
        out.extend(offset.to_le_bytes());
        let bytes = (dimensions.iter().product::<usize>() * size_of::<f32>()) as u64;
        offset += bytes + padding(bytes) as u64;
    }
    out.resize(out.len() + padding(out.len() as u64), 0);
    out
}

/// Zeros between the end of a tensor or header of `bytes` and what follows it.
pub fn padding(bytes: u64) -> usize {
    let alignment = u64::from(DEFAULT_ALIGNMENT);
    (bytes.next_multiple_of(alignment) - bytes) as usize
}

/// The pairs of the new file.
fn pairs(metadata: &Metadata) -> Vec<(&str, &Value)> {
    let mut pairs: Vec<(&str, &Value)> = metadata
        .iter()
        .filter(|(key, _)| *key != ALIGNMENT_KEY && !key.starts_with(SPLIT_PREFIX))
        .map(|(key, value)| match key {
            FILE_TYPE_KEY => (key, &ALL_F32),
            _ => (key, value),
        })
        .collect();
    if metadata.get(FILE_TYPE_KEY).is_none() {
        pairs.push((FILE_TYPE_KEY, &ALL_F32));
    }
    pairs
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The type of a value, and the value.
fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => scalar(out, id::U8, value.to_le_bytes()),
        Value::I8(value) => scalar(out, id::I8, value.to_le_bytes()),
        Value::U16(value) => scalar(out, id::U16, value.to_le_bytes()),
        Value::I16(value) => scalar(out, id::I16, value.to_le_bytes()),
        Value::U32(value) => scalar(out, id::U32, value.to_le_bytes()),
        Value::I32(value) => scalar(out, id::I32, value.to_le_bytes()),
        Value::U64(value) => scalar(out, id::U64, value.to_le_bytes()),
        Value::I64(value) => scalar(out, id::I64, value.to_le_bytes()),
        Value::F32(value) => scalar(out, id::F32, value.to_le_bytes()),
        Value::F64(value) => scalar(out, id::F64, value.to_le_bytes()),
        Value::Bool(value) => scalar(out, id::BOOL, [u8::from(*value)]),
        Value::String(value) => {
            out.extend(id::STRING.to_le_bytes());
            text(out, value);
        }
        Value::Strings(values) => {
            array(out, id::STRING, values.len());
            values.iter().for_each(|value| text(out, value));
        }
        Value::Bools(values) => {
            array(out, id::BOOL, values.len());
            out.extend(values.iter().map(|&value| u8::from(value)));
        }
        Value::U8s(values) => numbers(out, id::U8, values, |value| value.to_le_bytes()),
        Value::I8s(values) => numbers(out, id::I8, values, |value| value.to_le_bytes()),
        Value::U16s(values) => numbers(out, id::U16, values, |value| value.to_le_bytes()),
        Value::I16s(values) => numbers(out, id::I16, values, |value| value.to_le_bytes()),
        Value::U32s(values) => numbers(out, id::U32, values, |value| value.to_le_bytes()),
        Value::I32s(values) => numbers(out, id::I32, values, |value| value.to_le_bytes()),
        Value::F32s(values) => numbers(out, id::F32, values, |value| value.to_le_bytes()),
        Value::U64s(values) => numbers(out, id::U64, values, |value| value.to_le_bytes()),
        Value::I64s(values) => numbers(out, id::I64, values, |value| value.to_le_bytes()),
        Value::F64s(values) => numbers(out, id::F64, values, |value| value.to_le_bytes()),
    }
}

fn scalar<const N: usize>(out: &mut Vec<u8>, type_id: u32, bytes: [u8; N]) {
    out.extend(type_id.to_le_bytes());
    out.extend(bytes);
}

fn array(out: &mut Vec<u8>, type_id: u32, count: usize) {
    out.extend(id::ARRAY.to_le_bytes());
    out.extend(type_id.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}

fn numbers<T, const N: usize>(
    out: &mut Vec<u8>,
    type_id: u32,
    values: &[T],
    bytes: impl Fn(&T) -> [u8; N],
) {
    array(out, type_id, values.len());
    values.iter().for_each(|value| out.extend(bytes(value)));
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;

    fn metadata(pairs: &[(&str, Value)]) -> Metadata {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        Metadata::from_pairs(owned.collect())
    }

    /// Writes a file of two tensors and reads its header back.
    fn written(metadata: &Metadata) -> Header {
        let tensors = [("a.weight", vec![3, 5]), ("b.weight", vec![7])];
        let mut file = header(metadata, &tensors);
        assert!(file.len().is_multiple_of(32));
        for bytes in [60, 28] {
            file.resize(file.len() + bytes + padding(bytes as u64), 1);
        }
        Header::read(&file).unwrap()
    }

    #[test]
    fn every_value_comes_back_in_its_order() {
        let text = |text: &str| Value::String(text.to_owned());
        let pairs = [
            ("general.architecture", text("llama")),
            ("u8", Value::U8(255)),
            ("i8", Value::I8(-128)),
            ("u16", Value::U16(65535)),
            ("i16", Value::I16(-32768)),
            ("u32", Value::U32(u32::MAX)),
            ("i32", Value::I32(i32::MIN)),
            ("f32", Value::F32(-1.5)),
            ("yes", Value::Bool(true)),
            ("general.file_type", Value::U32(0)),
            ("u64", Value::U64(u64::MAX)),
            ("i64", Value::I64(i64::MIN)),
            ("f64", Value::F64(1e300)),
            (
                "texts",
                Value::Strings(vec!["".into(), "\u{2581}the".into()]),
            ),
            ("f32s", Value::F32s(vec![0.0, -2.5])),
            ("u8s", Value::U8s(vec![0, 255])),
            ("i8s", Value::I8s(vec![-128, 127])),
            ("u16s", Value::U16s(vec![65535])),
            ("i16s", Value::I16s(vec![-32768, 1])),
            ("u32s", Value::U32s(vec![u32::MAX])),
            ("i32s", Value::I32s(vec![i32::MIN, 3])),
            ("u64s", Value::U64s(vec![u64::MAX, 1])),
            ("i64s", Value::I64s(vec![i64::MIN, 3])),
            ("none", Value::I32s(vec![])),
            ("flags", Value::Bools(vec![true, false])),
            ("f64s", Value::F64s(vec![0.5])),
        ];
        let header = written(&metadata(&pairs));
        let found: Vec<_> = header
            .metadata
            .iter()
            .map(|(key, value)| (key, value.clone()))
            .collect();
        assert_eq!(found, pairs);
        let tensors: Vec<_> = header
            .tensors
            .iter()
            .map(|info| (info.name.as_str(), info.dimensions.clone(), info.kind))
            .collect();
        assert_eq!(
            tensors,
            [
                ("a.weight", vec![3, 5], TensorType::F32),
                ("b.weight", vec![7], TensorType::F32)
            ]
        );
    }

    #[test]
    fn what_described_the_old_file_does_not_describe_the_new_one() {
        let header = written(&metadata(&[
            ("split.count", Value::U16(3)),
            ("general.file_type", Value::U32(15)),
            ("general.alignment", Value::U32(64)),
            ("split.no", Value::U16(0)),
            ("name", Value::U8(1)),
        ]));
        let found: Vec<_> = header.metadata.iter().collect();
        assert_eq!(
            found,
            [
                ("general.file_type", &Value::U32(0)),
                ("name", &Value::U8(1))
            ]
        );
    }

    #[test]
    fn the_file_type_is_written_where_there_was_none() {
        let header = written(&metadata(&[("name", Value::U8(1))]));
        assert_eq!(
            header.metadata.get("general.file_type"),
            Some(&Value::U32(0))
        );
    }
}
