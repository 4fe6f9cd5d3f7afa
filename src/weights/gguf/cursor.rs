//! A position in bytes that never goes past their end.

use super::Error;

/// Reads little-endian values from a slice; every read is checked against the bytes left.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

macro_rules! number {
    ($name:ident, $type:ty) => {
        pub(super) fn $name(&mut self) -> Result<$type, Error> {
            self.array().map(<$type>::from_le_bytes)
        }
    };
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(Error::Truncated {
            position: self.position as u64,
        })?;
        self.position += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let position = self.position as u64;
        self.take(N)?
            .try_into()
            .map_err(|_| Error::Truncated { position })
    }

    number!(u8, u8);
    number!(i8, i8);
    number!(u16, u16);
    number!(i16, i16);
    number!(u32, u32);
    number!(i32, i32);
    number!(u64, u64);
    number!(i64, i64);
    number!(f32, f32);
    number!(f64, f64);

    /// A length-prefixed UTF-8 string of at most `limit` bytes. `what` names it in errors.
    pub(super) fn string(&mut self, limit: u64, what: &str) -> Result<&'a str, Error> {
        let length = self.u64()?;
        if length > limit {
            return Err(Error::StringTooLong {
                what: what.to_owned(),
                length,
                limit,
            });
        }
        if length > self.remaining() as u64 {
            return Err(Error::Truncated {
                position: self.position as u64,
            });
        }
        let bytes = self.take(length as usize)?;
        std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 {
            what: what.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end_and_name_the_position() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5]);
        assert_eq!(cursor.u32().unwrap(), 0x0403_0201);
        assert_eq!(cursor.u16().unwrap_err(), Error::Truncated { position: 4 });
        assert_eq!(cursor.u8().unwrap(), 5);
        assert_eq!(cursor.remaining(), 0);
    }

    #[test]
    fn a_string_longer_than_the_file_is_refused_before_it_is_read() {
        let bytes = [9, 0, 0, 0, 0, 0, 0, 0, b'a'];
        let error = Cursor::new(&bytes).string(100, "a key").unwrap_err();
        assert_eq!(error, Error::Truncated { position: 8 });
        let bytes = [0xff; 12];
        let error = Cursor::new(&bytes).string(100, "a key").unwrap_err();
        assert!(matches!(
            error,
            Error::StringTooLong {
                length: u64::MAX,
                limit: 100,
                ..
            }
        ));
    }
}
