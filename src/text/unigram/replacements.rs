//! The table of replacements of a unigram vocabulary: which beginnings of a text become which other texts.
//!
//! SentencePiece writes it as the bytes of a double array (Darts-clone) behind their number, and the replacements, each
//! with a zero byte behind it. Of an element of the array: bits 0 to 7 the byte that leads to it (with bit 31, which a
//! value has), bit 8 whether a key ends here, bits 10 to 30 the distance to its children, bit 9 whether that counts 256
//! times.
//!
//! Invariant: whatever the bytes are, a lookup ends, and reads nothing outside of the table.

/// The longest beginning that is looked for, in bytes. Tables of real vocabularies know at most 18; a damaged one
/// could lead in circles.
const LONGEST_KEY: usize = 256;

#[derive(Debug)]
pub(super) struct Replacements {
    array: Vec<u32>,
    /// Replacements, each ended by a zero byte.
    texts: Vec<u8>,
}

impl Replacements {
    /// Reads a table that is not empty; what is wrong with it otherwise.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let (size, rest) = bytes.split_first_chunk().ok_or("is cut short")?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| "is cut short")?;
        let (array, texts) = rest.split_at_checked(size).ok_or("is cut short")?;
        let (array, []) = array.as_chunks() else {
            return Err("holds no whole number of elements");
        };
        if texts.last().is_some_and(|&last| last != 0) {
            return Err("ends in a replacement without an end");
        }
        Ok(Replacements {
            array: array
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect(),
            texts: texts.to_vec(),
        })
    }

    /// The replacement of the longest beginning of `text` that has one, and the length of that beginning.
    pub(super) fn longest(&self, text: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
        if self.array.is_empty() {
            return Ok(None);
        }
        let mut found = None;
        let mut place = distance(self.element(0)?);
        for (&byte, length) in text.iter().take(LONGEST_KEY).zip(1..) {
            place ^= u32::from(byte);
            // No key has a zero byte in it: that is where values hang.
            if byte == 0 {
                break;
            }
            let element = self.element(place)?;
            if element & ((1 << 31) | 0xff) != u32::from(byte) {
                break;
            }
            place ^= distance(element);
            if element >> 8 & 1 == 1 {
                found = Some((self.element(place)? & !(1 << 31), length));
            }
        }
        let Some((start, length)) = found else {
            return Ok(None);
        };
        let from = self.texts.get(start as usize..).unwrap_or_default();
        let end = from.iter().position(|&byte| byte == 0);
        let end = end.ok_or("the table of replacements leads behind its end")?;
        Ok(Some((&from[..end], length)))
    }

    fn element(&self, place: u32) -> Result<u32, String> {
        let element = self.array.get(place as usize).copied();
        element.ok_or_else(|| "the table of replacements leads behind its end".to_owned())
    }
}

/// From an element to its children.
fn distance(element: u32) -> u32 {
    element >> 10 << ((element & (1 << 9)) >> 6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(array: &[u32], texts: &[u8]) -> Vec<u8> {
        let array: Vec<u8> = array
            .iter()
            .flat_map(|element| element.to_le_bytes())
            .collect();
        let size = u32::try_from(array.len()).unwrap().to_le_bytes();
        [&size[..], &array, texts].concat()
    }

    #[test]
    fn damaged_tables_are_refused() {
        let problem = |bytes: &[u8]| Replacements::read(bytes).unwrap_err();
        assert_eq!(problem(&[1, 0]), "is cut short");
        assert_eq!(problem(&[8, 0, 0, 0, 1, 1, 1, 1]), "is cut short");
        assert_eq!(
            problem(&[3, 0, 0, 0, 1, 1, 1, 0]),
            "holds no whole number of elements"
        );
        assert_eq!(
            problem(&table(&[0], b"x\0y")),
            "ends in a replacement without an end"
        );
    }

    #[test]
    fn a_walk_finds_the_longest_key() {
        // The root's children begin at 256: "a" (a key, its value and children at 0x100), and "ab".
        let mut array = vec![0; 1024];
        array[0] = 256 << 10;
        let a = 256 ^ u32::from(b'a');
        array[a as usize] = u32::from(b'a') | 1 << 8 | (a ^ 512) << 10;
        array[512] = 1 << 31;
        let ab = 512 ^ u32::from(b'b');
        array[ab as usize] = u32::from(b'b') | 1 << 8 | (ab ^ 768) << 10;
        array[768] = 1 << 31 | 4;
        let table = Replacements::read(&table(&array, b"one\0two\0")).unwrap();
        let found = |text: &str| table.longest(text.as_bytes()).unwrap();
        assert_eq!(found("ax"), Some((&b"one"[..], 1)));
        assert_eq!(found("abx"), Some((&b"two"[..], 2)));
        assert_eq!(found("a\0"), Some((&b"one"[..], 1)));
        assert_eq!((found("b"), found("")), (None, None));
    }

    proptest! {
        #[test]
        fn any_table_ends_every_walk(
            array in prop::collection::vec(any::<u32>(), 0..300),
            texts in prop::collection::vec(any::<u8>(), 0..20),
            text in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let texts = [&texts[..], &[0]].concat();
            let read = Replacements::read(&table(&array, &texts)).unwrap();
            if let Ok(Some((replacement, length))) = read.longest(&text) {
                prop_assert!(replacement.len() < texts.len() && (1..=text.len()).contains(&length));
            }
        }
    }
}
