//! B: classes 13 to 26, keys and single values.

use woolly::model;
use woolly::text;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Error, Place};

use super::{Cases, Outcome};
use crate::support::gguf_file::{ARRAY, BOOL, File, STRING, U32, key};
use crate::support::models::SUPPORTED;
use crate::support::tiny_llama::{TinyLlama, string, u32};

/// Bytes before the second key of [`File::good`].
const SECOND_KEY: u64 = 24 + 8 + 20 + 4 + 8 + 5;
const KEY_LIMIT: u64 = 65_535;
const TEXT_LIMIT: u64 = 16 << 20;

/// A file whose second key is these bytes.
fn second(bytes: Vec<u8>) -> Vec<u8> {
    let mut file = File::good();
    file.keys.push(bytes);
    file.bytes()
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    key_names(&mut cases);
    repeated_keys(&mut cases);
    single_values(&mut cases);
    cases
}

fn key_names(cases: &mut Cases) {
    let place = || Place::Key(1);
    let too_long = |length| Error::StringTooLong {
        place: place(),
        length,
        limit: KEY_LIMIT,
    };
    let bytes = |length: u64| second([length.to_le_bytes().as_slice(), &[b'k'; 32]].concat());
    cases.add(13, "2^64-1", bytes(u64::MAX), too_long(u64::MAX));
    for length in [1 << 63, 1 << 32, KEY_LIMIT + 1] {
        cases.add(14, format!("{length}"), bytes(length), too_long(length));
    }
    let left = bytes(0).len() as u64 - SECOND_KEY - 8;
    for length in [left + 1, left + 2, KEY_LIMIT] {
        let expected = Error::Truncated {
            place: place(),
            position: SECOND_KEY + 8,
        };
        cases.add(15, format!("{length} of {left}"), bytes(length), expected);
    }
    let one = 1u32.to_le_bytes();
    let named = |name: &[u8]| second(key(name, U32, &one));
    cases.add(16, "second key", named(b""), Error::EmptyKey { index: 1 });
    let mut first = File::good();
    first.keys.insert(0, key(b"", U32, &one));
    cases.add(16, "first key", first.bytes(), Error::EmptyKey { index: 0 });
    for length in [KEY_LIMIT + 1, 100_000] {
        let name = vec![b'k'; length as usize];
        cases.add(17, format!("{length}"), named(&name), too_long(length));
    }
    let longest = "k".repeat(KEY_LIMIT as usize);
    let longest = TinyLlama::new(TensorType::Q2K).set(&longest, u32(1));
    cases.add(17, "the longest allowed", longest.bytes(), Outcome::Served);
    for name in [
        b"\xff".as_slice(),
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"a\xe2\x82",
        b"\xf5\x80\x80\x80",
    ] {
        let expected = Error::NotUtf8 { place: place() };
        cases.add(18, format!("{name:?}"), named(name), expected);
    }
    for name in [
        "a\0b",
        "a\nb",
        "\r",
        "a\x1b[31mb",
        "a\x7f",
        "a\u{85}b",
        "\t",
    ] {
        let expected = Error::ControlCharacter { index: 1 };
        cases.add(19, format!("{name:?}"), named(name.as_bytes()), expected);
    }
}

fn repeated_keys(cases: &mut Cases) {
    let twice = |name: &str| Error::DuplicateKey(name.to_owned());
    let architecture = "general.architecture";
    let again = key(
        architecture.as_bytes(),
        STRING,
        &[5, 0, 0, 0, 0, 0, 0, 0, b'q', b'w', b'e', b'n', b'2'],
    );
    cases.add(20, "another string", second(again), twice(architecture));
    let same = File::good().keys.remove(0);
    cases.add(20, "the same string", second(same), twice(architecture));
    for (kind, value) in [(U32, vec![0; 4]), (BOOL, vec![1]), (ARRAY, vec![0; 12])] {
        let again = key(architecture.as_bytes(), kind, &value);
        cases.add(
            21,
            format!("type {kind}"),
            second(again),
            twice(architecture),
        );
    }
    let mut file = TinyLlama::new(TensorType::Q2K);
    let own = file.pairs.len();
    file.pairs
        .extend((own..65_536).map(|n| (format!("k{n}"), u32(0))));
    cases.add(22, "65,536 keys", file.bytes(), Outcome::Served);
    file.pairs[65_535].0 = "k65534".to_owned();
    cases.add(22, "the last twice", file.bytes(), twice("k65534"));
}

fn single_values(cases: &mut Cases) {
    let place = || Place::Value("x".to_owned());
    let value = |kind, bytes: &[u8]| second(key(b"x", kind, bytes));
    for length in [u64::MAX, 1 << 63, TEXT_LIMIT + 1] {
        let expected = Error::StringTooLong {
            place: place(),
            length,
            limit: TEXT_LIMIT,
        };
        let bytes = value(STRING, &length.to_le_bytes());
        cases.add(23, format!("{length}"), bytes, expected);
    }
    let start = SECOND_KEY + 8 + 1 + 4 + 8;
    let left = value(STRING, &[0; 8]).len() as u64 - start;
    for length in [left + 1, 1 << 20, TEXT_LIMIT] {
        let expected = Error::Truncated {
            place: place(),
            position: start,
        };
        let bytes = value(STRING, &length.to_le_bytes());
        cases.add(23, format!("{length} of {left}"), bytes, expected);
    }

    let tiny = || TinyLlama::new(TensorType::Q2K);
    let none = || String::new();
    let expected = model::Error::Architecture {
        found: none(),
        supported: SUPPORTED.to_owned(),
    };
    let file = tiny().set("general.architecture", string(""));
    cases.add(24, "architecture", file.bytes(), expected);
    let expected = model::Error::Text(text::Error::UnknownModel { found: none() });
    let file = tiny().set("tokenizer.ggml.model", string(""));
    cases.add(24, "tokenizer model", file.bytes(), expected);
    let file = tiny().set("tokenizer.ggml.pre", string(""));
    let expected = super::text::unknown_pre_tokenizer("");
    cases.add(24, "pre-tokenizer", file.bytes(), expected);

    for id in [13, 14, 100, 255, 256, 1 << 31, u32::MAX] {
        let expected = Error::UnknownValueType {
            key: "x".to_owned(),
            id,
        };
        cases.add(25, format!("type {id}"), value(id, &[0; 16]), expected);
    }
    for byte in [2, 3, 127, 128, 255] {
        let not = || Error::NotBoolean {
            key: "x".to_owned(),
            byte,
        };
        cases.add(26, format!("byte {byte}"), value(BOOL, &[byte]), not());
        let array = [
            BOOL.to_le_bytes().as_slice(),
            &3u64.to_le_bytes(),
            &[0, 1, byte],
        ]
        .concat();
        let what = format!("byte {byte} in an array");
        cases.add(26, what, value(ARRAY, &array), not());
    }
}
