//! Reading metadata values. Every count is checked against the bytes left before memory is taken.

use super::cursor::Cursor;
use super::{Error, Value};

/// Longest string value; chat templates and vocabulary entries are far below.
const MAX_STRING: u64 = 16 << 20;
/// Most elements of an array. They are kept as wide as they are in the file, so what they take is
/// bounded by the file's size too; each reader of an array has a bound of its own, far lower.
const MAX_ARRAY: u64 = 64 << 20;

/// Type numbers of the format.
pub(super) mod id {
    pub(in super::super) const U8: u32 = 0;
    pub(in super::super) const I8: u32 = 1;
    pub(in super::super) const U16: u32 = 2;
    pub(in super::super) const I16: u32 = 3;
    pub(in super::super) const U32: u32 = 4;
    pub(in super::super) const I32: u32 = 5;
    pub(in super::super) const F32: u32 = 6;
    pub(in super::super) const BOOL: u32 = 7;
    pub(in super::super) const STRING: u32 = 8;
    pub(in super::super) const ARRAY: u32 = 9;
    pub(in super::super) const U64: u32 = 10;
    pub(in super::super) const I64: u32 = 11;
    pub(in super::super) const F64: u32 = 12;
}

/// Reads the type and the value of `key`.
pub(super) fn read(cursor: &mut Cursor, key: &str) -> Result<Value, Error> {
    let type_id = cursor.u32()?;
    Ok(match type_id {
        id::U8 => Value::U8(cursor.u8()?),
        id::I8 => Value::I8(cursor.i8()?),
        id::U16 => Value::U16(cursor.u16()?),
        id::I16 => Value::I16(cursor.i16()?),
        id::U32 => Value::U32(cursor.u32()?),
        id::I32 => Value::I32(cursor.i32()?),
        id::F32 => Value::F32(cursor.f32()?),
        id::BOOL => Value::Bool(boolean(key, cursor.u8()?)?),
        id::STRING => Value::String(cursor.string(MAX_STRING)?),
        id::ARRAY => array(cursor, key)?,
        id::U64 => Value::U64(cursor.u64()?),
        id::I64 => Value::I64(cursor.i64()?),
        id::F64 => Value::F64(cursor.f64()?),
        _ => {
            return Err(Error::UnknownValueType {
                key: key.to_owned(),
                id: type_id,
            });
        }
    })
}

fn array(cursor: &mut Cursor, key: &str) -> Result<Value, Error> {
    let type_id = cursor.u32()?;
    let count = cursor.u64()?;
    let least_bytes = match type_id {
        id::U8 | id::I8 | id::BOOL => 1,
        id::U16 | id::I16 => 2,
        id::U32 | id::I32 | id::F32 => 4,
        // A string takes at least its length.
        id::U64 | id::I64 | id::F64 | id::STRING => 8,
        id::ARRAY => {
            return Err(Error::NestedArray {
                key: key.to_owned(),
            });
        }
        _ => {
            return Err(Error::UnknownElementType {
                key: key.to_owned(),
                id: type_id,
            });
        }
    };
    if count > MAX_ARRAY {
        return Err(Error::ArrayTooLong {
            key: key.to_owned(),
            count,
            limit: MAX_ARRAY,
        });
    }
    let elements = Elements { key, count };
    let least = count.checked_mul(least_bytes);
    let least = least.and_then(|bytes| usize::try_from(bytes).ok());
    let least = least
        .filter(|&bytes| bytes <= cursor.remaining())
        .ok_or_else(|| Error::ArrayBeyondFile {
            key: key.to_owned(),
            count,
        })?;
    cursor.check(least)?;
    Ok(match type_id {
        id::U8 => Value::U8s(elements.read(cursor, u8::from_le_bytes)?),
        id::I8 => Value::I8s(elements.read(cursor, i8::from_le_bytes)?),
        id::U16 => Value::U16s(elements.read(cursor, u16::from_le_bytes)?),
        id::I16 => Value::I16s(elements.read(cursor, i16::from_le_bytes)?),
        id::U32 => Value::U32s(elements.read(cursor, u32::from_le_bytes)?),
        id::I32 => Value::I32s(elements.read(cursor, i32::from_le_bytes)?),
        id::U64 => Value::U64s(elements.read(cursor, u64::from_le_bytes)?),
        id::I64 => Value::I64s(elements.read(cursor, i64::from_le_bytes)?),
        id::F32 => Value::F32s(elements.read(cursor, f32::from_le_bytes)?),
        id::F64 => Value::F64s(elements.read(cursor, f64::from_le_bytes)?),
        id::BOOL => {
            let mut values = elements.reserve()?;
            for byte in cursor.take(least)? {
                values.push(boolean(key, *byte)?);
            }
            Value::Bools(values)
        }
        _ => {
            let mut values = elements.reserve()?;
            for _ in 0..count {
                values.push(cursor.string(MAX_STRING)?);
            }
            Value::Strings(values)
        }
    })
}

/// Elements whose count has been checked against the bytes left.
struct Elements<'a> {
    key: &'a str,
    count: u64,
}

impl Elements<'_> {
    fn no_memory(&self) -> Error {
        Error::Memory {
            key: self.key.to_owned(),
            count: self.count,
        }
    }

    fn count(&self) -> Result<usize, Error> {
        usize::try_from(self.count).map_err(|_| self.no_memory())
    }

    /// Room for all of them and no more.
    fn reserve<T>(&self) -> Result<Vec<T>, Error> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(self.count()?)
            .map_err(|_| self.no_memory())?;
        Ok(values)
    }

    fn read<T, const N: usize>(
        &self,
        cursor: &mut Cursor,
        convert: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let bytes = self.count()?.checked_mul(N);
        let bytes = cursor.take(bytes.ok_or_else(|| self.no_memory())?)?;
        let mut values = self.reserve()?;
        let (numbers, _) = bytes.as_chunks::<N>();
        values.extend(numbers.iter().map(|number| convert(*number)));
        Ok(values)
    }
}

fn boolean(key: &str, byte: u8) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        byte => Err(Error::NotBoolean {
            key: key.to_owned(),
            byte,
        }),
    }
}
