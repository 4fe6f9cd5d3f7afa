//! Reading metadata values. Every count is checked against the bytes left before memory is taken.

use super::cursor::Cursor;
use super::{Error, Value};

/// Longest string value; chat templates and vocabulary entries are far below.
const MAX_STRING: u64 = 16 << 20;
/// Most elements of an array: the largest vocabularies have a few hundred thousand.
const MAX_ARRAY: u64 = 4 << 20;

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
        id::BOOL => Value::Bool(boolean(cursor, key)?),
        id::STRING => Value::String(string(cursor, key)?),
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
    if count > MAX_ARRAY {
        return Err(Error::ArrayTooLong {
            key: key.to_owned(),
            count,
            limit: MAX_ARRAY,
        });
    }
    let element_bytes = match type_id {
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
            return Err(Error::UnknownValueType {
                key: key.to_owned(),
                id: type_id,
            });
        }
    };
    if count.saturating_mul(element_bytes) > cursor.remaining() as u64 {
        return Err(Error::CountBeyondFile {
            what: format!("elements in {key}"),
            count,
        });
    }
    let count = count as usize;
    Ok(match type_id {
        id::U8 => Value::Integers(many(count, || cursor.u8().map(i64::from))?),
        id::I8 => Value::Integers(many(count, || cursor.i8().map(i64::from))?),
        id::U16 => Value::Integers(many(count, || cursor.u16().map(i64::from))?),
        id::I16 => Value::Integers(many(count, || cursor.i16().map(i64::from))?),
        id::U32 => Value::Integers(many(count, || cursor.u32().map(i64::from))?),
        id::I32 => Value::Integers(many(count, || cursor.i32().map(i64::from))?),
        // Unsigned values beyond i64 keep their bits and turn negative, which no consumer accepts.
        id::U64 => Value::Integers(many(count, || cursor.u64().map(u64::cast_signed))?),
        id::I64 => Value::Integers(many(count, || cursor.i64())?),
        id::F32 => Value::F32s(many(count, || cursor.f32())?),
        id::F64 => Value::F64s(many(count, || cursor.f64())?),
        id::BOOL => Value::Bools(many(count, || boolean(cursor, key))?),
        _ => Value::Strings(many(count, || string(cursor, key))?),
    })
}

/// `count` has been checked against the bytes left.
fn many<T>(count: usize, mut read: impl FnMut() -> Result<T, Error>) -> Result<Vec<T>, Error> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read()?);
    }
    Ok(values)
}

fn boolean(cursor: &mut Cursor, key: &str) -> Result<bool, Error> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        byte => Err(Error::NotBoolean {
            key: key.to_owned(),
            byte,
        }),
    }
}

fn string(cursor: &mut Cursor, key: &str) -> Result<String, Error> {
    cursor.string(MAX_STRING, key).map(str::to_owned)
}
