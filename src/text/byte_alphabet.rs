//! The byte alphabet of gpt2 vocabularies: every byte is written as one printable character, so that
//! vocabulary entries are valid text. Source: `bytes_to_unicode` of OpenAI's GPT-2 encoder.

/// The character that stands for `byte`: printable Latin-1 stands for itself, the other 68 bytes
/// follow from U+0100 on in increasing order.
fn character(byte: u8) -> char {
    let shifted = match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x121 + u32::from(byte) - 0x7F,
        0xAD => 0x143,
    };
    char::from_u32(shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Turns vocabulary entries back into bytes.
pub(super) struct ByteAlphabet {
    /// By character code; `None` for the few codes below 0x144 that stand for no byte.
    bytes: [Option<u8>; 0x144],
}

impl ByteAlphabet {
    pub(super) fn new() -> Self {
        let mut bytes = [None; 0x144];
        for byte in 0..=u8::MAX {
            if let Some(slot) = bytes.get_mut(character(byte) as usize) {
                *slot = Some(byte);
            }
        }
        ByteAlphabet { bytes }
    }

    /// A byte of plain ASCII text (a line break, a space or what prints) that is no entry of its own.
    /// Rarer bytes are missing in real vocabularies too.
    pub(super) fn missing_plain_byte(entries: &[String]) -> Option<u8> {
        let alphabet = Self::new();
        let mut there = [false; 256];
        for entry in entries.iter().filter(|entry| entry.len() <= 2) {
            if let [byte] = *alphabet.decode(entry) {
                there[byte as usize] = true;
            }
        }
        let mut plain = std::iter::once(b'\n').chain(b' '..=b'~');
        plain.find(|&byte| !there[byte as usize])
    }

    /// The bytes `entry` stands for; a character outside the alphabet stands for its own UTF-8.
    pub(super) fn decode(&self, entry: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(entry.len());
        for c in entry.chars() {
            match self.bytes.get(c as usize).copied().flatten() {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let alphabet = ByteAlphabet::new();
        let all: String = (0..=u8::MAX).map(character).collect();
        assert_eq!(alphabet.decode(&all), (0..=u8::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn the_known_landmarks() {
        assert_eq!(character(b' '), 'Ġ');
        assert_eq!(character(b'\n'), 'Ċ');
        assert_eq!(character(0), 'Ā');
        assert_eq!(character(0xAD), 'Ń');
        assert_eq!(character(b'a'), 'a');
    }

    #[test]
    fn characters_outside_the_alphabet_stand_for_themselves() {
        assert_eq!(ByteAlphabet::new().decode("日Ġ"), "日 ".as_bytes());
    }
}
