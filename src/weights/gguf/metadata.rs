//! The key-value part of a GGUF file. Every consumer names the type it expects.

use crate::weights::Error;

/// One metadata value; arrays are flat.
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
    Strings(Vec<String>),
    F32s(Vec<f32>),
    /// Any integer array, widened.
    Integers(Vec<i64>),
    Bools(Vec<bool>),
    F64s(Vec<f64>),
}

/// Keys and values in file order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

fn wrong(key: &str) -> Error {
    Error::Tensor { name: key.to_owned(), problem: "has another type".to_owned() }
}

impl Metadata {
    pub fn from_pairs(pairs: Vec<(String, Value)>) -> Self {
        Metadata { pairs }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, Error> {
        let value = match self.get(key) {
            None => return Ok(None),
            Some(Value::U8(v)) => Some(u64::from(*v)),
            Some(Value::U16(v)) => Some(u64::from(*v)),
            Some(Value::U32(v)) => Some(u64::from(*v)),
            Some(Value::U64(v)) => Some(*v),
            Some(Value::I32(v)) => u64::try_from(*v).ok(),
            Some(Value::I64(v)) => u64::try_from(*v).ok(),
            Some(_) => None,
        };
        value.map(Some).ok_or_else(|| wrong(key))
    }

    pub fn float(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(v)) => Ok(Some(*v)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Strings(v)) => Ok(Some(v)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integers(v)) => Ok(Some(v)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32s(v)) => Ok(Some(v)),
            Some(_) => Err(wrong(key)),
        }
    }

    pub fn require<'a, T>(&'a self, key: &str, value: Result<Option<T>, Error>) -> Result<T, Error> {
        value?.ok_or_else(|| Error::Tensor { name: key.to_owned(), problem: "is missing".to_owned() })
    }
}
