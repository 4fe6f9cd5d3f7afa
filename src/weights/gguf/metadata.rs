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
pub struct Metadata {}

impl Metadata {
    /// Made by the synthetic source and by tests.
    pub fn from_pairs(_pairs: Vec<(String, Value)>) -> Self {
        todo!()
    }

    pub fn get(&self, _key: &str) -> Option<&Value> {
        todo!()
    }

    /// `Ok(None)` when the key is missing; an error naming the key when its type is another.
    pub fn string(&self, _key: &str) -> Result<Option<&str>, Error> {
        todo!()
    }

    /// Any non-negative integer type.
    pub fn unsigned(&self, _key: &str) -> Result<Option<u64>, Error> {
        todo!()
    }

    /// F32 or F64.
    pub fn float(&self, _key: &str) -> Result<Option<f32>, Error> {
        todo!()
    }

    pub fn boolean(&self, _key: &str) -> Result<Option<bool>, Error> {
        todo!()
    }

    pub fn strings(&self, _key: &str) -> Result<Option<&[String]>, Error> {
        todo!()
    }

    /// Any integer array, widened.
    pub fn integers(&self, _key: &str) -> Result<Option<&[i64]>, Error> {
        todo!()
    }

    pub fn floats(&self, _key: &str) -> Result<Option<&[f32]>, Error> {
        todo!()
    }

    /// The value or an error that names the missing key.
    pub fn require<'a, T>(
        &'a self,
        _key: &str,
        _value: Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        todo!()
    }
}
