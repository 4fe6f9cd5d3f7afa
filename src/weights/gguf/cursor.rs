//! A position in bytes that never goes past their end, and knows which part of the file it is in.

use std::fmt;

use super::Error;

/// The part of a header that is being read; for sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Magic, version and the two counts.
    Counts,
    /// The name of a key, counted from 0.
    Key(u64),
    /// Type and value of the key with this name.
    Value(String),
    /// The description of a tensor, counted from 0.
    Tensor(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Counts => f.write_str("the counts of keys and tensors"),
            Place::Key(index) => write!(f, "key {index} of the metadata"),
            Place::Value(key) => write!(f, "the value of {key}"),
            Place::Tensor(index) => write!(f, "the description of tensor {index}"),
        }
    }
}

/// Reads little-endian values from a slice; every read is checked against the bytes left.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    at: Place,
    /// No read may end behind it, whatever bytes there are.
    ceiling: usize,
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
        Cursor {
            bytes,
            position: 0,
            at: Place::Counts,
            ceiling: usize::MAX,
        }
    }

    /// What is read from here on; errors name it.
    pub(super) fn enter(&mut self, at: Place) {
        self.at = at;
    }

    pub(super) fn place(&self) -> Place {
        self.at.clone()
    }

    /// Refuses to read more than `most` bytes from here on; `None` lifts the limit.
    pub(super) fn limit(&mut self, most: Option<usize>) {
        self.ceiling = most.map_or(usize::MAX, |most| self.position.saturating_add(most));
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Whether `count` bytes may be read, without reading them: asked before memory is taken for them.
    pub(super) fn check(&self, count: usize) -> Result<(), Error> {
        self.end(count).map(drop)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.end(count)?;
        let taken = self.bytes.get(self.position..end);
        let taken = taken.ok_or_else(|| self.truncated())?;
        self.position = end;
        Ok(taken)
    }

    /// Where the next `count` bytes end.
    fn end(&self, count: usize) -> Result<usize, Error> {
        let end = self.position.checked_add(count);
        let end = end
            .filter(|&end| end <= self.bytes.len())
            .ok_or_else(|| self.truncated())?;
        if end > self.ceiling {
            return Err(Error::MetadataTooLarge {
                place: self.place(),
            });
        }
        Ok(end)
    }

    fn truncated(&self) -> Error {
        Error::Truncated {
            place: self.place(),
            position: self.position as u64,
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.truncated())
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

    /// A length-prefixed UTF-8 string of at most `limit` bytes. It is copied before it is looked at: the file
    /// behind the map may change, and text that was checked must stay text.
    pub(super) fn string(&mut self, limit: u64) -> Result<String, Error> {
        let length = self.u64()?;
        let too_long = || Error::StringTooLong {
            place: self.place(),
            length,
            limit,
        };
        if length > limit {
            return Err(too_long());
        }
        let length = usize::try_from(length).map_err(|_| too_long())?;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Error::NotUtf8 {
            place: self.place(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end_and_name_the_place() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5]);
        assert_eq!(cursor.u32(), Ok(0x0403_0201));
        let place = Place::Value("x".into());
        cursor.enter(place.clone());
        assert_eq!(cursor.u16(), Err(Error::Truncated { place, position: 4 }));
        assert_eq!(cursor.u8(), Ok(5));
        assert_eq!(cursor.remaining(), 0);
    }

    #[test]
    fn a_string_longer_than_the_file_is_refused_before_it_is_read() {
        let bytes = [9, 0, 0, 0, 0, 0, 0, 0, b'a'];
        let place = Place::Counts;
        let error = Cursor::new(&bytes).string(100);
        assert_eq!(error, Err(Error::Truncated { place, position: 8 }));
        let expected = Error::StringTooLong {
            place: Place::Counts,
            length: u64::MAX,
            limit: 100,
        };
        assert_eq!(Cursor::new(&[0xff; 12]).string(100), Err(expected));
    }

    #[test]
    fn a_limit_holds_although_there_are_more_bytes() {
        let mut cursor = Cursor::new(&[0; 100]);
        assert_eq!(cursor.u32(), Ok(0));
        cursor.limit(Some(10));
        let place = Place::Key(3);
        cursor.enter(place.clone());
        assert_eq!(cursor.take(10).map(<[u8]>::len), Ok(10));
        assert_eq!(cursor.check(0), Ok(()));
        assert_eq!(cursor.u8(), Err(Error::MetadataTooLarge { place }));
        cursor.limit(None);
        assert_eq!(cursor.u8(), Ok(0));
    }
}
