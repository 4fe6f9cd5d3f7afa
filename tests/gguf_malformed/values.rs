//! C and D: classes 27 to 43, arrays and the alignment.

use woolly::model;
use woolly::text;
use woolly::weights::dequant::TensorType;
use woolly::weights::gguf::{Error, Place};

use super::{Cases, Outcome};
use crate::support::gguf_file::{ARRAY, File, STRING, U32, key, tensor};
use crate::support::tiny_llama::{TinyLlama, array, i32s, strings};

/// Most elements that are read.
const LIMIT: u64 = 64 << 20;
/// Every element type with its size; a string's is that of its length.
const TYPES: [(u32, usize); 12] = [
    (0, 1),
    (1, 1),
    (2, 2),
    (3, 2),
    (4, 4),
    (5, 4),
    (6, 4),
    (7, 1),
    (8, 8),
    (10, 8),
    (11, 8),
    (12, 8),
];

/// A file that ends with the array `x`: type, count, and these bytes.
fn last(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    let mut file = File {
        tensors: vec![],
        data: 0,
        alignment: 1,
        ..File::good()
    };
    file.keys
        .push(key(b"x", ARRAY, &array(kind, count, bytes).1));
    file.bytes()
}

fn name() -> String {
    "x".to_owned()
}

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    nesting(&mut cases);
    counts(&mut cases);
    elements(&mut cases);
    alignment(&mut cases);
    cases
}

