//! The key-value part of a GGUF file. Every consumer names the type it expects.

use std::collections::HashMap;

use crate::weights::Error;

/// One metadata value; arrays are flat, and their elements as wide as in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    U64(u64),
    I64(i64),
    F64(f64),
    U8s(Vec<u8>),
    I8s(Vec<i8>),
    U16s(Vec<u16>),
    I16s(Vec<i16>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    U64s(Vec<u64>),
    I64s(Vec<i64>),
    F64s(Vec<f64>),
}

impl Value {
    /// The type in words, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            value if value.integer().is_some_and(|integer| integer < 0) => "a negative integer",
            Value::U8(_) | Value::I8(_) | Value::U16(_) | Value::I16(_) => "an integer",
            Value::U32(_) | Value::I32(_) | Value::U64(_) | Value::I64(_) => "an integer",
            Value::F32(_) => "a floating-point number",
            Value::F64(_) => "a 64-bit floating-point number",
            Value::Bool(_) => "a boolean",
            Value::String(_) => "a string",
            Value::Strings(_) => "an array of strings",
            Value::F32s(_) | Value::F64s(_) => "an array of floating-point numbers",
            Value::I32s(_) => "an array of 32-bit integers",
            Value::U8s(_) | Value::I8s(_) | Value::U16s(_) | Value::I16s(_) => ARRAY_OF_OTHERS,
            Value::U32s(_) | Value::U64s(_) | Value::I64s(_) => ARRAY_OF_OTHERS,
            Value::Bools(_) => "an array of booleans",
        }
    }

    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(value) => value.into(),
            Value::I8(value) => value.into(),
            Value::U16(value) => value.into(),
            Value::I16(value) => value.into(),
            Value::U32(value) => value.into(),
            Value::I32(value) => value.into(),
            Value::U64(value) => value.into(),
            Value::I64(value) => value.into(),
            _ => return None,
        })
    }
}

const ARRAY_OF_OTHERS: &str = "an array of other integers";

/// The beginning of a text that a file's author chose, for sentences: it may have millions of bytes.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.len() {
        0..=LONGEST => text.to_owned(),
        _ => {
            let (shown, _) = text.split_at(text.floor_char_boundary(LONGEST));
            format!("{shown}...")
        }
    }
}

/// Keys and values in file order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    /// Positions in `pairs`.
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Made by the reader, the synthetic source and tests. Of a repeated key the last value counts; the
    /// reader refuses repeated keys before.
    pub fn from_pairs(pairs: Vec<(String, Value)>) -> Self {
        let index = pairs.iter().map(|(key, _)| key.clone()).zip(0..).collect();
        Metadata { pairs, index }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        let (_, value) = self.pairs.get(*self.index.get(key)?)?;
        Some(value)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// `Ok(None)` when the key is missing; an error naming the key when its type is another.
    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Any non-negative integer type.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "a non-negative integer", |value| {
            value
                .integer()
                .and_then(|integer| u64::try_from(integer).ok())
        })
    }

    /// F32, as all of them are. An F64 is refused: rounding it would change the model in silence.
    pub fn float(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(
            key,
            "a 32-bit floating-point number",
            |value| match *value {
                Value::F32(number) => Some(number),
                _ => None,
            },
        )
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |value| match *value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Strings(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.typed(
            key,
            "an array of 32-bit floating-point numbers",
            |value| match value {
                Value::F32s(numbers) => Some(numbers.as_slice()),
                _ => None,
            },
        )
    }

    /// An array of I32, and of nothing else.
    pub fn integers(&self, key: &str) -> Result<Option<&[i32]>, Error> {
        self.typed(key, "an array of 32-bit integers", |value| match value {
            Value::I32s(integers) => Some(integers.as_slice()),
            _ => None,
        })
    }

    /// The value or an error that names the missing key.
    pub fn require<T>(&self, key: &str, value: Result<Option<T>, Error>) -> Result<T, Error> {
        value?.ok_or_else(|| Error::MissingKey {
            key: key.to_owned(),
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => {
                let (key, found) = (key.to_owned(), value.kind());
                Err(Error::KeyType {
                    key,
                    expected,
                    found,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata::from_pairs(vec![
            ("count".into(), Value::I32(7)),
            ("negative".into(), Value::I8(-1)),
            ("name".into(), Value::String("x".into())),
        ])
    }

    #[test]
    fn any_non_negative_integer_is_unsigned() {
        assert_eq!(metadata().unsigned("count").unwrap(), Some(7));
        assert_eq!(metadata().unsigned("missing").unwrap(), None);
        let error = metadata().unsigned("negative").unwrap_err().to_string();
        assert_eq!(
            error,
            "metadata key negative: expected a non-negative integer, found a negative integer"
        );
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_the_key() {
        let error = metadata().float("name").unwrap_err().to_string();
        assert_eq!(
            error,
            "metadata key name: expected a 32-bit floating-point number, found a string"
        );
    }

    #[test]
    fn an_excerpt_is_short_and_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let long = format!("{}ä{}", "a".repeat(79), "b".repeat(1 << 20));
        assert_eq!(excerpt(&long), format!("{}...", "a".repeat(79)));
    }

    #[test]
    fn a_required_key_that_is_missing_is_named() {
        let metadata = metadata();
        let error = metadata
            .require("no.such", metadata.string("no.such"))
            .unwrap_err();
        assert_eq!(error.to_string(), "metadata key no.such is missing");
    }
}