fn nesting(cases: &mut Cases) {
    let nested = || Error::NestedArray { key: name() };
    for count in [0, 1, u64::MAX] {
        cases.add(
            27,
            format!("count {count}"),
            last(ARRAY, count, &[0; 16]),
            nested(),
        );
    }
    let level = [ARRAY.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
    let deep = level.repeat(10_000);
    cases.add(28, "10,000 levels", last(ARRAY, 1, &deep), nested());
}

fn counts(cases: &mut Cases) {
    let too_long = |count| Error::ArrayTooLong {
        key: name(),
        count,
        limit: LIMIT,
    };
    let beyond = |count| Error::ArrayBeyondFile { key: name(), count };
    for (kind, _) in TYPES {
        let what = format!("2^64-1 of type {kind}");
        cases.add(29, what, last(kind, u64::MAX, &[0; 64]), too_long(u64::MAX));
    }
    for (kind, count) in [(2, 1 << 63), (4, 1 << 62), (10, 1 << 61), (STRING, 1 << 61)] {
        let what = format!("{count} of type {kind}");
        cases.add(30, what, last(kind, count, &[0; 64]), too_long(count));
    }
    for (kind, _) in TYPES {
        let what = format!("2^63 of type {kind}, none there");
        cases.add(31, what, last(kind, 1 << 63, &[]), too_long(1 << 63));
    }
    for (kind, count) in [(0, LIMIT), (4, 1 << 20), (STRING, 1)] {
        let what = format!("{count} of type {kind}, none there");
        cases.add(31, what, last(kind, count, &[]), beyond(count));
    }
    for (kind, _) in TYPES {
        let what = format!("of type {kind}");
        cases.add(35, what, last(kind, LIMIT + 1, &[]), too_long(LIMIT + 1));
    }
    for (kind, size) in TYPES {
        let bytes = vec![0; size * 10 - 1];
        let what = format!("9 whole elements of 10, type {kind}");
        cases.add(36, what, last(kind, 10, &bytes), beyond(10));
    }
}

fn elements(cases: &mut Cases) {
    let place = || Place::Value(name());
    let texts = |middle: &[u8]| {
        let one = [1, 0, 0, 0, 0, 0, 0, 0, b'a'];
        [one.as_slice(), middle, &one].concat()
    };
    for length in [u64::MAX, 1 << 63, (16 << 20) + 1] {
        let expected = Error::StringTooLong {
            place: place(),
            length,
            limit: 16 << 20,
        };
        let bytes = last(STRING, 3, &texts(&length.to_le_bytes()));
        cases.add(32, format!("length {length}"), bytes, expected);
    }
    let bytes = last(STRING, 3, &texts(&1_000u64.to_le_bytes()));
    let expected = Error::Truncated {
        place: place(),
        position: bytes.len() as u64 - 9,
    };
    cases.add(32, "length beyond the end", bytes, expected);
    let bytes = last(STRING, 3, &texts(b"\x01\0\0\0\0\0\0\0\xff"));
    let expected = Error::NotUtf8 { place: place() };
    cases.add(32, "not UTF-8", bytes, expected);
    for id in [13, 14, 255, 1 << 31, u32::MAX] {
        let expected = Error::UnknownElementType { key: name(), id };
        cases.add(33, format!("type {id}"), last(id, 1, &[0; 8]), expected);
    }

    let tiny = || TinyLlama::new(TensorType::Q2K);
    let none = text::Error::VocabularySize {
        found: 0,
        most: 4 << 20,
    };
    let file = tiny().set("tokenizer.ggml.tokens", strings::<&str>(&[]));
    cases.add(34, "tokens", file.bytes(), model::Error::Text(none));
    for key in ["tokenizer.ggml.token_type", "tokenizer.ggml.scores"] {
        let empty = match key {
            "tokenizer.ggml.scores" => array(6, 0, &[]),
            _ => i32s(&[]),
        };
        let expected = text::Error::Length {
            key,
            found: 0,
            expected: 261,
        };
        let file = tiny().set(key, empty);
        cases.add(34, key, file.bytes(), model::Error::Text(expected));
    }
    let file = tiny().set("tokenizer.ggml.merges", strings::<&str>(&[]));
    cases.add(
        34,
        "merges: every byte a token",
        file.bytes(),
        Outcome::Served,
    );
}

fn alignment(cases: &mut Cases) {
    const KEY: &[u8] = b"general.alignment";
    let aligned = |value: u32| File::with_key(KEY, U32, &value.to_le_bytes());
    for (class, value) in [
        (37, 0),
        (38, 13),
        (38, 3),
        (38, 48),
        (38, u32::MAX),
        (39, 1 << 31),
        (39, 131_072),
    ] {
        let what = format!("{value}");
        cases.add(class, what, aligned(value).bytes(), Error::Alignment(value));
    }
    for (kind, value, found) in [
        (0, vec![32], "an integer"),
        (5, 32i32.to_le_bytes().to_vec(), "an integer"),
        (5, (-32i32).to_le_bytes().to_vec(), "a negative integer"),
        (10, 32u64.to_le_bytes().to_vec(), "an integer"),
        (6, 32f32.to_le_bytes().to_vec(), "a floating-point number"),
        (STRING, b"\x02\0\0\0\0\0\0\x0032".to_vec(), "a string"),
        (
            ARRAY,
            array(U32, 1, &[32, 0, 0, 0]).1,
            "an array of other integers",
        ),
    ] {
        let file = File::with_key(KEY, kind, &value);
        let expected = Error::AlignmentType { found };
        cases.add(40, format!("type {kind}"), file.bytes(), expected);
    }
    let mut twice = aligned(32);
    twice.keys.push(twice.keys[1].clone());
    let expected = Error::DuplicateKey("general.alignment".to_owned());
    cases.add(41, "twice", twice.bytes(), expected);

    let bytes = aligned(65_536).bytes();
    let expected = Error::TensorBeyondFile {
        name: "a.weight".to_owned(),
        end: 65_536 + 32,
        size: bytes.len() as u64,
    };
    // The other tensor's offset would be wrong as well.
    cases.add(42, "65,536", bytes, expected);

    let unaligned = |alignment| Error::UnalignedOffset {
        name: "b.weight".to_owned(),
        offset: 32,
        alignment,
    };
    for value in [64, 128] {
        let mut file = aligned(value);
        file.alignment = value as usize;
        let what = format!("offsets for 32, the key says {value}");
        cases.add(43, what, file.bytes(), unaligned(value.into()));
    }
    let expected = Error::NotContiguous {
        name: "b.weight".to_owned(),
        offset: 64,
        expected: 32,
    };
    let mut file = aligned(32);
    file.tensors[1] = tensor(b"b.weight", &[3, 5], 0, 64);
    cases.add(
        43,
        "offsets for 64, the key says 32",
        file.bytes(),
        expected,
    );
    let expected = Error::TrailingBytes { extra: 4 };
    cases.add(
        43,
        "padded for 32, the key says 4",
        aligned(4).bytes(),
        expected,
    );
}
